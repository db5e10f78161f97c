//! Calls of the host where they are not allowed, and where they are: while the guest is instantiated.

use super::{Trio, readers};
use uhaha_tests::{Module, Value};

#[test]
fn calls_of_the_host_from_the_wrong_place_are_traps() {
    let mut trio = Trio::start(Module::bad("misplaced"));
    assert_eq!(trio.fails(&["WRITE"], "TRAP"), "portable-io.write is for portable.save only");
    assert_eq!(trio.fails(&["READ"], "TRAP"), "portable-io.read is for portable.load only");
    assert_eq!(trio.fails(&["BYTES"], "TRAP"), "random-bytes: 1048577 is over the limit of 1048576");
    // While the host hands over the arguments, and after it has taken the reply.
    trio.fails(&["SAY", "thirteen char"], "TRAP");
    trio.adds(&["SAY", "fourteen chars"]).integer();
    trio.fails(&["LATE"], "TRAP");
    trio.agree();
}

#[test]
fn a_read_that_calls_the_host_wrongly_fails_alone() {
    let mut trio = Trio::start(Module::bad("misplaced"));
    trio.fails_to_read(&["RWRITE"], "TRAP RWRITE: portable-io.write is for portable.save only");
    trio.fails_to_read(&["RREAD"], "TRAP RREAD: portable-io.read is for portable.load only");
    trio.agree();
}

/// Before the first entry of the log there is no time and no seed: each node's guest is told the same.
#[test]
fn a_guest_is_told_the_same_on_each_node_while_it_is_instantiated() {
    let mut trio = Trio::start(Module::bad("misplaced"));
    trio.counts();
    trio.agree();
    let seen: Vec<Value> = readers(&trio.cluster).iter_mut().map(|reader| reader.call(&["SEEN"])).collect();
    assert_eq!(seen[0].array()[0].integer(), 1, "the first look at a clock that stands at 0");
    assert_eq!(seen, [seen[0].clone(), seen[0].clone(), seen[0].clone()]);
    for position in 0..3 {
        trio.cluster.server(position).wait_for_log("INFO guest: hello");
    }
}
