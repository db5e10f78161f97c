//! Reads and writes that run at once: on a view that others have used, and in the place of the apply thread.

use super::*;
use crate::machine::replica::LONG_TURNS;
use crate::machine::worker::Applied;
use crate::machine::{Machine, Options};
use crate::settings::Change;
use crate::type_config::Entry;
use openraft::EntryPayload;
use std::collections::VecDeque;

/// What a short read gave, if it was one.
fn read_short(replica: &mut Replica, names: &[&str]) -> Option<Vec<String>> {
    let commands: Vec<_> = names.iter().map(|name| command(name)).collect();
    let replies = replica.read_short(&commands).unwrap()?;
    Some(replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).replace("\r\n", " ")).collect())
}

#[test]
fn a_short_read_sees_every_write_and_nothing_of_reads_before_it() {
    let mut replica = Replica::new(guest()).unwrap();
    assert_eq!(read_short(&mut replica, &["GET"]), None, "an instance for reads is still to be made");
    read(&mut replica, &["GET"]);
    for index in 1..=5 {
        apply(&mut replica, index, &proposal(index, None, &["INCR"]));
        let expected = format!("*2 :{index} :{index} ");
        assert_eq!(read_short(&mut replica, &["GET", "GET"]), Some(vec![expected.clone(), expected]));
        let dirty = read_short(&mut replica, &["DIRTY"]);
        assert!(dirty.is_some());
        assert_eq!(read_short(&mut replica, &["DIRTY"]), dirty, "the first has left nothing");
    }
    let before = replica.checkpoint().unwrap();
    assert_eq!(read(&mut replica, &["GET"]).len(), 1);
    assert_eq!(replica.checkpoint().unwrap(), before);
}

#[test]
fn what_is_long_or_fails_is_left_to_the_other_way_and_not_tried_again_soon() {
    let mut replica = Replica::new(guest()).unwrap();
    for command in ["SPIN", "TRAP", "HUGE", "BLOAT", "NOPE"] {
        read(&mut replica, &["GET"]);
        assert_eq!(read_short(&mut replica, &[command]), None, "{command}");
        assert_eq!(replica.traps(), 0, "{command}");
        assert!(replica.last_trap().is_none(), "{command}: it is noted when the error is given");
    }
    read(&mut replica, &["GET"]);
    for turn in 0..LONG_TURNS {
        assert_eq!(read_short(&mut replica, &["TRAP"]), None);
        assert!(read_short(&mut replica, &["GET"]).is_some(), "turn {turn}: the view is still there");
    }
    assert_eq!(read_short(&mut replica, &["TRAP"]), None);
    assert_eq!(read_short(&mut replica, &["GET"]), None, "it was tried, and took the view along");
}

/// As a node does; the second is whether the first way was enough.
fn apply_either_way(replica: &mut Replica, index: u64, proposal: &Proposal) -> (Vec<String>, bool) {
    match replica.apply_short(index, proposal).unwrap() {
        None => (apply(replica, index, proposal), false),
        Some(replies) => {
            let replies = replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).trim_end().to_owned());
            (replies.collect(), true)
        }
    }
}

#[test]
fn what_is_applied_at_once_leaves_what_the_other_way_leaves() {
    // Commands that fail keep those beside them from being tried again, so what is short comes first.
    let short = ["INCR", "NOW", "RANDOM", "GROW", "FAIL"].map(|name| proposal(900, None, &[name, "INCR"]));
    let log: Vec<Proposal> = short.into_iter().chain(rough_log()).chain(rough_log()).collect();
    let [mut one, mut other] = [(); 2].map(|()| Replica::new(guest()).unwrap());
    let mut ways = Vec::new();
    for (index, proposal) in (1..).zip(&log) {
        let expected = apply(&mut one, index, proposal);
        let (replies, at_once) = apply_either_way(&mut other, index, proposal);
        assert_eq!(replies, expected, "entry {index}");
        assert_eq!(one.digests(), other.digests(), "entry {index}");
        ways.push(at_once);
    }
    assert_eq!(ways[..5], [true; 5]);
    assert!(ways[5..].contains(&false));
    assert_eq!((one.fuel(), one.traps()), (other.fuel(), other.traps()));
    assert_eq!(one.checkpoint().unwrap(), other.checkpoint().unwrap());
}

#[test]
fn what_is_not_short_is_as_if_it_had_not_been_tried() {
    for name in ["SPIN", "TRAP", "HUGE", "BLOAT", "HALF"] {
        let mut replica = Replica::new(guest()).unwrap();
        apply(&mut replica, 1, &proposal(1, Some(1), &["INCR", "RANDOM"]));
        let before = replica.copy().unwrap().capture(Default::default()).unwrap();
        assert!(replica.apply_short(2, &proposal(2, None, &["INCR", name])).unwrap().is_none(), "{name}");
        assert!(replica.is_spoiled(), "{name}");
        assert!(
            replica.apply_short(2, &proposal(2, None, &["INCR"])).unwrap().is_none(),
            "{name}: not on such a state"
        );
        replica.mend().unwrap();
        assert!(!replica.is_spoiled());
        let after = replica.copy().unwrap().capture(Default::default()).unwrap();
        assert!(before == after, "{name}");
        assert_eq!((replica.now(), replica.traps()), (1, 0), "{name}");
        assert!(replica.last_trap().is_none(), "{name}: it is noted when the error is given");
        assert!(replica.apply_short(2, &proposal(2, None, &[name])).unwrap().is_none(), "{name}");
        assert!(!replica.is_spoiled(), "{name} is not tried again soon");
    }
}

#[test]
fn ticks_marks_settings_and_reads_are_for_the_apply_thread() {
    let mut replica = Replica::new(guest()).unwrap();
    let incr = [command("INCR")];
    let with = |settings: Option<&Change>, checks| Proposal::encode_with(1, None, &[], settings, checks, incr.iter());
    let read = [command("INCR"), command("GET").read()];
    let special = [
        proposal(1, Some(1), &["INCR"]),
        with(None, Checks { digests: None, mark: true }),
        with(Some(&Change::First(guest().settings())), Checks::default()),
        Proposal::encode(1, None, &[], read.iter()),
        proposal(1, None, &["INCR", "NOPE"]),
    ];
    for (number, proposal) in special.iter().enumerate() {
        assert!(replica.apply_short(1, proposal).unwrap().is_none(), "{number}");
    }
    assert_eq!((replica.now(), replica.digests()), (0, Default::default()));
    assert!(!replica.is_spoiled());
    assert!(replica.apply_short(1, &with(None, Checks::default())).unwrap().is_some());
}

fn entry(index: u64, names: &[&str]) -> Applied {
    let entry = Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(proposal(index, None, names)) };
    (entry, None)
}

/// A caller applies what is short while the apply thread has nothing to do, and no further.
#[test]
fn a_caller_applies_up_to_the_first_entry_that_is_long() {
    let temp = tempfile::tempdir().unwrap();
    let machine = Machine::start(Options {
        node_id: 1,
        guest: guest(),
        snapshots: Snapshots::open(temp.path().join("snapshots"), 1).unwrap(),
        purged: None,
        committed: None,
        quarantined: None,
        alarm: Default::default(),
    })
    .unwrap();
    let mut entries =
        VecDeque::from([entry(1, &["INCR"]), entry(2, &["INCR"]), entry(3, &["SPIN"]), entry(4, &["INCR"])]);
    machine.apply_now(&mut entries).unwrap();
    assert_eq!(entries.len(), 4, "this thread may have too small a stack");
    let caller = std::thread::Builder::new().stack_size(crate::guest::THREAD_STACK_BYTES);
    let applying = machine.clone();
    let applying = caller.spawn(move || {
        crate::guest::declare_guest_thread();
        // The apply thread may still be about to leave its state.
        while entries.len() == 4 {
            applying.apply_now(&mut entries).unwrap();
        }
        entries.len()
    });
    assert_eq!(applying.unwrap().join().unwrap(), 2, "SPIN is not short");
    let status = machine.status();
    assert_eq!((status.applied, machine.commands_applied()), (Some(log_id(1, 2)), 2));
}
