//! The ways in which a guest in Rust fails. It has batches from the SDK, an allocator, and state beside its state.

use super::{Trio, info, readers};
use uhaha_tests::{Module, Value, int, wait};

const UNREACHABLE: &str = "wasm trap: wasm `unreachable` instruction executed";

/// How many names there are, and of how many numbers, which each failure tries to change.
fn names(trio: &mut Trio) -> Value {
    trio.client.call(&["NAMES"])
}

#[test]
fn panics_leave_no_trace() {
    let mut trio = Trio::start(Module::rash());
    for words in [&["PANICS"][..], &["INDEX", "100"], &["UNWRAPS", "nobody"], &["BORROWS"]] {
        assert_eq!(trio.fails(words, "TRAP"), UNREACHABLE, "{words:?}");
    }
    assert_eq!(names(&mut trio), Value::Array(vec![int(0), int(0)]));
    trio.agree();
}

#[test]
fn recursion_and_loops_end_at_the_limits() {
    // Enough that the stack ends before the fuel.
    let mut trio = Trio::start_with(Module::rash(), &["--guest-fuel", "20000000"]);
    trio.fails(&["RECURSES"], "TRAP");
    trio.fails(&["SPINS"], "FUEL");
    assert_eq!(names(&mut trio), Value::Array(vec![int(0), int(0)]));
    trio.agree();
}

/// Its allocator is refused memory and gives up.
#[test]
fn a_hoard_and_a_huge_reply_are_refused() {
    let mut trio = Trio::start(Module::rash());
    assert_eq!(trio.fails(&["HOARDS"], "OOM"), "it needs more than 8388608 bytes of memory");
    trio.fails(&["HUGE"], "TOOBIG");
    assert_eq!(names(&mut trio), Value::Array(vec![int(0), int(0)]));
    trio.agree();
}

#[test]
fn a_panic_in_a_tick_leaves_no_trace() {
    let mut trio = Trio::start_with(Module::rash(), &["--tick", "50ms"]);
    trio.adds(&["ARM"]);
    for mut reader in readers(&trio.cluster) {
        wait::until("a tick that fails", || (info(&mut reader)["machine_traps"] != "0").then_some(()));
    }
    trio.counts();
    trio.adds(&["DISARM"]);
    trio.adds(&["INDEX", "7"]).integer();
    trio.traps = info(&mut trio.client)["machine_traps"].parse().unwrap();
    trio.agree();
}

/// The failures are of different kinds and in one batch with commands that succeed.
#[test]
fn failures_among_other_commands_of_a_batch_are_left_out() {
    let mut trio = Trio::start(Module::rash());
    let lines = ["INCR", "PANICS", "INCR", "SPINS", "HOARDS", "INCR", "HUGE", "UNWRAPS nobody", "INDEX 99", "INCR"];
    let commands: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    let replies = trio.client.pipeline(&commands);
    let errors = ["", "TRAP PANICS ", "", "FUEL SPINS ", "OOM HOARDS ", "", "TOOBIG HUGE ", "TRAP UNWRAPS ", "", ""];
    for (reply, error) in replies.iter().zip(errors) {
        match error {
            "" => drop(reply.integer()),
            start => reply.assert_error(start),
        }
    }
    // `INDEX 99` succeeds: it reads the last of a hundred numbers, which are the sum as it was then.
    assert_eq!(replies[8], int(4));
    (trio.count, trio.traps) = (5, 5);
    assert_eq!(names(&mut trio), Value::Array(vec![int(1), int(100)]));
    trio.agree();
}
