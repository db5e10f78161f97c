//! Batches: their form broken by the guest, and commands that fail in the middle of a long one.

use super::Trio;
use uhaha_tests::{Module, Node, int};

#[test]
fn a_batch_of_broken_form_is_a_failure_of_the_commands_that_broke_it() {
    let mut trio = Trio::start(Module::bad("batch"));
    for (command, reason) in [
        ("COUNT", "handle-batch returned a wrong number of replies"),
        ("SHORT", "handle-batch returned a reply that is cut short"),
        ("TRAIL", "handle-batch returned bytes after its replies"),
        ("TYPE", "a reply has a value of unknown type 0x40"),
        ("OPEN", "a reply ends in the middle of a value"),
    ] {
        assert_eq!(trio.fails(&[command], "TRAP"), reason);
    }
    trio.fails(&["PAST"], "TRAP");
    trio.fails(&["TRAP"], "TRAP");
    trio.fails(&["SPIN"], "FUEL");
    trio.fails(&["BLOAT"], "OOM");
    trio.fails(&["HUGE"], "TOOBIG");
    trio.agree();
}

/// What a failure of each kind is in a pipeline of commands that all succeed.
const FAILURES: [(usize, &str, &str); 3] =
    [(0, "TRAP", "TRAP TRAP at index "), (100, "SPIN", "FUEL SPIN at index "), (255, "BLOAT", "OOM BLOAT at index ")];

#[track_caller]
fn fails_at_three_of_256(module: Module) {
    // Ticks would be entries behind those that are compared.
    let mut trio = Trio::start_with(module.clone(), &["--tick", "1h"]);
    let failure = |at| FAILURES.into_iter().find(|failure| failure.0 == at);
    let commands: Vec<Vec<&str>> = (0..256).map(|at| vec![failure(at).map_or("INCR", |(_, name, _)| name)]).collect();
    for (at, reply) in trio.client.pipeline(&commands).iter().enumerate() {
        match failure(at) {
            Some((_, _, error)) => reply.assert_error(error),
            None => {
                trio.count += 1;
                assert_eq!(*reply, int(trio.count), "at {at}");
            }
        }
    }
    assert_eq!(trio.count, 253);
    trio.traps = 3;
    let digests = trio.agree();
    // Each node's log, applied again in a process of its own that is told no limits, goes where the nodes were.
    for position in 0..3 {
        trio.cluster.kill(position);
        let node = trio.cluster.node_of(position);
        assert_eq!(replay(node, &module, digests.index).0, digests.running, "of node {position}");
        assert_eq!(replay(node, &module, digests.mark).1, digests.state, "of node {position}");
    }
}

/// The running digest and that of the state after an entry.
#[track_caller]
fn replay(node: &Node, Module(module): &Module, until: u64) -> (String, String) {
    let (data, until) = (node.data(), until.to_string());
    let args = ["replay", "--data", data.to_str().unwrap(), "--module", module, "--from", "0", "--until", &until];
    let ended = Node::bare().args(&args).run_to_end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let fact = |name: &str| {
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name:?} is not in {}", ended.stdout)).trim().to_owned()
    };
    (fact("running digest"), fact("state digest"))
}

#[test]
fn three_failures_in_a_pipeline_of_256_leave_253_effects_in_every_log_and_replay() {
    fails_at_three_of_256(Module::hostile());
}

#[test]
fn three_failures_in_a_batch_of_256_leave_253_effects_in_every_log_and_replay() {
    fails_at_three_of_256(Module::bad("batch"));
}
