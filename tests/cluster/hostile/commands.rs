//! Commands that never end, take too much, fail in the middle, or reply what is no reply.

use super::{Trio, info, readers};
use uhaha_tests::{Module, Value, bulk, int};

#[test]
fn an_infinite_loop_ends_with_its_fuel() {
    let mut trio = Trio::start(Module::hostile());
    assert_eq!(trio.fails(&["SPIN"], "FUEL"), "it used more than 2000000 units of fuel");
    trio.agree();
}

#[test]
fn deep_recursion_ends_with_the_counted_call_stack() {
    let mut trio = Trio::start(Module::hostile());
    assert_eq!(trio.fails(&["DEEP"], "TRAP"), "call stack exhausted: its calls are nested too deeply");
    trio.agree();
}

#[test]
fn a_memory_bomb_leaves_the_memory_as_small_as_it_was() {
    let mut trio = Trio::start(Module::hostile());
    trio.counts();
    let bytes = |trio: &Trio| -> Vec<String> {
        readers(&trio.cluster).iter_mut().map(|reader| info(reader)["machine_memory_bytes"].clone()).collect()
    };
    assert_eq!(trio.fails(&["BLOAT"], "OOM"), "it needs more than 8388608 bytes of memory");
    trio.agree();
    assert_eq!(bytes(&trio), ["131072"; 3]);
}

#[test]
fn memory_grows_up_to_the_limit_and_the_guest_can_cope_with_that() {
    let mut trio = Trio::start_with(Module::bad("faults"), &["--guest-memory", "256KiB"]);
    let pages: Vec<i64> = (0..4).map(|_| trio.client.call(&["GROW"]).integer()).collect();
    assert_eq!(pages, [3, 4, 4, 4]);
    assert_eq!(trio.client.call(&["REFUSED"]), int(-1));
    trio.counts();
    // What was refused to an earlier command does not make this one's failure look like a lack of memory.
    trio.fails(&["PAST"], "TRAP");
    assert_eq!(trio.client.call(&["GROW"]), int(4));
    // Two more pages are not there: it fails before it can write to them.
    trio.fails(&["TORN"], "OOM");
    trio.agree();
}

#[test]
fn a_reply_over_the_limit_is_refused() {
    let mut trio = Trio::start(Module::hostile());
    assert_eq!(trio.fails(&["HUGE"], "TOOBIG"), "its reply of 131083 bytes is over the limit of 65536");
    trio.agree();
}

#[test]
fn half_a_reply_and_one_outside_of_the_memory_are_traps() {
    let mut trio = Trio::start(Module::hostile());
    assert_eq!(trio.fails(&["HALF"], "TRAP"), "a reply ends in the middle of a value");
    trio.fails(&["LIE"], "TRAP");
    trio.agree();
}

#[test]
fn what_is_not_one_value_is_no_reply() {
    let mut trio = Trio::start(Module::bad("faults"));
    for command in ["MANY", "TWO", "NONE", "CASE", "RESULT"] {
        trio.fails(&[command], "TRAP");
    }
    trio.agree();
}

#[test]
fn a_trap_in_the_middle_of_a_write_undoes_its_beginning() {
    let mut trio = Trio::start(Module::bad("faults"));
    for command in ["TORN", "PAST", "OVER", "DIV", "CAST", "NULL"] {
        trio.fails(&[command], "TRAP");
    }
    trio.agree();
}

#[test]
fn every_nan_that_a_guest_can_see_is_the_canonical_one() {
    const DOUBLE: i64 = 0x7ff8_0000_0000_0000;
    const SINGLE: i64 = 0x7fc0_0000;
    const SINGLES: i64 = SINGLE << 32 | SINGLE;
    // What is only moved or negated keeps its payload, on every processor.
    const MOVED: [i64; 2] = [0x7ff8_0000_00ab_cdef, 0xfff8_0000_00ab_cdef_u64 as i64];
    let mut trio = Trio::start(Module::bad("faults"));
    let seen: Vec<i64> = trio.adds(&["NANS"]).array().iter().map(Value::integer).collect();
    let expected = [&[DOUBLE; 15][..], &[SINGLE; 2], &[DOUBLE; 2], &[SINGLES; 2], &MOVED].concat();
    assert_eq!(seen, expected);
    for mut reader in readers(&trio.cluster) {
        assert_eq!(reader.call(&["DOUBLE"]), bulk("nan"), "in RESP2");
        reader.hello(3);
        assert!(matches!(reader.call(&["DOUBLE"]), Value::Double(value) if value.is_nan()));
    }
    trio.agree();
}
