//! Ticks that fail: they leave no trace, and commands and later ticks go on.

use super::{Trio, info, readers};
use std::collections::BTreeMap;
use uhaha_tests::{Client, Module, Value, wait};

/// Ticks of the guest that came to their end.
fn finished(client: &mut Client) -> i64 {
    client.call(&["GET"]).array()[2].integer()
}

fn traps(client: &mut Client) -> u64 {
    info(client)["machine_traps"].parse().unwrap()
}

/// Command, code and reason of the last failure.
fn last_trap(client: &mut Client) -> [String; 3] {
    let reply = client.call(&["MACHINE", "LASTTRAP"]);
    let pairs = reply.array().chunks(2).map(|pair| (pair[0].text(), &pair[1]));
    let fields: BTreeMap<&str, &Value> = pairs.collect();
    ["command", "code", "reason"].map(|name| fields[name].text().to_owned())
}

/// The guest fails in this way at every tick, until it is told to stop.
#[track_caller]
fn fails_at_ticks(mode: &str, code: &str, reason: &str) {
    let mut trio = Trio::start_with(Module::bad("misplaced"), &["--tick", "50ms"]);
    trio.adds(&["ARM", mode]);
    let before = finished(&mut trio.client);
    for _ in 0..3 {
        let known = traps(&mut trio.client);
        // A tick that fails is the last one until something is written.
        trio.counts();
        for mut reader in readers(&trio.cluster) {
            wait::until("a tick that fails", || (traps(&mut reader) > known).then_some(()));
            assert_eq!(last_trap(&mut reader), ["TICK", code, reason]);
            assert_eq!(finished(&mut reader), before, "no trace of it");
        }
    }
    trio.adds(&["ARM", "0"]);
    wait::until("ticks that succeed", || (finished(&mut trio.client) > before).then_some(()));
    trio.traps = traps(&mut trio.client);
    trio.agree();
}

#[test]
fn a_trap_in_a_tick_leaves_no_trace() {
    fails_at_ticks("1", "TRAP", "wasm trap: wasm `unreachable` instruction executed");
}

#[test]
fn an_endless_tick_ends_with_its_fuel() {
    fails_at_ticks("2", "FUEL", "it used more than 2000000 units of fuel");
}

#[test]
fn a_tick_that_takes_all_memory_leaves_no_trace() {
    fails_at_ticks("3", "OOM", "it needs more than 8388608 bytes of memory");
}

#[test]
fn a_tick_that_recurses_for_ever_leaves_no_trace() {
    fails_at_ticks("4", "TRAP", "call stack exhausted: its calls are nested too deeply");
}

#[test]
fn a_tick_that_calls_the_host_wrongly_leaves_no_trace() {
    fails_at_ticks("5", "TRAP", "portable-io.write is for portable.save only");
}
