//! Entries with reads among their writes.

use super::{Replica, guest, read};
use crate::command::Command;
use crate::guest::{Guest, Limits};
use crate::proposal::Proposal;
use bytes::Bytes;
use std::sync::Arc;

const WRITES: [&str; 3] = ["INCR", "GROW", "TRAP"];

/// Everything but `WRITES` is a read.
fn proposal(index: u64, names: &[&str]) -> Proposal {
    let command = |name: &&str| {
        let command = Command::new(vec![Bytes::copy_from_slice(name.as_bytes())]).unwrap();
        if WRITES.contains(name) { command } else { command.read() }
    };
    let commands: Vec<Command> = names.iter().map(command).collect();
    Proposal::encode(index, (index == 1).then_some(7), &[], commands.iter())
}

fn apply(replica: &mut Replica, index: u64, names: &[&str], wants_reads: bool) -> Vec<String> {
    let replies = replica.apply(index, &proposal(index, names), wants_reads).unwrap();
    replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).replace("\r\n", " ")).collect()
}

#[test]
fn a_read_sees_the_writes_before_it_and_none_after_it() {
    let mut replica = Replica::new(guest()).unwrap();
    let replies = apply(&mut replica, 1, &["INCR", "GET", "GET", "DIRTY", "INCR", "GET", "nope", "GET"], true);
    assert_eq!(replies[..3], [":1 ", "*2 :1 :1 ", "*2 :1 :1 "]);
    assert_eq!(replies[4..6], [":2 ", "*2 :2 :2 "]);
    assert_eq!(replies[6..], ["-ERR unknown command 'nope' ", "*2 :2 :2 "]);
    assert_eq!(read(&mut replica, &["GET"]), ["*2 :2 :2 "], "what a read changed is gone");
}

/// A node that has nobody to tell passes them over, and must be the same afterwards, whatever fails on the way.
#[test]
fn replicas_are_the_same_whether_they_run_the_reads_or_not() {
    let log: [&[&str]; 5] = [
        &["INCR", "GET", "INCR", "GET"],
        &["INCR", "SPIN", "GET", "GROW", "HUGE", "DIRTY", "INCR", "RANDOM", "INCR"],
        &["GET", "INCR", "DIRTY", "TRAP", "GET", "INCR", "LIE", "INCR", "TRAP", "GET"],
        &["INCR", "GET", "INCR"],
        &["GET", "TRAP", "GET"],
    ];
    let mut replicas = [Replica::new(guest()).unwrap(), Replica::new(guest()).unwrap()];
    let mut seen = Vec::new();
    for (index, names) in (1..).zip(log) {
        let [reading, passing] = replicas.each_mut();
        let (told, untold) = (apply(reading, index, names, true), apply(passing, index, names, false));
        for ((name, told), untold) in names.iter().zip(&told).zip(&untold) {
            let expected = if WRITES.contains(name) { told } else { "_ " };
            assert_eq!(untold, expected, "{name} of entry {index}");
        }
        assert_eq!(reading.digests(), passing.digests(), "entry {index}");
        assert_eq!(reading.checkpoint().unwrap(), passing.checkpoint().unwrap(), "entry {index}");
        seen.push(told);
    }
    assert!(seen[1][1].starts_with("-FUEL SPIN"), "{}", seen[1][1]);
    assert_eq!((&*seen[1][2], &*seen[1][6]), ("*2 :3 :3 ", ":4 "));
    assert!(seen[2][3].starts_with("-TRAP TRAP at index 3: "), "{}", seen[2][3]);
    assert_eq!((&*seen[2][4], &*seen[2][9]), (&*format!("*2 {0} {0} ", ":6"), &*format!("*2 {0} {0} ", ":8")));
    let [reading, passing] = &replicas;
    assert_eq!((reading.fuel(), reading.ticks()), (passing.fuel(), passing.ticks()));
}

/// Where the guest is called must not depend on who reads: its memory would.
#[test]
fn reads_cut_the_calls_of_the_guest_on_every_replica() {
    let kvdb: &[u8] = include_bytes!("../../../../examples/prebuilt/kvdb.wasm");
    let cache = tempfile::tempdir().unwrap();
    let guest = Arc::new(Guest::load(kvdb, Limits::default(), cache.path()).unwrap());
    let command = |words: &str| Command::new(words.split(' ').map(|word| Bytes::from(word.to_owned())).collect());
    let commands: Vec<Command> = (0..40)
        .flat_map(|n| {
            [command(&format!("SET k{n} {}", "x".repeat(n * 7))), command(&format!("GET k{n}")).map(Command::read)]
        })
        .flatten()
        .collect();
    let mixed = Proposal::encode(9, Some(1), &[], commands.iter());
    let mut replicas = [true, false].map(|wants_reads| {
        let mut replica = Replica::new(Arc::clone(&guest)).unwrap();
        for index in 1..4 {
            replica.apply(index, &mixed, wants_reads).unwrap();
        }
        replica
    });
    let [reading, passing] = replicas.each_mut().map(|replica| replica.checkpoint().unwrap());
    assert_eq!(reading, passing);
    // Or it would not matter, and this test would show nothing.
    let mut whole = Replica::new(guest).unwrap();
    let writes = Proposal::encode(9, Some(1), &[], commands.iter().filter(|command| !command.is_read()));
    (1..4).for_each(|index| drop(whole.apply(index, &writes, true).unwrap()));
    assert_ne!(whole.checkpoint().unwrap().image, reading.image);
}

/// As for writes, there is a limit to what an entry's replies are together.
#[test]
fn reads_whose_replies_are_too_much_together_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let limits = Limits { reply_bytes_max: 1 << 18, replies_bytes_max: 1 << 18, ..Limits::default() };
    let hostile: &[u8] = include_bytes!("../../../../tests/guests/hostile.wat");
    let guest = Arc::new(Guest::load(hostile, limits, cache.path()).unwrap());
    let mut replica = Replica::new(guest).unwrap();
    let replies = apply(&mut replica, 1, &["INCR", "HUGE", "INCR", "HUGE", "INCR", "HUGE", "GET", "INCR"], true);
    let is_refused = |reply: &String| reply.starts_with("-TOOBIG ");
    let refused: Vec<bool> = replies.iter().map(is_refused).collect();
    assert_eq!(refused, [false, false, false, false, false, true, true, false], "{:?}", replies.last());
    assert_eq!(replies[7], ":4 ");
}
