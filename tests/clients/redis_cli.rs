//! redis-cli, as people use it by hand and in scripts.

use crate::scenario::{assert_reply, steps};
use std::io::Write;
use std::process::{Command, Stdio};
use uhaha_tests::{Module, Node, Server};

/// Runs redis-cli to its end and returns what it printed.
fn redis_cli(server: &Server, args: &[&str], input: &str) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.port()]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("redis-cli is needed: apt-get install redis-tools, or run .ci/run");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// What it prints for a terminal, as the scenario says it.
fn plain(output: &str) -> String {
    let line = |line: &str| {
        // `1) "first"`
        let item = line.split_once(") ").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        item.map_or(line, |(_, item)| item).trim_matches('"').to_owned()
    };
    output.trim_end().lines().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn redis_cli_runs_the_scenario() {
    for protocol in ["-2", "-3"] {
        let server = Server::start(Module::kvdb());
        for (command, expected) in steps() {
            let args = [&["--no-raw", protocol], &command[..]].concat();
            let reply = plain(&redis_cli(&server, &args, ""));
            assert_reply(&format!("redis-cli {protocol}"), &command, expected, &reply);
        }
    }
}

#[test]
fn redis_cli_reads_commands_and_asks_for_help() {
    let server = Server::start(Module::ticket());
    assert_eq!(redis_cli(&server, &["TICKET"], ""), "1\n", "as the README shows");
    let output = redis_cli(&server, &[], &"TICKET\n".repeat(100));
    assert!(output.lines().eq((2..=101).map(|ticket: i32| ticket.to_string())));
    let pipe = redis_cli(&server, &["--pipe"], &"TICKET\r\n".repeat(1000));
    assert!(pipe.contains("errors: 0, replies: 1000"), "{pipe}");
    let docs = redis_cli(&server, &["-3", "COMMAND", "DOCS", "ticket"], "");
    assert!(docs.contains("Returns a new ticket"), "{docs}");
}

#[test]
fn redis_cli_authenticates() {
    let server = Node::new(Module::ticket()).env("UHAHA_AUTH", "secret").start();
    assert!(redis_cli(&server, &["TICKET"], "").starts_with("NOAUTH"));
    for protocol in ["-2", "-3"] {
        let reply = redis_cli(&server, &["-a", "secret", "--no-auth-warning", protocol, "TICKET"], "");
        assert!(reply.trim_end().parse::<i64>().is_ok(), "{reply}");
    }
}

#[test]
fn redis_benchmark_runs() {
    let server = Server::start(Module::ticket());
    for protocol in [&[][..], &["-3"]] {
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &server.port(), "-n", "2000", "-c", "10", "-P", "16", "--csv"])
            .args(protocol)
            .arg("TICKET");
        let output = command.output().expect("redis-benchmark is needed: apt-get install redis-tools");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("\"TICKET\""), "{text}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("WARNING"), "{:?}", output.stderr);
    }
    assert_eq!(server.client().call(&["TICKET"]), uhaha_tests::int(4001));
}
