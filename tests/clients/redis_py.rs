//! redis-py, of the version that `requirements.txt` pins.

use crate::scenario::{TEXT, assert_reply, steps};
use std::process::Command;
use uhaha_tests::{Module, Server};

#[test]
fn redis_py_runs_the_scenario() {
    let python = uhaha_tests::root().join("target/venv/bin/python");
    assert!(python.exists(), "redis-py is needed: run .ci/run or cargo xtask clients");
    for protocol in ["2", "3"] {
        for mode in ["single", "pipeline", "asyncio"] {
            let server = Server::start(Module::kvdb());
            let script = uhaha_tests::root().join("tests/clients/redis_py.py");
            let output = Command::new(&python)
                .arg(script)
                .args([&*server.port(), protocol, mode])
                .env("SCENARIO", TEXT)
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "redis-py, RESP{protocol}, {mode}: {stderr}");
            let replies = String::from_utf8(output.stdout).unwrap();
            let replies: Vec<&str> = replies.lines().collect();
            assert_eq!(replies.len(), steps().len());
            for ((command, expected), reply) in steps().into_iter().zip(replies) {
                assert_reply(&format!("redis-py, RESP{protocol}, {mode}"), &command, expected, reply);
            }
        }
    }
}
