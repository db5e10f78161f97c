//! What the log must keep: openraft's own suite, reopening, damage, and power cuts on a simulated disk.

use super::commit::Commit;
use super::*;
use crate::proposal::Proposal;
use crate::storage::schema::{ALL, ClusterId, LOG, META, Standing, log_id};
use crate::type_config::Node;
use openraft::EntryPayload;
use openraft::type_config::TypeConfigExt;
use redb::{Database, ReadableDatabase, ReadableTable};
use std::collections::BTreeMap;
use std::path::PathBuf;

mod crash;
mod damage;
mod suite;

fn entry(term: u64, index: u64) -> Entry {
    sized(term, index, 10)
}

fn sized(term: u64, index: u64, bytes: usize) -> Entry {
    let proposal = Proposal::from_bytes(vec![(index ^ term) as u8; bytes].into());
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(proposal) }
}

async fn append(log: &mut LogStorage, entries: impl IntoIterator<Item = Entry, IntoIter: Send> + Send) {
    let (sender, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await.unwrap();
    flushed.await.unwrap().unwrap();
}

async fn all(log: &mut LogStorage) -> Vec<Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

const OPTIONS: Options = Options { nosync: false, wal_bytes: 1 << 20 };

fn open(path: &Path) -> LogStorage {
    LogStorage::open(path, OPTIONS).unwrap().0
}

/// Closes and opens it, and checks that it is the same.
async fn reopen(path: &Path, mut log: LogStorage) -> LogStorage {
    log.close().await;
    let mut again = open(path);
    assert_eq!(all(&mut again).await, all(&mut log).await);
    assert_eq!(again.status(), log.status());
    assert_eq!(again.read_vote().await.unwrap(), log.read_vote().await.unwrap());
    assert_eq!(again.read_committed().await.unwrap(), log.read_committed().await.unwrap());
    assert_eq!(again.identity(), log.identity());
    again
}

/// A node may take its own word for it only while nobody else can have acknowledged anything.
#[tokio::test]
async fn a_state_has_everything_only_by_who_leads_alone_and_has_applied_what_it_began_with() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let of = |index, nodes: &[u64]| {
        let nodes: BTreeMap<u64, Node> = nodes.iter().map(|id| (*id, Node::default())).collect();
        let payload = openraft::Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let entry = Entry { log_id: log_id(2, index), payload: EntryPayload::Membership(payload.clone()) };
        (Membership::new(Some(log_id(2, index)), payload), entry)
    };
    let mut log = open(&path);
    let (alone, first) = of(0, &[1]);
    append(&mut log, [first, entry(2, 1)]).await;
    assert!(!log.is_all_in(1, log_id(2, 1), &alone), "it has voted for nobody");
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    assert!(log.is_all_in(1, log_id(2, 0), &alone), "what is not applied is not acknowledged");
    assert!(!log.is_all_in(1, log_id(1, 1), &alone), "its own term has not begun there");
    assert!(!log.is_all_in(2, log_id(2, 1), &alone), "another node");
    let (with_learner, second) = of(2, &[1, 2]);
    append(&mut log, [second]).await;
    assert!(!log.is_all_in(1, log_id(2, 1), &alone), "what is to be applied next says that it is not alone");
    assert!(!log.is_all_in(1, log_id(2, 2), &with_learner), "a learner may have applied, and told, more");
    let (alone, third) = of(3, &[1]);
    append(&mut log, [third, entry(2, 4)]).await;
    assert!(log.is_all_in(1, log_id(2, 3), &alone));
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    assert!(!log.is_all_in(1, log_id(2, 4), &alone), "it has voted for another");
    log.save_vote(&Vote::new(2, 1)).await.unwrap();

    let log = reopen(&path, log).await;
    assert!(!log.is_all_in(1, log_id(2, 3), &alone), "the last was acknowledged, perhaps, before the start");
    assert!(log.is_all_in(1, log_id(2, 4), &alone));
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_sync_that_fails_is_the_end_of_the_log_and_what_was_acknowledged_is_kept() {
    for (trigger, kept) in [("", 1), ("after", 2)] {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let (mut log, fault) = LogStorage::open(&path, OPTIONS).unwrap();
        append(&mut log, [entry(1, 0)]).await;
        std::fs::write(temp.path().join(failing::TRIGGER), trigger).unwrap();
        let (sender, flushed) = TypeConfig::oneshot();
        log.append([entry(1, 1)], IOFlushed::signal(sender)).await.unwrap();
        assert!(flushed.await.unwrap().is_err());
        assert!(fault.await.unwrap().to_string().contains("the log cannot be written"));
        assert!(log.save_vote(&Vote::new(2, 1)).await.is_err(), "nothing is written after it");
        std::fs::remove_file(temp.path().join(failing::TRIGGER)).unwrap();
        assert_eq!(all(&mut open(&path)).await.len(), kept);
    }
}

#[tokio::test]
async fn is_the_same_after_every_operation_and_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let mut log = open(&path);
    let cluster_id = ClusterId([0xab; 16]);
    let identity = Identity {
        cluster_id,
        node_id: 7,
        node_name: "a".into(),
        module: "ticket".into(),
        standing: Standing::Member,
        forced: false,
    };
    log.save_identity(identity.clone()).await.unwrap();
    log = reopen(&path, log).await;
    assert_eq!(log.identity(), Some(identity));
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log = reopen(&path, log).await;
    append(&mut log, (0..100).map(|index| entry(1, index))).await;
    log = reopen(&path, log).await;
    // Rows that are full, and one record that is larger than a row.
    append(&mut log, (100..120).map(|index| sized(1, index, 5000))).await;
    append(&mut log, [sized(1, 120, 100_000)]).await;
    log = reopen(&path, log).await;
    log.save_committed(Some(log_id(1, 90))).await.unwrap();
    log = reopen(&path, log).await;
    for keep in [119, 110, 60] {
        log.truncate_after(Some(log_id(1, keep))).await.unwrap();
        log = reopen(&path, log).await;
        assert_eq!(log.status().last, Some(log_id(1, keep)));
    }
    append(&mut log, (61..80).map(|index| entry(2, index))).await;
    log = reopen(&path, log).await;
    for upto in [0, 30, 60, 61] {
        log.purge(log_id(if upto > 60 { 2 } else { 1 }, upto)).await.unwrap();
        log = reopen(&path, log).await;
        assert_eq!(log.status().first, Some(upto + 1));
    }
    // A snapshot from elsewhere purges more than there is.
    log.purge(log_id(5, 500)).await.unwrap();
    log = reopen(&path, log).await;
    assert_eq!(
        log.status(),
        Status { first: None, last: Some(log_id(5, 500)), purged: Some(log_id(5, 500)), bytes: 0 }
    );
    append(&mut log, [entry(6, 501)]).await;
    log = reopen(&path, log).await;
    log.truncate_after(Some(log_id(5, 500))).await.unwrap();
    log = reopen(&path, log).await;
    log.close().await;
}

/// More rows than are removed in one commit.
#[tokio::test]
async fn what_is_purged_goes_in_steps_and_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let rows = || {
        let database = Database::open(&path).unwrap();
        let rows = database.begin_read().unwrap().open_table(LOG).unwrap();
        let keys: Vec<u64> = rows.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        keys
    };
    let mut log = open(&path);
    append(&mut log, (0..1000).map(|index| sized(1, index, 20_000))).await;
    log.purge(log_id(1, 900)).await.unwrap();
    // The end comes before the writer has removed them all: it finishes what was asked, and no more.
    log = reopen(&path, log).await;
    assert_eq!(log.status().first, Some(901));
    append(&mut log, [entry(1, 1000)]).await;
    log.close().await;
    let left = rows();
    assert!(left.contains(&901) && left.contains(&1000), "{left:?}");
    // Each opening removes the rest of it while there is nothing else to do.
    for _ in 0..20 {
        log = open(&path);
        log.save_vote(&Vote::new(1, 1)).await.unwrap();
        log.close().await;
    }
    assert_eq!(rows().first(), Some(&901));
    let mut log = open(&path);
    assert_eq!(all(&mut log).await.len(), 100);
    log.close().await;
}

/// Everything queued at once becomes few transactions, in order.
#[tokio::test]
async fn keeps_the_order_of_the_queue() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let mut log = open(&path);
    for round in 0..50 {
        let first = round * 10;
        log.append((first..first + 20).map(|index| entry(round, index)), IOFlushed::noop()).await.unwrap();
        log.truncate_after(Some(log_id(round, first + 9))).await.unwrap();
        if round % 10 == 5 {
            log.purge(log_id(round, first + 3)).await.unwrap();
        }
    }
    log = reopen(&path, log).await;
    assert_eq!(log.status().last, Some(log_id(49, 499)));
    assert_eq!(log.status().first, Some(454));
    log.close().await;
}

#[tokio::test]
async fn nosync_keeps_everything_over_a_close() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let (mut log, _fault) = LogStorage::open(&path, Options { nosync: true, ..OPTIONS }).unwrap();
    append(&mut log, (0..10).map(|index| entry(1, index))).await;
    log = reopen(&path, log).await;
    assert_eq!(log.status().last, Some(log_id(1, 9)));
    log.close().await;
}

#[tokio::test]
async fn a_hole_is_refused_when_it_is_appended() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = open(&temp.path().join("log.redb"));
    append(&mut log, [entry(1, 0)]).await;
    for index in [0, 2] {
        let error = log.append([entry(1, index)], IOFlushed::noop()).await.unwrap_err();
        assert!(error.to_string().contains("where 1 was expected"), "{error}");
    }
    log.close().await;
    assert!(log.append([entry(1, 1)], IOFlushed::noop()).await.is_err(), "closed");
    assert!(log.save_vote(&Vote::new(1, 1)).await.is_err(), "closed");
}

#[tokio::test]
async fn reads_are_bounded_by_bytes_but_never_empty() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = open(&temp.path().join("log.redb"));
    append(&mut log, (0..10).map(|index| sized(1, index, 300_000))).await;
    append(&mut log, [sized(1, 10, 3_000_000)]).await;
    assert_eq!(log.limited_get_log_entries(0, 11).await.unwrap().len(), 4);
    assert_eq!(log.limited_get_log_entries(10, 11).await.unwrap().len(), 1);
    assert_eq!(log.try_get_log_entries(3..=7).await.unwrap().len(), 5);
    assert_eq!(log.bytes_after(Some(9)), 3_000_021);
    assert_eq!(log.bytes_after(Some(10)), 0);
    assert_eq!(log.bytes_after(None), log.status().bytes);
    log.close().await;
}

/// A closed log with three rows and every meta row.
async fn filled(temp: &tempfile::TempDir) -> PathBuf {
    let path = temp.path().join("log.redb");
    let mut log = open(&path);
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    let cluster_id = ClusterId([1; 16]);
    log.save_identity(Identity {
        cluster_id,
        node_id: 7,
        node_name: "a".into(),
        module: "m".into(),
        standing: Standing::Member,
        forced: false,
    })
    .await
    .unwrap();
    for first in [0, 10, 20] {
        append(&mut log, (first..first + 10).map(|index| entry(1, index))).await;
        // What goes to the database together shares a row.
        log = reopen(&path, log).await;
    }
    log.save_committed(Some(log_id(1, 20))).await.unwrap();
    log.purge(log_id(1, 3)).await.unwrap();
    log.close().await;
    path
}

fn edit_log(path: &Path, edit: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) {
    let transaction = Database::open(path).unwrap().begin_write().unwrap();
    edit(&mut transaction.open_table(LOG).unwrap());
    transaction.commit().unwrap();
}

fn refusal(path: &Path) -> String {
    let Err(error) = LogStorage::open(path, OPTIONS) else { panic!("damage was not found") };
    crate::fault::chain(&error)
}

#[tokio::test]
async fn a_damaged_row_of_the_log_is_named_and_refused() {
    for key in [0, 10, 20] {
        let temp = tempfile::tempdir().unwrap();
        let path = filled(&temp).await;
        edit_log(&path, |log| {
            let mut row = log.get(key).unwrap().unwrap().value().to_vec();
            row[40] ^= 1;
            log.insert(key, &row[..]).unwrap();
        });
        let refusal = refusal(&path);
        assert!(refusal.contains("log.redb") && refusal.contains(&format!("index {key}")), "{refusal}");
        assert!(refusal.contains("checksum"), "{refusal}");
    }
}

#[tokio::test]
async fn a_missing_or_misplaced_row_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = filled(&temp).await;
    edit_log(&path, |log| drop(log.remove(10).unwrap()));
    assert!(refusal(&path).contains("index 20 where 10 was expected"), "{}", refusal(&path));
    edit_log(&path, |log| {
        let row = log.get(20).unwrap().unwrap().value().to_vec();
        log.insert(10, &row[..]).unwrap();
    });
    assert!(refusal(&path).contains("row begins with record 20"), "{}", refusal(&path));
    // The first row with what is not purged.
    edit_log(&path, |log| drop(log.remove(0).unwrap()));
    assert!(LogStorage::open(&path, OPTIONS).is_err());
}

#[tokio::test]
async fn a_damaged_meta_row_is_named_and_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = filled(&temp).await;
    let database = Database::open(&path).unwrap();
    let mut row = {
        let meta = database.begin_read().unwrap().open_table(META).unwrap();
        meta.get(ALL).unwrap().unwrap().value().to_vec()
    };
    *row.last_mut().unwrap() ^= 1;
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(ALL, &row[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(refusal(&path).contains("table meta, row all"), "{}", refusal(&path));
}
