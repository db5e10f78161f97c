//! A guest that misbehaves gets its client an error and nothing else: no state is lost, no node ends.

use std::collections::BTreeMap;
use uhaha_tests::client::words;
use uhaha_tests::{Client, Module, Node, Server, Value, int};

/// Small limits, so that reaching them takes no time.
fn node() -> Node {
    Node::new(Module::hostile()).args(&["--guest-fuel", "2000000", "--guest-memory", "8MiB", "--guest-reply", "64KiB"])
}

/// The counter, as the guest keeps it in memory and in a global.
fn counters(server: &Server) -> [i64; 2] {
    let reply = server.client().call(&["GET"]);
    let [memory, global] = reply.array() else { panic!("GET gave {reply:?}") };
    [memory.integer(), global.integer()]
}

#[test]
fn each_fault_has_its_error_and_leaves_no_trace() {
    let server = node().start();
    let mut client = server.client();
    let faults = [
        ("TRAP", "TRAP TRAP at index "),
        ("SPIN", "FUEL SPIN at index "),
        ("BLOAT", "OOM BLOAT at index "),
        ("HUGE", "TOOBIG HUGE at index "),
        ("HALF", "TRAP HALF at index "),
        ("LIE", "TRAP LIE at index "),
    ];
    for (count, (command, error)) in faults.into_iter().enumerate() {
        client.call(&[command]).assert_error(error);
        assert_eq!(client.call(&["INCR"]), int(count as i64 + 1), "after {command}");
    }
    let count = faults.len() as i64;
    assert_eq!(counters(&server), [count, count]);
    let info = client.call(&["INFO", "machine"]).text().to_owned();
    assert!(info.contains("machine_traps:6\r\n"), "{info}");
}

/// A batch in which a command fails is undone and run step by step. What was logged in between was never done.
#[test]
fn what_a_failed_command_logged_is_logged_once_and_as_the_guests() {
    let server = Server::start(Module::rash());
    let mut client = server.client();
    let replies = client.pipeline(&[vec!["INCR"], vec!["PANICS"], vec!["INCR"]]);
    assert_eq!(replies[2], int(2));
    client.call(&["PANICS"]).assert_error("TRAP PANICS at index ");
    let log = server.stop().stderr;
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked at ")).collect();
    assert_eq!(panics.len(), 2, "{log}");
    assert!(panics.iter().all(|line| line.contains(" ERROR guest: panicked at ")), "{log}");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("a command left no trace")).collect();
    assert!(told.len() == 2 && !told.iter().any(|line| line.contains("guest:")), "{log}");
}

#[test]
fn what_a_failed_read_printed_is_logged_once_and_as_the_guests() {
    let server = Server::start(Module::teller());
    let replies = server.client().pipeline(&[vec!["RETELL", "one"], vec!["REFUSE", "two"]]);
    replies[1].assert_error("TRAP REFUSE: ");
    let log = server.stop().stderr;
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    for line in [" INFO guest: retold one", " INFO guest: refused two", " ERROR guest: panicked at ", "no more to tell"]
    {
        assert_eq!(count(line), 1, "{line} in {log}");
    }
    assert_eq!(count("a read failed"), 1, "{log}");
}

/// What `MACHINE LASTTRAP` gives: text by name, and the frames.
fn last_trap(client: &mut Client) -> Option<(BTreeMap<String, String>, Vec<String>)> {
    let reply = client.call(&words("MACHINE LASTTRAP"));
    if reply == Value::Null {
        return None;
    }
    let fields: BTreeMap<&str, &Value> = reply.array().chunks(2).map(|pair| (pair[0].text(), &pair[1])).collect();
    let frames = fields["backtrace"].texts().into_iter().map(str::to_owned).collect();
    let of_text = fields.iter().filter(|(_, value)| matches!(value, Value::Bulk(_)));
    Some((of_text.map(|(name, value)| (name.to_string(), value.text().to_owned())).collect(), frames))
}

/// The backtrace is in the log and in `MACHINE LASTTRAP`, and not in the reply.
#[test]
fn a_trap_can_be_traced() {
    let node = node();
    let server = node.start();
    let mut client = server.client();
    assert_eq!(last_trap(&mut client), None);
    let reply = client.call(&["TRAP"]);
    let (fields, frames) = last_trap(&mut client).unwrap();
    assert_eq!((&*fields["command"], &*fields["code"]), ("TRAP", "TRAP"));
    let told = format!("TRAP TRAP at index {}: {}", fields["index"], fields["reason"]);
    assert_eq!(reply.error(), told);
    assert!(fields["time"].ends_with('Z'), "{}", fields["time"]);
    assert_eq!(frames[0], "trap");
    let line = server.wait_for_log("a command left no trace");
    assert!(line.contains(&frames.join(" < ")), "{line}");
    client.call(&["SPIN"]).assert_error("FUEL ");
    assert_eq!(last_trap(&mut client).unwrap().1[0], "spin");
    // Of a command in RESP3 as well, and of one that is run again from the log.
    let before = last_trap(&mut client).unwrap();
    server.kill();
    let server = node.start();
    assert_eq!(last_trap(&mut server.client()).unwrap(), before);
    let Value::Map(fields) = server.client3().call(&words("MACHINE LASTTRAP")) else { panic!("a map") };
    assert_eq!(fields.len(), 6);
}

#[test]
fn an_error_of_the_guest_is_a_reply_and_not_a_fault() {
    let server = node().start();
    let mut client = server.client();
    client.call(&["FAIL"]).assert_error("ERR no luck");
    assert_eq!(client.call(&["INCR"]), int(2), "what it did before it failed stays");
}

#[test]
fn a_read_cannot_change_the_state() {
    let server = node().start();
    let mut client = server.client();
    assert_eq!(client.call(&["INCR"]), int(1));
    for _ in 0..3 {
        client.call(&["DIRTY"]);
        assert_eq!(counters(&server), [1, 1]);
    }
    assert_eq!(client.call(&["INCR"]), int(2));
}

/// Endless recursion ends at the limit of the guest's stack.
#[test]
fn endless_recursion_is_a_fault_of_the_command_alone() {
    let server = node().start();
    let mut client = server.client();
    client.call(&["DEEP"]).assert_error("TRAP DEEP at index ");
    assert_eq!(client.call(&["INCR"]), int(1));
}

#[test]
fn commands_around_a_trap_in_one_pipeline_all_count() {
    let node = node();
    let server = node.start();
    let name = |at: i64| if [0, 100, 255].contains(&at) { "TRAP" } else { "INCR" };
    let commands: Vec<Vec<&str>> = (0..256).map(|at| vec![name(at)]).collect();
    let replies = server.client().pipeline(&commands);
    let mut count = 0;
    for (at, reply) in replies.iter().enumerate() {
        match name(at as i64) {
            "TRAP" => reply.assert_error("TRAP TRAP at index "),
            _ => {
                count += 1;
                assert_eq!(*reply, int(count), "at {at}");
            }
        }
    }
    assert_eq!(count, 253);
    assert_eq!(counters(&server), [253, 253]);
    server.kill();
    assert_eq!(counters(&node.start()), [253, 253], "and the same again from the log");
}

#[test]
fn time_and_randomness_go_on_after_a_trap() {
    let server = node().start();
    let mut client = server.client();
    let before = client.call(&["NOW"]).integer();
    let luck = client.call(&["RANDOM"]);
    client.call(&["TRAP"]).assert_error("TRAP ");
    assert!(client.call(&["NOW"]).integer() > before);
    assert_ne!(client.call(&["RANDOM"]), luck);
}

#[test]
fn other_clients_do_not_notice() {
    let server = node().start();
    let traps: Vec<Vec<&str>> = (0..200).map(|_| vec!["TRAP"]).collect();
    let increments: Vec<Vec<&str>> = (0..200).map(|_| vec!["INCR"]).collect();
    std::thread::scope(|scope| {
        let traps = scope.spawn(|| server.client().pipeline(&traps));
        let increments = scope.spawn(|| server.client().pipeline(&increments));
        assert!(traps.join().unwrap().iter().all(|reply| matches!(reply, Value::Error(_))));
        let expected: Vec<Value> = (1..=200).map(int).collect();
        assert_eq!(increments.join().unwrap(), expected);
    });
    assert_eq!(counters(&server), [200, 200]);
}
