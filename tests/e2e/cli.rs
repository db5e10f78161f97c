//! The command line and the process: help, exit codes, one-line errors, signals, one process a data directory.

use rustix::process::Signal;
use uhaha_tests::client::words;
use uhaha_tests::{Module, Node, Server, int};

#[test]
fn help_and_version_go_to_stdout() {
    for flag in ["--help", "-h"] {
        let ended = Node::bare().args(&[flag]).run_to_end();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        for word in ["--module", "--addr", "--dir", "builtin:NAME", "Exit codes"] {
            assert!(ended.stdout.contains(word), "{word} is not in {}", ended.stdout);
        }
    }
    for (tool, words) in [("inspect", ["--json", "--guest-memory"]), ("replay", ["--until", "--guest-fuel"])] {
        let main = Node::bare().args(&["--help"]).run_to_end().stdout;
        assert!(main.contains(&format!("uhaha-server {tool} ")), "{main}");
        let ended = Node::bare().args(&[tool, "--help"]).run_to_end();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        assert!(words.iter().all(|word| ended.stdout.contains(word)), "{}", ended.stdout);
        assert!(!ended.stdout.contains("--addr"), "{}", ended.stdout);
    }
    let ended = Node::bare().args(&["--version"]).run_to_end();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("uhaha-server") && ended.stdout.lines().count() == 1, "{}", ended.stdout);
}

/// Wrong usage exits 2 and says in one line what was wrong.
#[test]
fn wrong_usage_exits_2_with_one_line() {
    let cases: [(&[&str], &str); 12] = [
        (&[], "--module"),
        (&["--module", "builtin:ticket", "--bogus"], "--bogus"),
        (&["--module", "builtin:nothing"], "nothing"),
        (&["--module", "builtin:ticket", "--addr", "nowhere"], "nowhere"),
        (&["--module", "builtin:ticket", "--tls-cert", "cert.pem"], "--tls-key"),
        (&["--module", "builtin:ticket", "--max-clients", "many"], "many"),
        (&["--module", "builtin:ticket", "--config", "missing.toml"], "missing.toml"),
        (&["serve", "--module", "builtin:ticket"], "serve"),
        (&["inspect"], "builtin:NAME"),
        (&["inspect", "builtin:ticket", "--max-clients", "1"], "--max-clients"),
        (&["inspect", "builtin:ticket", "--guest-fuel", "much"], "much"),
        (&["replay", "--data", "data", "--until", "soon"], "soon"),
    ];
    for (args, word) in cases {
        let ended = Node::bare().args(args).run_to_end();
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

/// What fails while running exits 1, and the last line says why.
#[track_caller]
fn assert_fails(node: &Node, words: &[&str]) {
    let ended = node.run_to_end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("uhaha-server: "), "{}", ended.stderr);
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {last:?}");
    }
}

#[test]
fn a_module_that_cannot_be_served_is_refused() {
    let node = Node::bare();
    let module = |name: &str, bytes: &[u8]| {
        let path = node.scratch().join(name);
        std::fs::write(&path, bytes).unwrap();
        Module::file(path)
    };
    assert_fails(&Node::new(Module("missing.wasm".to_owned())), &["missing.wasm"]);
    assert_fails(&Node::new(module("text.wasm", b"this is no module")), &["text.wasm"]);
    assert_fails(&Node::new(module("empty.wasm", b"\0asm\x01\0\0\0")), &["empty.wasm", "handler"]);
    // A component without the exports of a machine: what is missing is named with its type.
    assert_fails(&Node::new(module("bare.wat", b"(component)")), &["bare.wat", "handler", "handle"]);
    let clash = std::fs::read_to_string(uhaha_tests::root().join("tests/guests/hostile.wat")).unwrap();
    let clash = clash.replace("INCRAdds", "PINGAdds");
    assert_fails(&Node::new(module("clash.wat", clash.as_bytes())), &["PING"]);
}

#[test]
fn a_port_in_use_is_refused() {
    let server = Server::start(Module::ticket());
    let address = server.address().to_string();
    assert_fails(&Node::new(Module::ticket()).args(&["--addr", &address]), &[&address]);
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let node = Node::new(Module::ticket());
    let server = node.start();
    let id = server.id().to_string();
    assert_fails(&node, &["in use by process", &id]);
    assert_eq!(server.client().call(&["TICKET"]), int(1), "the first one goes on");
    // Another node id is another directory.
    assert_eq!(node.args(&["--id", "2"]).start().client().call(&["TICKET"]), int(1));
}

#[test]
fn data_of_another_module_is_refused() {
    let node = Node::new(Module::hostile());
    let server = node.start();
    assert_eq!(server.client().call(&["INCR"]), int(1));
    assert_eq!(server.stop().code, Some(0));
    // The same name, so the same directory, with other code.
    let path = node.scratch().join("other.wat");
    let text = std::fs::read_to_string(uhaha_tests::root().join("tests/guests/hostile.wat")).unwrap();
    std::fs::write(&path, text.replace("1.0.0", "1.0.1")).unwrap();
    assert_fails(&node.clone().module(Module::file(path)), &["another module"]);
    assert_eq!(node.start().client().call(&["INCR"]), int(2));
}

#[test]
fn signals_and_shutdown_end_it_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(Module::ticket());
        let mut idle = server.client();
        assert_eq!(idle.call(&["TICKET"]), int(1));
        server.signal(signal);
        let ended = server.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        idle.assert_closed();
    }
    let mut server = Server::start(Module::ticket());
    let mut client = server.client();
    client.send(&["SHUTDOWN"]);
    client.assert_closed();
    assert_eq!(server.wait().code, Some(0));
}

/// What was sent before the signal is answered or, if it was not read any more, not run: no ticket gets lost.
#[test]
fn sigterm_drains_what_is_running() {
    let node = Node::new(Module::ticket());
    let mut server = node.start();
    let mut client = server.client();
    client.send_raw(&b"TICKET\r\n".repeat(20_000));
    assert_eq!(client.receive(), int(1));
    server.signal(Signal::TERM);
    let mut last = 1;
    while let Ok(Some(reply)) = client.try_receive() {
        assert_eq!(reply, int(last + 1));
        last += 1;
    }
    assert_eq!(server.wait().code, Some(0));
    let next = node.start().client().call(&["TICKET"]);
    assert_eq!(next, int(last + 1), "every ticket that was drawn was acknowledged");
}

#[test]
fn init_run_quit_makes_the_data_directory_and_ends() {
    let node = Node::new(Module::ticket());
    let ended = node.clone().args(&["--init-run-quit"]).run_to_end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(node.data().ends_with("ticket/1"));
    assert_eq!(node.start().client().call(&["TICKET"]), int(1));
}

#[test]
fn settings_come_from_flags_then_environment_then_file() {
    let node = Node::new(Module::ticket()).env("UHAHA_MAX_CLIENTS", "22").env("UHAHA_CONFIG", "node.toml");
    std::fs::write(node.scratch().join("node.toml"), "max-clients = 33\nid = \"from-file\"\n").unwrap();
    let server = node.start();
    let settings = |server: &Server| {
        let mut client = server.client();
        let clients = client.call(&words("CONFIG GET maxclients")).fields()["maxclients"].to_owned();
        (clients, client.call(&words("RAFT INFO id")).fields()["id"].to_owned())
    };
    assert_eq!(settings(&server), ("22".to_owned(), "from-file".to_owned()));
    assert_eq!(server.stop().code, Some(0));
    let server = node.args(&["--max-clients", "11", "--id", "typed"]).start();
    assert_eq!(settings(&server), ("11".to_owned(), "typed".to_owned()));
}

#[test]
fn json_logs_are_one_object_a_line() {
    let server = Node::new(Module::ticket()).args(&["--log-format", "json"]);
    let ended = server.args(&["--init-run-quit"]).run_to_end();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.lines().count() > 1);
    for line in ended.stderr.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

#[test]
fn nosync_says_so() {
    let server = Node::new(Module::ticket()).args(&["--nosync"]).start();
    server.wait_for_log("--nosync");
    let info = server.client().call(&["INFO", "persistence"]);
    assert!(info.text().contains("log_sync:no"), "{info:?}");
}
