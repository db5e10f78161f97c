//! Settings that the log sets.

use super::*;
use crate::machine::LogCheck;
use crate::settings::{Change, Settings};

/// The hostile guest on a node that was started with these limits.
fn guest_within(limits: Limits) -> Guest {
    let cache = tempfile::tempdir().unwrap();
    Guest::load(HOSTILE, limits, cache.path()).unwrap()
}

fn replies_of(bytes: u64) -> Limits {
    Limits { reply_bytes_max: bytes, ..Limits::default() }
}

const LARGE: u64 = 1 << 20;
const SMALL: u64 = 1 << 10;

fn settings(limits: Limits) -> Settings {
    guest_within(limits).settings()
}

fn saying(stamp: u64, change: Change, names: &[&str]) -> Proposal {
    let commands: Vec<Command> = names.iter().map(|name| command(name)).collect();
    Proposal::encode_with(stamp, None, &[], Some(&change), Checks::default(), commands.iter())
}

/// Its code for an error, else `OK`.
fn code(reply: &str) -> &str {
    reply.strip_prefix('-').map_or("OK", |error| error.split(' ').next().unwrap())
}

fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|reply| code(reply)).collect()
}

fn apply_all(replica: &mut Replica, log: &[Proposal]) -> Vec<Vec<String>> {
    log.iter().enumerate().map(|(at, proposal)| apply(replica, at as u64 + 1, proposal)).collect()
}

#[test]
fn a_replica_applies_by_the_limits_of_the_log_and_not_by_its_own() {
    let log = [
        saying(1, Change::First(settings(replies_of(LARGE))), &["INCR", "HUGE"]),
        proposal(2, None, &["HUGE"]),
        saying(3, Change::To(settings(replies_of(SMALL))), &["INCR", "HUGE", "INCR"]),
        proposal(4, None, &["HUGE"]),
        saying(5, Change::To(settings(Limits { fuel_max: 1, ..replies_of(LARGE) })), &["INCR"]),
        saying(6, Change::To(settings(replies_of(LARGE))), &["HUGE", "GET"]),
    ];
    let expected = [&["OK", "OK"][..], &["OK"], &["OK", "TOOBIG", "OK"], &["TOOBIG"], &["FUEL"], &["OK", "OK"]];
    let run = |own: Limits| {
        let mut replica = Replica::new(Arc::new(guest_within(own))).unwrap();
        let replies = apply_all(&mut replica, &log);
        (replies, replica.checkpoint().unwrap())
    };
    let (replies, state) = run(replies_of(LARGE));
    for (replies, expected) in replies.iter().zip(expected) {
        assert_eq!(codes(replies), expected, "{replies:?}");
    }
    for own in [replies_of(SMALL), Limits { fuel_max: 2, tick_fuel_max: 1, ..replies_of(LARGE) }] {
        let other = run(own);
        assert_eq!(other.0, replies);
        assert!(other.1 == state);
    }
}

#[test]
fn reads_are_held_to_the_limits_of_the_log_too() {
    let mut replica = Replica::new(Arc::new(guest_within(replies_of(LARGE)))).unwrap();
    apply(&mut replica, 1, &saying(1, Change::First(settings(replies_of(SMALL))), &["INCR"]));
    assert!(read(&mut replica, &["HUGE"])[0].starts_with("-TOOBIG"));
    apply(&mut replica, 2, &saying(2, Change::To(settings(replies_of(LARGE))), &["INCR"]));
    assert!(read(&mut replica, &["HUGE"])[0].starts_with('$'));
}

#[test]
fn going_back_across_a_change_repeats_each_proposal_under_its_own_limits() {
    let log = [
        saying(1, Change::First(settings(replies_of(LARGE))), &["INCR", "HUGE"]),
        saying(2, Change::To(settings(replies_of(SMALL))), &["INCR"]),
        // Everything up to here is applied again, the large reply among it.
        proposal(3, None, &["INCR", "TRAP", "INCR"]),
        proposal(4, None, &["HUGE", "GET"]),
    ];
    let mut replica = Replica::new(guest()).unwrap();
    let replies = apply_all(&mut replica, &log);
    assert_eq!(codes(&replies[0]), ["OK", "OK"]);
    assert_eq!(codes(&replies[2]), ["OK", "TRAP", "OK"]);
    assert_eq!(codes(&replies[3]), ["TOOBIG", "OK"]);
    assert_eq!(replica.settings().unwrap().limits, replies_of(SMALL));

    // And from a checkpoint between.
    let mut first = Replica::new(guest()).unwrap();
    apply(&mut first, 1, &log[0]);
    let mut restored = Replica::restore(guest(), first.checkpoint().unwrap()).unwrap();
    for (index, proposal) in log.iter().enumerate().skip(1) {
        assert_eq!(apply(&mut restored, index as u64 + 1, proposal), replies[index]);
    }
    assert!(restored.checkpoint().unwrap() == replica.checkpoint().unwrap());
}

#[test]
fn first_settings_do_not_replace_those_in_force() {
    let mut replica = Replica::new(guest()).unwrap();
    apply(&mut replica, 1, &saying(1, Change::First(settings(replies_of(SMALL))), &[]));
    apply(&mut replica, 2, &saying(2, Change::First(settings(replies_of(LARGE))), &["INCR"]));
    assert_eq!(replica.settings().unwrap().limits, replies_of(SMALL));
}

/// Going back to a state must not need memory that the limit no longer allows.
#[test]
fn a_memory_limit_below_the_state_stops_growth_and_nothing_else() {
    let mut replica = Replica::new(guest()).unwrap();
    apply(&mut replica, 1, &saying(1, Change::First(settings(Limits::default())), &["GROW", "GROW"]));
    replica.checkpoint().unwrap();
    let tight = Limits { memory_bytes_max: 2 << 16, ..Limits::default() };
    let replies = apply(&mut replica, 2, &saying(2, Change::To(settings(tight)), &["GROW", "TRAP", "INCR"]));
    assert_eq!((&*replies[0], &*replies[2]), (":4", ":1"));
    assert!(replies[1].starts_with("-TRAP"), "{}", replies[1]);
    assert_eq!(read(&mut replica, &["GET"]), ["*2 :1 :1 "]);
}

fn other_engine() -> Arc<Guest> {
    Arc::new(guest_within(Limits::default()).with_engine_revision("next"))
}

#[test]
fn another_engine_applies_no_command_and_may_be_moved_to() {
    let limits = Limits::default();
    let (old, new) = (Arc::new(guest_within(limits)), other_engine());
    let mut replica = Replica::new(Arc::clone(&old)).unwrap();
    apply(&mut replica, 1, &saying(1, Change::First(old.settings()), &["INCR"]));
    let state = replica.checkpoint().unwrap();

    let mut moved = Replica::restore(Arc::clone(&new), state.clone()).unwrap();
    for work in [proposal(2, None, &["INCR"]), proposal(2, Some(1), &[])] {
        let refused = moved.apply(2, &work, true).unwrap_err().to_string();
        assert!(refused.contains(old.fingerprint()) && refused.contains(new.fingerprint()), "{refused}");
        assert!(refused.contains("RAFT SNAPSHOT NOW"), "{refused}");
    }
    assert!(moved.checkpoint().unwrap() == state, "nothing was applied");
    apply(&mut moved, 2, &proposal(2, None, &[]));
    let switch = saying(3, Change::To(new.settings()), &["INCR"]);
    assert_eq!(apply(&mut moved, 3, &switch), [":2"]);

    let left = replica.apply(3, &switch, true).unwrap_err().to_string();
    assert!(left.contains(old.fingerprint()) && left.contains(new.fingerprint()), "{left}");
}

#[test]
fn another_module_is_refused_by_both_hashes() {
    let own = guest();
    let mut replica = Replica::new(Arc::clone(&own)).unwrap();
    let other = Settings { module: "5e".repeat(32), ..own.settings() };
    let refused = replica.apply(7, &saying(1, Change::First(other), &["INCR"]), true).unwrap_err().to_string();
    assert!(refused.contains(own.hash()) && refused.contains(&"5e".repeat(32)), "{refused}");
    assert!(refused.starts_with("from index 7 on"), "{refused}");
}

#[test]
fn a_log_is_checked_before_any_of_it_is_applied() {
    let (old, new) = (guest(), other_engine());
    let check = |guest: &Guest, active: Option<&Guest>, log: &[Proposal]| {
        let mut check = LogCheck::new(guest, active.map(|active| Arc::new(active.settings())));
        for (index, proposal) in log.iter().enumerate() {
            check.take(index as u64, proposal).map_err(|fault| fault.to_string())?;
        }
        Ok::<bool, String>(check.is_over())
    };
    let first = saying(1, Change::First(old.settings()), &["INCR"]);
    let switch = saying(2, Change::To(new.settings()), &[]);
    let idle = proposal(3, None, &[]);
    let work = proposal(4, None, &["INCR"]);
    assert_eq!(check(&old, None, &[first.clone(), work.clone()]), Ok(true));
    check(&new, None, &[first]).unwrap_err();
    assert_eq!(check(&new, Some(&old), std::slice::from_ref(&idle)), Ok(false));
    assert_eq!(check(&new, Some(&old), &[idle, switch, work.clone()]), Ok(true));
    let refused = check(&new, Some(&old), &[work]).unwrap_err();
    assert!(refused.starts_with("the entry at index 0 is for the engine "), "{refused}");
}

/// A log of before there were settings.
#[test]
fn without_settings_in_the_log_a_replica_applies_by_its_own() {
    let mut replica = Replica::new(Arc::new(guest_within(replies_of(SMALL)))).unwrap();
    assert_eq!(codes(&apply(&mut replica, 1, &proposal(1, None, &["HUGE"]))), ["TOOBIG"]);
    assert!(replica.settings().is_none());
}
