mod handles;
mod mixed;
mod settings;
mod short;

use super::checkpoint::Checkpoint;
use super::replica::Replica;
use super::snapshot;
use crate::command::Command;
use crate::guest::{Guest, Limits};
use crate::proposal::{Checks, Proposal};
use crate::storage::schema::log_id;
use crate::storage::snapshots::Snapshots;
use crate::type_config::{Membership, SnapshotMeta};
use bytes::Bytes;
use std::sync::Arc;

const HOSTILE: &[u8] = include_bytes!("../../../tests/guests/hostile.wat");

fn guest() -> Arc<Guest> {
    let cache = tempfile::tempdir().unwrap();
    let limits = Limits { fuel_max: 100_000, memory_bytes_max: 1 << 20, reply_bytes_max: 1 << 10, ..Limits::default() };
    Arc::new(Guest::load(HOSTILE, limits, cache.path()).unwrap())
}

fn command(name: &str) -> Command {
    Command::new(vec![Bytes::copy_from_slice(name.as_bytes())]).unwrap()
}

fn proposal(stamp: u64, seed: Option<u64>, names: &[&str]) -> Proposal {
    let commands: Vec<Command> = names.iter().map(|name| command(name)).collect();
    Proposal::encode(stamp, seed, &[], commands.iter())
}

fn apply(replica: &mut Replica, index: u64, proposal: &Proposal) -> Vec<String> {
    let replies = replica.apply(index, proposal, true).unwrap();
    replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).trim_end().to_owned()).collect()
}

fn read(replica: &mut Replica, names: &[&str]) -> Vec<String> {
    let commands: Vec<Command> = names.iter().map(|name| command(name)).collect();
    let replies = replica.read(&commands).unwrap();
    replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).replace("\r\n", " ")).collect()
}

/// A log that does everything a guest can do wrong.
fn rough_log() -> Vec<Proposal> {
    vec![
        proposal(1000, Some(1), &[]),
        proposal(2000, None, &["INCR", "NOW", "RANDOM"]),
        proposal(2001, None, &["INCR", "TRAP", "INCR", "SPIN", "BLOAT", "NOW", "HUGE", "HALF", "LIE", "FAIL", "INCR"]),
        proposal(1500, Some(7), &["NOW", "RANDOM", "GROW", "INCR"]),
        proposal(9000, None, &["TRAP"]),
        proposal(9001, None, &["INCR", "NOPE", "incr"]),
    ]
}

#[test]
fn a_failed_command_leaves_no_trace_and_the_rest_is_applied() {
    let mut replica = Replica::new(guest()).unwrap();
    let log = rough_log();
    apply(&mut replica, 1, &log[0]);
    assert_eq!(apply(&mut replica, 2, &log[1])[..2], [":1", ":2001"]);
    let replies = apply(&mut replica, 3, &log[2]);
    assert_eq!(replies[0], ":2");
    assert!(replies[1].starts_with("-TRAP TRAP at index 3: "), "{}", replies[1]);
    assert_eq!(replies[2], ":3");
    assert!(replies[3].starts_with("-FUEL SPIN at index 3: "), "{}", replies[3]);
    assert!(replies[4].starts_with("-OOM BLOAT at index 3: "), "{}", replies[4]);
    assert_eq!(replies[5], ":2002", "a trapped command takes no time");
    assert!(replies[6].starts_with("-TOOBIG HUGE at index 3: "), "{}", replies[6]);
    assert!(replies[7].starts_with("-TRAP HALF at index 3: "), "{}", replies[7]);
    assert!(replies[8].starts_with("-TRAP LIE at index 3: "), "{}", replies[8]);
    assert_eq!(replies[9], "-ERR no luck", "an error does not undo");
    assert_eq!(replies[10], ":5");
    assert_eq!(read(&mut replica, &["GET"]), ["*2 :5 :5 "]);
    assert_eq!(apply(&mut replica, 4, &log[3])[0], ":2003", "time does not go back");
    assert!(apply(&mut replica, 5, &log[4])[0].starts_with("-TRAP"));
    assert_eq!(apply(&mut replica, 6, &log[5]), [":7", "-ERR unknown command 'NOPE'", ":8"]);
    assert_eq!(replica.traps(), 7);
}

#[test]
fn the_same_log_gives_the_same_replies_and_the_same_bytes() {
    let run = |disturb: bool| {
        let mut replica = Replica::new(guest()).unwrap();
        let mut replies = Vec::new();
        for (index, proposal) in rough_log().iter().enumerate() {
            replies.extend(apply(&mut replica, index as u64 + 1, proposal));
            if disturb {
                read(&mut replica, &["DIRTY", "GET", "DIRTY"]);
                replica.checkpoint().unwrap();
            }
        }
        (replies, replica.fuel(), replica.checkpoint().unwrap())
    };
    let (quiet, disturbed) = (run(false), run(true));
    assert_eq!(quiet.0, disturbed.0);
    assert!(quiet.1 > 0);
    assert_eq!(quiet.1, disturbed.1, "what failed or was repeated is not counted");
    assert_eq!(quiet.2, disturbed.2, "reads and checkpoints leave no mark");
}

#[test]
fn a_restored_replica_goes_on_like_one_that_never_stopped() {
    let log = rough_log();
    for cut in 0..log.len() {
        let mut whole = Replica::new(guest()).unwrap();
        let mut checkpoint: Option<Checkpoint> = None;
        let mut restored: Option<Replica> = None;
        for (index, proposal) in log.iter().enumerate() {
            if index == cut {
                let taken = whole.checkpoint().unwrap();
                restored = Some(Replica::restore(guest(), taken.clone()).unwrap());
                checkpoint = Some(taken);
            }
            let replies = apply(&mut whole, index as u64 + 1, proposal);
            if let Some(restored) = &mut restored {
                assert_eq!(apply(restored, index as u64 + 1, proposal), replies);
            }
        }
        assert!(checkpoint.is_some());
        let restored = restored.as_mut().unwrap();
        assert_eq!(restored.source(), whole.source());
        assert_eq!(restored.checkpoint().unwrap(), whole.checkpoint().unwrap(), "cut at {cut}");
    }
}

#[test]
fn the_digest_of_a_state_is_that_of_its_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(directory.path(), 3).unwrap();
    let mut replica = Replica::new(guest()).unwrap();
    for (index, proposal) in rough_log().iter().enumerate() {
        apply(&mut replica, index as u64 + 1, proposal);
    }
    let checkpoint = replica.checkpoint().unwrap();
    let meta = SnapshotMeta { last_log_id: Some(log_id(1, 6)), last_membership: Membership::default() };
    let info = snapshot::write(&snapshots, &guest(), &meta, &checkpoint).unwrap();
    let (_, read) = snapshot::read(&snapshots, &guest(), &info.id).unwrap();
    assert_eq!((read.digests, read.digest(6).unwrap()), (checkpoint.digests, checkpoint.digest(6).unwrap()));
    assert_eq!(read.digests.index, 6);
    apply(&mut replica, 7, &proposal(9002, None, &["INCR"]));
    assert_ne!(replica.checkpoint().unwrap().digest(6).unwrap(), read.digest(6).unwrap());
}

/// Each takes a file of its own.
#[test]
fn a_snapshot_with_more_memories_than_its_module_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(directory.path(), 3).unwrap();
    let mut checkpoint = Replica::new(guest()).unwrap().checkpoint().unwrap();
    let memory = checkpoint.image.memories[0].clone();
    checkpoint.image.memories = vec![memory; 100];
    let info = snapshot::write(&snapshots, &guest(), &SnapshotMeta::default(), &checkpoint).unwrap();
    let error = snapshot::read(&snapshots, &guest(), &info.id).unwrap_err();
    assert!(matches!(error, snapshot::Error::Memories { found: 100, expected: 1 }), "{error}");
}

#[test]
fn reads_cannot_change_the_state_and_fail_alone() {
    let mut replica = Replica::new(guest()).unwrap();
    apply(&mut replica, 1, &proposal(1, Some(1), &["INCR"]));
    let replies = read(&mut replica, &["GET", "TRAP", "GET", "SPIN", "NOPE", "GET"]);
    assert_eq!((&*replies[0], &*replies[2], &*replies[5]), ("*2 :1 :1 ", "*2 :1 :1 ", "*2 :1 :1 "));
    assert!(replies[1].starts_with("-TRAP TRAP: "), "{}", replies[1]);
    assert!(replies[3].starts_with("-FUEL SPIN: "), "{}", replies[3]);
    assert_eq!(replies[4], "-ERR unknown command 'NOPE' ");
    read(&mut replica, &["DIRTY"]);
    assert_eq!(apply(&mut replica, 2, &proposal(2, None, &["INCR"])), [":2"]);
    let now = read(&mut replica, &["NOW", "NOW"]);
    assert_eq!(now[0], now[1]);
}

/// Of ticks, writes and reads; the reply has none of it, for it need not be the same on every replica.
#[test]
fn the_last_trap_is_kept_with_its_backtrace() {
    let mut replica = Replica::new(guest()).unwrap();
    assert!(replica.last_trap().is_none());
    let replies = apply(&mut replica, 3, &proposal(1000, None, &["TRAP", "NOW", "HALF"]));
    let trap = replica.last_trap().unwrap().clone();
    assert_eq!((&*trap.command, trap.index, trap.code), ("HALF", Some(3), crate::reply::ErrorCode::Trap));
    assert_eq!(trap.now, 1001, "the time when it failed");
    assert!(trap.backtrace.frames().is_empty());
    assert_eq!(replies[2], format!("-{trap}"));
    let replies = apply(&mut replica, 4, &proposal(2000, None, &["trap"]));
    let trap = replica.last_trap().unwrap().clone();
    assert_eq!(trap.backtrace.frames()[0], "trap");
    assert!(!replies[0].contains(trap.backtrace.frames()[1].as_str()), "{}", replies[0]);
    let replies = read(&mut replica, &["GET", "SPIN"]);
    let trap = replica.last_trap().unwrap();
    assert_eq!((&*trap.command, trap.index, trap.code), ("SPIN", None, crate::reply::ErrorCode::Fuel));
    assert_eq!(trap.backtrace.frames()[0], "spin");
    assert!(replies[1].starts_with("-FUEL SPIN: "), "{}", replies[1]);
}

#[test]
fn endless_recursion_is_a_trap_on_the_stack_of_the_apply_thread() {
    let thread = std::thread::Builder::new().stack_size(crate::guest::THREAD_STACK_BYTES);
    let run = thread.spawn(|| {
        let cache = tempfile::tempdir().unwrap();
        let guest = Arc::new(Guest::load(HOSTILE, Limits::default(), cache.path()).unwrap());
        let mut replica = Replica::new(guest).unwrap();
        let replies = apply(&mut replica, 1, &proposal(1, Some(1), &["INCR", "DEEP", "INCR"]));
        assert_eq!((&*replies[0], &*replies[2]), (":1", ":2"));
        assert_eq!(replies[1], "-TRAP DEEP at index 1: call stack exhausted: its calls are nested too deeply");
        let trap = replica.last_trap().unwrap();
        let frames = trap.backtrace.frames();
        assert!((1..=20).contains(&frames.len()) && frames.iter().all(|frame| frame == "down"), "{frames:?}");
    });
    run.unwrap().join().unwrap();
}

/// A batch may fail as a whole although each of its commands alone is fine: the next failure must not trip over it.
#[test]
fn a_batch_over_the_limit_of_one_command_is_run_one_by_one_and_can_be_repeated() {
    let guest = kvdb(Limits { fuel_max: 40_000, ..Limits::default() });
    let mut replica = Replica::new(Arc::clone(&guest)).unwrap();
    let mut last = Vec::new();
    for index in 1..=6 {
        let commands: Vec<Command> = (0..60).map(|number| set(number + 60 * index, &"v".repeat(50))).collect();
        let size = if index % 2 == 0 { 60 } else { 1 };
        last = apply(&mut replica, index as u64, &Proposal::encode(index as u64, None, &[], commands[..size].iter()));
    }
    assert!(replica.ran_step_by_step(), "the batch was over the limit as a whole");
    assert_eq!(last, vec!["+OK"; 60], "more fuel than one command may use, but no command used so much");
    let count = Command::new(vec![Bytes::from("DBSIZE")]).unwrap();
    assert_eq!(replica.read(&[count]).unwrap().iter().next().unwrap().as_bytes(), &b":183\r\n"[..]);
}

fn kvdb(limits: Limits) -> Arc<Guest> {
    const KVDB: &[u8] = include_bytes!("../../../examples/prebuilt/kvdb.wasm");
    let cache = tempfile::tempdir().unwrap();
    Arc::new(Guest::load(KVDB, limits, cache.path()).unwrap())
}

fn set(key: usize, value: &str) -> Command {
    let words = ["SET".to_owned(), format!("key{key}"), value.to_owned()];
    Command::new(words.into_iter().map(Bytes::from).collect()).unwrap()
}

fn set_all(replica: &mut Replica, index: u64, keys: std::ops::Range<usize>, value: &str) {
    let commands: Vec<Command> = keys.map(|key| set(key, value)).collect();
    apply(replica, index, &Proposal::encode(index, None, &[], commands.iter()));
}

#[test]
fn a_snapshot_of_little_change_adds_to_the_one_before() {
    let guest = kvdb(Limits::default());
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(dir.path(), 3).unwrap();
    let mut replica = Replica::new(Arc::clone(&guest)).unwrap();
    let write = |replica: &mut Replica| {
        let checkpoint = replica.checkpoint().unwrap();
        let info = snapshot::write(&snapshots, &guest, &SnapshotMeta::default(), &checkpoint).unwrap();
        let (_, read) = snapshot::read(&snapshots, &guest, &info.id).unwrap();
        assert_eq!(read, checkpoint);
        (info, checkpoint)
    };
    set_all(&mut replica, 1, 0..5000, &"v".repeat(1000));
    let (first, checkpoint) = write(&mut replica);
    assert_eq!(first.parent, None);
    drop(checkpoint);

    set_all(&mut replica, 2, 17..18, "other");
    let (second, checkpoint) = write(&mut replica);
    assert_eq!(second.parent.as_ref(), Some(&first.id));
    assert!(second.bytes * 10 < first.bytes, "{} of {}", second.bytes, first.bytes);
    drop(checkpoint);
    set_all(&mut replica, 3, 4000..4001, "other");
    let (third, checkpoint) = write(&mut replica);
    assert_eq!(third.parent.as_ref(), Some(&second.id));

    let whole = snapshot::whole(&snapshots, &third.id).unwrap();
    assert_eq!((&whole.id, &whole.parent), (&third.id, &None));
    assert_eq!(snapshot::read(&snapshots, &guest, &third.id).unwrap().1, checkpoint);
    assert_eq!(snapshot::whole(&snapshots, &third.id).unwrap(), whole, "it is one already");
    drop(checkpoint);

    // What was restored knows which file it came from, and much change is written as a whole.
    let (_, restored) = snapshot::read(&snapshots, &guest, &third.id).unwrap();
    let mut replica = Replica::restore(Arc::clone(&guest), restored).unwrap();
    set_all(&mut replica, 4, 1..2, "more");
    let (fourth, checkpoint) = write(&mut replica);
    assert_eq!(fourth.parent.as_ref(), Some(&third.id));
    drop(checkpoint);
    set_all(&mut replica, 5, 0..5000, &"w".repeat(1000));
    assert_eq!(write(&mut replica).0.parent, None);
}

/// While a snapshot is being written its image is held, and a failed command needs one to go back to.
#[test]
fn commands_fail_and_others_count_while_a_snapshot_is_held() {
    let guest = guest();
    let mut replica = Replica::new(Arc::clone(&guest)).unwrap();
    let mut undisturbed = Replica::new(guest).unwrap();
    for (index, proposal) in (1..).zip(rough_log()) {
        let held = replica.checkpoint().unwrap();
        let before = undisturbed.checkpoint().unwrap();
        assert_eq!(apply(&mut replica, index, &proposal), apply(&mut undisturbed, index, &proposal));
        assert_eq!(held, before, "what is held stays as it was");
    }
    assert_eq!(replica.checkpoint().unwrap(), undisturbed.checkpoint().unwrap());
}

#[test]
fn a_long_journal_is_cut_by_checkpoints_and_a_failure_behind_them_is_undone() {
    let mut replica = Replica::new(guest()).unwrap();
    let many = vec!["INCR"; 10_000];
    for index in 1..=8 {
        apply(&mut replica, index, &proposal(index, None, &many));
    }
    let replies = apply(&mut replica, 9, &proposal(9, None, &["INCR", "TRAP", "INCR"]));
    assert_eq!((&*replies[0], &*replies[2]), (":80001", ":80002"));
    assert!(replies[1].starts_with("-TRAP"), "{}", replies[1]);
}

#[test]
fn the_digest_after_a_mark_is_made_at_once_if_that_is_quick() {
    let guest = kvdb(Limits::default());
    let mut replica = Replica::new(Arc::clone(&guest)).unwrap();
    let marked = |index: u64, keys: std::ops::Range<usize>| {
        let commands: Vec<Command> = keys.map(|key| set(key, &"v".repeat(1000))).collect();
        let checks = Checks { mark: true, ..Checks::default() };
        Proposal::encode_with(index, None, &[], None, checks, commands.iter())
    };
    replica.apply(1, &marked(1, 0..10), true).unwrap();
    let state = replica.digests().state;
    assert_eq!(state, Some(replica.checkpoint().unwrap().digest(1).unwrap()));
    assert!(replica.take_marked().is_none());
    replica.apply(2, &marked(2, 0..10_000), true).unwrap();
    assert_eq!(replica.digests().state, None);
    let later = replica.take_marked().unwrap();
    replica.apply(3, &proposal(3, None, &[]), true).unwrap();
    assert_eq!(later.digests.index, 2);
    let restored = Replica::restore(Arc::clone(&guest), later.clone()).unwrap().checkpoint().unwrap();
    assert_eq!(later.digest(2).unwrap(), restored.digest(2).unwrap());
}
