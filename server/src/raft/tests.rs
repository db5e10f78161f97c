use super::rpc::Kind;
use super::*;
use crate::fault::Alarm;
use crate::guest::{self, Guest, Limits};
use crate::machine;
use crate::net::peer::{Remote, Service};
use crate::storage::DataDir;
use crate::storage::log::Options as LogOptions;
use crate::storage::snapshots::Snapshots;
use crate::type_config::Vote;
use bytes::Bytes;
use openraft::raft::VoteRequest;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const COUNTER: &[u8] = include_bytes!("../../../tests/guests/counter.wat");

fn command(words: &[&str]) -> Command {
    Command::new(words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()).unwrap()
}

fn options() -> Options {
    Options::new(1, Node { name: "one".into(), address: "127.0.0.1:1".into() })
}

struct Running {
    cluster: Cluster,
    machine: Machine,
    alarm: Alarm,
    _dir: DataDir,
}

async fn start(path: &Path, options: Options) -> Running {
    let dir = DataDir::open(path).unwrap();
    let (log, _fault) = LogStorage::open(&dir.log_path(), LogOptions { nosync: false, wal_bytes: 1 << 20 }).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let guest = Arc::new(Guest::load(COUNTER, Limits::default(), cache.path()).unwrap());
    let snapshots = Snapshots::open(dir.snapshots_path(), 3).unwrap();
    let alarm = Alarm::default();
    let purged = log.status().purged;
    let start = machine::Options {
        node_id: options.node_id,
        guest,
        snapshots,
        purged,
        committed: None,
        quarantined: None,
        alarm: alarm.clone(),
    };
    let machine = Machine::start(start).unwrap();
    let node_id = options.node_id;
    let local = move || Local {
        cluster: Some([1; 16]),
        node_id,
        secret: crate::net::peer::Secret::default(),
        tls: None,
        frame_bytes_max: 1 << 30,
    };
    let clock = Clock::new(crate::time::Options::default());
    let cluster = Cluster::start(options, log, machine.clone(), clock, dir.ward(), local).await.unwrap();
    Running { cluster, machine, alarm, _dir: dir }
}

fn text(replies: Replies) -> Vec<String> {
    replies.iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
}

async fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} not reached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposes_reads_and_restarts() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    assert!(node.cluster.is_leader());
    assert_eq!(node.cluster.leader(), Some(options().node));
    let replies = node.cluster.propose(vec![command(&["A"]), command(&["E", "x"]), command(&["B"])]).await.unwrap();
    assert_eq!(text(replies), [":1\r\n", "$1\r\nx\r\n", ":3\r\n"]);
    assert_eq!(text(node.cluster.read(vec![command(&["R"]); 2], Weight::Light).await.unwrap().replies), [":3\r\n"; 2]);
    assert!(node.cluster.propose(Vec::new()).await.unwrap().is_empty());
    node.cluster.barrier().await.unwrap();
    let status = node.cluster.status();
    assert_eq!((status.role, status.voter, status.leader), (Role::Leader, true, Some(1)));
    assert_eq!(status.applied, status.last_log);
    node.cluster.shutdown().await;
    assert!(matches!(node.cluster.propose(vec![command(&["A"])]).await, Err(Error::Stopped)));
    assert!(matches!(node.cluster.read(vec![command(&["A"])], Weight::Light).await, Err(Error::Stopped)));
    drop(node);

    let mut moved = options();
    moved.node.address = "127.0.0.1:2".into();
    let node = start(temp.path(), moved.clone()).await;
    assert_eq!(text(node.cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies), [":3\r\n"]);
    assert_eq!(node.cluster.members(), [Member { node_id: 1, node: moved.node, leader: true, voter: true }]);
    assert!(node.cluster.status().term > status.term);
    node.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_writes_its_settings_with_its_first_command_and_once() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    assert_eq!(node.machine.settings(), None, "an idle cluster writes nothing");
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    assert_eq!(node.machine.settings().as_ref(), Some(node.machine.wanted_settings()));
    let before = node.cluster.status().log_bytes;
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    let settings = node.machine.wanted_settings().encode().len() as u64;
    assert!(node.cluster.status().log_bytes - before < settings);
    node.cluster.shutdown().await;
}

/// Reads that run on the threads of their clients, while others write and the apply thread comes and goes.
#[test]
fn reads_at_once_have_everything_that_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .thread_stack_size(guest::THREAD_STACK_BYTES)
        .on_thread_start(guest::declare_guest_thread)
        .enable_all()
        .build()
        .unwrap();
    let temp = tempfile::tempdir().unwrap();
    let at_once = Arc::new(AtomicUsize::new(0));
    let node = runtime.block_on(start(temp.path(), options()));
    let writers = (0..2).map(|_| {
        let cluster = node.cluster.clone();
        runtime.spawn(async move {
            for _ in 0..200 {
                let mine = number(cluster.propose(vec![command(&["A"])]).await.unwrap());
                let read = number(cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies);
                assert!(read >= mine, "{read} read after {mine} was written");
            }
        })
    });
    let readers = (0..2).map(|_| {
        let (cluster, at_once) = (node.cluster.clone(), Arc::clone(&at_once));
        runtime.spawn(async move {
            let mut last = 0;
            while last < 400 {
                let is_all_in = |state: &Readable<'_>| {
                    let log = &cluster.shared.log;
                    state.applied.is_some_and(|applied| log.is_all_in(1, applied, state.membership))
                };
                let read = match cluster.read_now(&[command(&["R"])], Weight::Light, is_all_in) {
                    Some(replies) => {
                        at_once.fetch_add(1, Ordering::Relaxed);
                        number(replies)
                    }
                    None => number(cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies),
                };
                assert!(read >= last, "{read} read after {last}");
                last = read;
                tokio::task::yield_now().await;
            }
        })
    });
    let tasks: Vec<_> = writers.chain(readers).collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
        node.cluster.shutdown().await;
    });
    assert!(at_once.load(Ordering::Relaxed) > 0);
}

/// The integer that the only reply is.
fn number(replies: Replies) -> u64 {
    text(replies)[0].trim_start_matches(':').trim_end().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_do_not_run_on_threads_that_are_not_made_for_them() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    let commands = [command(&["R"])];
    assert_eq!(text(node.cluster.read(commands.to_vec(), Weight::Light).await.unwrap().replies), [":0\r\n"]);
    assert!(node.cluster.read_now(&commands, Weight::Light, |_| true).is_none());
    node.cluster.shutdown().await;
}

/// Every group gets its own replies, in its own order, whatever was gathered with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_go_to_who_asked() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), Options { batch_commands_max: 50, ..options() }).await;
    let mut tasks = Vec::new();
    for client in 0..40 {
        let cluster = node.cluster.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                let commands: Vec<Command> =
                    (0..client % 7).map(|i| command(&["E", &format!("{client}/{round}/{i}")])).collect();
                let expected: Vec<String> = commands
                    .iter()
                    .map(|c| format!("${}\r\n{}\r\n", c.args()[0].len(), c.args()[0].escape_ascii()))
                    .collect();
                assert_eq!(text(cluster.propose(commands).await.unwrap()), expected);
                assert_eq!(
                    cluster.read(vec![command(&["R"]); client % 5], Weight::Light).await.unwrap().replies.len(),
                    client % 5
                );
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let expected: usize = (0..40).map(|client| client % 7 * 20).sum();
    assert_eq!(
        text(node.cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies),
        [format!(":{expected}\r\n")]
    );
    node.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_bounds_is_busy_and_shutdown_answers_what_is_queued() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), Options { queue_commands_max: 4, proposals_in_flight_max: 1, ..options() }).await;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let cluster = node.cluster.clone();
            tokio::spawn(async move { cluster.propose(vec![command(&["A"]), command(&["B"])]).await })
        })
        .collect();
    let (mut done, mut busy) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(replies) => done += replies.len(),
            Err(Error::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(done, 2 * (200 - busy));
    let last = node.cluster.clone();
    let last = tokio::spawn(async move { last.propose(vec![command(&["A"])]).await });
    node.cluster.shutdown().await;
    match last.await.unwrap() {
        Ok(replies) => done += replies.len(),
        Err(error) => assert!(matches!(error, Error::Stopped), "{error}"),
    }
    drop(node);
    // Busy means not done: exactly what was acknowledged is there.
    let node = start(temp.path(), options()).await;
    assert_eq!(
        text(node.cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies),
        [format!(":{done}\r\n")]
    );
    node.cluster.shutdown().await;
}

/// However many large replies are asked for at once, a few are in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_with_large_replies_are_answered_some_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    let large = "x".repeat(3 << 20);
    let mut rest = vec![command(&["R"])];
    rest.extend(vec![command(&["E", &large]); 5]);
    let mut replies = Vec::new();
    let mut counts = Vec::new();
    while !rest.is_empty() {
        let answered = node.cluster.read(rest, Weight::Light).await.unwrap();
        counts.push(answered.replies.len());
        replies.extend(text(answered.replies));
        rest = answered.rest;
    }
    assert_eq!(counts, [3, 2, 1]);
    let whole = format!("${}\r\n{large}\r\n", large.len());
    assert!(replies[0] == ":0\r\n" && replies[1..].iter().all(|reply| *reply == whole));
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (cluster, command) = (node.cluster.clone(), command(&["E", &large]));
            tokio::spawn(async move { cluster.read(vec![command; 2], Weight::Light).await })
        })
        .collect();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().replies.len(), 2);
    }
    node.cluster.shutdown().await;
}

/// Replies are made faster than they are taken, and must not pile up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_more_is_run_while_too_many_replies_are_not_taken() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), Options { undelivered_bytes_max: 3, ..options() }).await;
    let run = |write| {
        let cluster = node.cluster.clone();
        tokio::spawn(async move {
            match write {
                true => cluster.propose(vec![command(&["A"])]).await,
                false => cluster.read(vec![command(&["R"])], Weight::Light).await.map(|answered| answered.replies),
            }
        })
    };
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let held = run(first).await.unwrap().unwrap();
        let waiting = run(second);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished(), "{first} {second}");
        drop(held);
        waiting.await.unwrap().unwrap();
    }
    node.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_purge_the_log_and_survive_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let options = Options { snapshot_log_entries_kept: 2, ..options() };
    let node = start(temp.path(), options.clone()).await;
    for _ in 0..20 {
        node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    }
    let applied = node.cluster.status().applied.unwrap().index;
    let snapshot = node.cluster.snapshot().await.unwrap();
    assert_eq!(snapshot.index, applied);
    assert!(matches!(node.cluster.snapshot().await, Err(Error::NothingToSnapshot)));
    wait_for("purge", || node.cluster.status().first_log_index == Some(applied - 1)).await;
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    node.cluster.shutdown().await;
    drop(node);
    let node = start(temp.path(), options).await;
    assert_eq!(text(node.cluster.read(vec![command(&["R"])], Weight::Light).await.unwrap().replies), [":21\r\n"]);
    assert_eq!(node.cluster.status().snapshot.map(|log_id| log_id.index), Some(applied));
    node.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_compacted_by_entries_and_by_bytes() {
    for (entries, bytes) in [(10, u64::MAX), (u64::MAX >> 2, 4000)] {
        let temp = tempfile::tempdir().unwrap();
        let options = Options {
            snapshot_log_entries: entries,
            snapshot_log_bytes: bytes,
            snapshot_log_entries_kept: 0,
            ..options()
        };
        let node = start(temp.path(), options).await;
        for _ in 0..20 {
            node.cluster.propose(vec![command(&["A", &"x".repeat(400)])]).await.unwrap();
        }
        wait_for("compaction", || node.cluster.status().purged.is_some()).await;
        node.cluster.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_begin_a_term_and_follow_only_while_wanted() {
    let temp = tempfile::tempdir().unwrap();
    let options = Options { tick: Duration::from_millis(20), ..options() };
    let node = start(temp.path(), options.clone()).await;
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    let ticks = |node: &Running| node.machine.status().ticks;
    wait_for("the guest's wish", || !node.machine.wants_ticks()).await;
    let begun = ticks(&node);
    assert!(begun >= 1);
    let last = node.cluster.status().last_log;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.cluster.status().last_log, last, "an idle cluster writes nothing");
    node.cluster.propose(vec![command(&["W"])]).await.unwrap();
    let (ticks_before, now_before) = (ticks(&node), node.machine.status().now);
    wait_for("ticks", || ticks(&node) >= ticks_before + 4).await;
    assert!(node.machine.status().now > now_before + 3 * 19_000_000, "ticks keep their distance");
    node.cluster.shutdown().await;
    drop(node);
    // The first proposal of the next term is a tick again.
    let node = start(temp.path(), Options { tick: Duration::from_secs(3600), ..options }).await;
    let before = ticks(&node);
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    node.cluster.barrier().await.unwrap();
    assert!(ticks(&node) <= before + 1);
    node.cluster.shutdown().await;
}

/// From nothing, and from a log, to the first reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_does_not_wait_for_an_election_timeout() {
    let temp = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        let node = start(temp.path(), options()).await;
        node.cluster.propose(vec![command(&["A"])]).await.unwrap();
        let elapsed = begun.elapsed();
        // Well below the least election timeout, with room for a busy machine.
        assert!(elapsed < Duration::from_millis(700), "{elapsed:?}");
        node.cluster.shutdown().await;
    }
}

/// The entry was handed over and may be on disk or not: nobody may say that it was not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_leaves_the_outcome_unknown_and_stops_raft() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    node.cluster.propose(vec![command(&["A"])]).await.unwrap();
    node.cluster.shared.log.close().await;
    let error = node.cluster.propose(vec![command(&["A"])]).await.unwrap_err();
    assert!(matches!(error, Error::Unknown), "{error}");
    wait_for("stop", || node.cluster.status().role == Role::Stopped).await;
    assert!(node.cluster.propose(vec![command(&["A"])]).await.is_err());
    assert!(node.cluster.read(vec![command(&["A"])], Weight::Light).await.is_err());
    assert!(node.cluster.snapshot().await.is_err());
    node.cluster.shutdown().await;
}

/// It would be a shell that answers and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_raft_stops_the_node() {
    let temp = tempfile::tempdir().unwrap();
    let node = start(temp.path(), options()).await;
    let panicked = node.cluster.shared.raft.with_raft_state(|_| -> () { panic!("on purpose") }).await;
    assert!(panicked.is_err());
    let raised = tokio::time::timeout(Duration::from_secs(20), node.alarm.raised()).await.unwrap();
    assert!(raised.contains("panicked"), "{raised}");
}

/// They tried again at once, without a pause, until their time was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_wait_for_a_leader_end_with_raft() {
    let temp = tempfile::tempdir().unwrap();
    let other = Node { name: "two".into(), address: "127.0.0.1:1".into() };
    let founders = [(1, options().node), (2, other)].into();
    let node = start(temp.path(), Options { founders, leader_wait: Duration::from_secs(3600), ..options() }).await;
    node.cluster.shared.raft.shutdown().await.unwrap();
    let error = node.cluster.propose(vec![command(&["A"])]).await.unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    node.cluster.shutdown().await;
}

/// It may have confirmed a leader a moment before it was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_just_started_keeps_to_leases() {
    for (lease_reads, refuses) in [(true, true), (false, false)] {
        let temp = tempfile::tempdir().unwrap();
        let timeouts = (Duration::from_secs(600), Duration::from_secs(1200));
        let options =
            Options { lease_reads, election_timeout_min: timeouts.0, election_timeout_max: timeouts.1, ..options() };
        let node = start(temp.path(), options).await;
        let from = Remote { cluster: Some([1; 16]), node_id: 2 };
        let request = VoteRequest::<TypeConfig>::new(Vote::new(1, 2), None);
        let answer = node.cluster.answer(from, Kind::PreVote as u8, rpc::encode(&request).unwrap()).await;
        assert_eq!(answer.is_err(), refuses, "{answer:?}");
        node.cluster.shutdown().await;
    }
}
