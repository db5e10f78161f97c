//! Bytes that are not what was written: before the log is opened, and while it is open.

use super::super::disk::Loaded;
use super::crash::{CrashDisks, Random, some_changes};
use super::*;
use std::fs;

const WATERMARK: &str = "WATERMARK";

/// The files of a log.
#[derive(Clone)]
struct Files {
    log: Vec<u8>,
    wal: Vec<u8>,
    watermark: Vec<u8>,
}

const HALF_BYTES: u32 = 8 << 10;

/// The files after each of some commits, as a kill would leave them, and what they held.
fn history(commits: usize) -> Vec<(Files, Loaded)> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut disk = Layered::open(&path, 2 * HALF_BYTES).unwrap();
    let mut log = disk.load().unwrap();
    let mut history = Vec::new();
    for term in 1..=commits as u64 {
        let (commit, next) = some_changes(&mut random, &log, term);
        disk.commit(commit, true).unwrap();
        disk.settle();
        log = next;
        let copy = Loaded { entries: log.entries.clone(), identity: log.identity.clone(), ..log };
        let read = |name: &str| fs::read(temp.path().join(name)).unwrap();
        history.push((Files { log: read("log.redb"), wal: read(wal::NAME), watermark: read(WATERMARK) }, copy));
    }
    history
}

fn write(files: &Files) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    fs::write(&path, &files.log).unwrap();
    fs::write(temp.path().join(wal::NAME), &files.wal).unwrap();
    fs::write(temp.path().join(WATERMARK), &files.watermark).unwrap();
    (temp, path)
}

fn load(path: &Path) -> Result<Loaded, Error> {
    Layered::open(path, 2 * HALF_BYTES)?.load()
}

/// redb goes back to the commit before when the last one is damaged; so does whoever copies an old file back.
#[test]
fn a_log_is_refused_when_it_has_less_than_was_synced() {
    let history = history(12);
    for (have, (files, held)) in history.iter().enumerate() {
        for (reached, (later, _)) in history.iter().enumerate() {
            let (_temp, path) = write(&Files { watermark: later.watermark.clone(), ..files.clone() });
            assert_eq!(read(&path).is_ok(), reached <= have, "those who only read refuse it too");
            match load(&path) {
                Ok(loaded) => assert!(reached <= have && loaded == *held, "has {have}, reached {reached}"),
                Err(Error::Behind { .. }) => assert!(reached > have, "has {have}, reached {reached}"),
                Err(error) => panic!("has {have}, reached {reached}: {error}"),
            }
        }
    }
}

#[test]
fn files_of_different_times_are_the_log_or_are_refused() {
    let history = history(24);
    let (mut whole, mut gaps, mut behind) = (0, 0, 0);
    let (last, held) = history.last().unwrap();
    for (log, _) in &history {
        for (wal, _) in &history {
            let (log, wal) = (log.log.clone(), wal.wal.clone());
            match load(&write(&Files { log, wal, watermark: last.watermark.clone() }).1) {
                Ok(loaded) => {
                    assert!(loaded == *held);
                    whole += 1;
                }
                Err(Error::Damaged { path, what }) => {
                    assert!(path.ends_with(wal::NAME) && what.contains("does not follow"), "{what}");
                    gaps += 1;
                }
                Err(Error::Behind { .. }) => behind += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(whole > 1 && gaps > 0 && behind > 0, "{whole} whole, {gaps} with a gap, {behind} behind");
}

#[test]
fn every_damaged_byte_of_the_wal_is_harmless_or_refused() {
    let history = history(20);
    let (files, held) = history.last().unwrap();
    let (temp, path) = write(files);
    let (mut harmless, mut refused) = (0, 0);
    let used = files.wal.iter().rposition(|byte| *byte != 0).unwrap() + 100;
    for at in (0..used.min(files.wal.len())).step_by(3) {
        let mut bad = files.wal.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(temp.path().join(wal::NAME), bad).unwrap();
        match layered::read(&path) {
            Ok(loaded) => {
                assert!(loaded == *held, "byte {at}");
                harmless += 1;
            }
            Err(error) => {
                assert!(error.is_damage(), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(harmless > 0 && refused > 0, "{harmless} harmless, {refused} refused");
}

/// Nobody who knows what a client sends can make a record of it.
#[test]
fn a_record_of_another_salt_ends_a_half() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let mut disk = Layered::open(&path, 2 * HALF_BYTES).unwrap();
    disk.load().unwrap();
    let commit = |index| Commit { changes: vec![Change::Append(vec![entry(1, index)])], committed: None };
    disk.commit(commit(0), true).unwrap();
    disk.commit(commit(1), true).unwrap();
    let records = |wal: &[u8]| {
        fs::write(temp.path().join("wal"), wal).unwrap();
        let file = super::overlay::Overlay::open(&temp.path().join("wal")).unwrap();
        wal::Wal::with_backend("wal".into(), Box::new(file)).unwrap().1
    };
    let mut wal = fs::read(temp.path().join(wal::NAME)).unwrap();
    let found = records(&wal);
    assert_eq!(found.len(), 2);
    let at = found[1].at as usize;
    let end = at + (found[1].at - found[0].at) as usize;
    wal[at + 8] ^= 1;
    let crc = crc32c::crc32c(&wal[at + 4..end]);
    wal[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(records(&wal).len(), 1);
}

/// Sizes may change from one start to the next.
#[test]
fn the_wal_gets_the_size_that_is_wanted() {
    let history = history(6);
    let (files, held) = history.last().unwrap();
    let (temp, path) = write(files);
    let mut disk = Layered::open(&path, 64 << 10).unwrap();
    assert!(disk.load().unwrap() == *held);
    assert_eq!(fs::metadata(temp.path().join(wal::NAME)).unwrap().len(), 4096 + (64 << 10));
    let (commit, next) = some_changes(&mut Random(7), held, 9);
    disk.commit(commit, true).unwrap();
    drop(disk);
    assert!(load(&path).unwrap() == next);
}

#[test]
fn a_log_without_one_of_its_files_is_not_taken_for_a_new_one() {
    let history = history(4);
    let (files, held) = history.last().unwrap();
    let (temp, path) = write(files);
    fs::remove_file(&path).unwrap();
    let refusal = load(&path).unwrap_err();
    assert!(matches!(&refusal, Error::Missing { path: missing } if *missing == path), "{refusal}");
    assert!(!path.exists());
    let mark = temp.path().join(WATERMARK);
    fs::write(&path, &files.log).unwrap();
    fs::remove_file(&mark).unwrap();
    assert!(matches!(load(&path), Err(Error::Missing { path }) if path == mark));
    assert!(!mark.exists());
    fs::write(&mark, &files.watermark).unwrap();
    assert!(load(&path).unwrap() == *held);
    // Now redb has everything, and would begin a new database in an empty file.
    fs::remove_file(temp.path().join(wal::NAME)).unwrap();
    assert!(load(&path).unwrap() == *held);
    fs::write(&path, []).unwrap();
    assert!(matches!(load(&path), Err(Error::Behind { .. })));
    let (temp, path) = write(files);
    fs::remove_file(temp.path().join(wal::NAME)).unwrap();
    assert!(matches!(load(&path), Err(Error::Behind { .. })));
}

/// A crash may come before there is a watermark, and then nothing was acknowledged.
#[test]
fn an_empty_log_needs_no_watermark() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    drop(Layered::open(&path, 2 * HALF_BYTES).unwrap());
    assert!(!temp.path().join(WATERMARK).exists());
    assert!(load(&path).unwrap() == Loaded::default());
    assert!(temp.path().join(WATERMARK).exists());
    assert!(load(&path).unwrap() == Loaded::default());
}

#[test]
fn one_copy_of_the_watermark_is_enough_and_none_is_refused() {
    let history = history(6);
    let (files, held) = history.last().unwrap();
    let write = |mark: &[u8]| write(&Files { watermark: mark.to_vec(), ..files.clone() });
    let watermark = &files.watermark;
    let place = |mark: &[u8]| watermark::read(&write(mark).1).unwrap();
    let (last, before) = (place(watermark), place(&history[history.len() - 2].0.watermark));
    assert!(before < last);
    for at in 0..watermark.len() {
        let mut bad = watermark.clone();
        bad[at] ^= 0x40;
        let (_temp, path) = write(&bad);
        let found = watermark::read(&path).unwrap();
        assert!(found == last || found == before, "byte {at}");
        if at % 100 == 3 {
            assert!(load(&path).unwrap() == *held, "byte {at}");
        }
    }
    let mut bad = watermark.clone();
    bad[7] ^= 1;
    bad[512 + 7] ^= 1;
    for bad in [&bad[..], &[], &watermark[..20]] {
        let (_temp, path) = write(bad);
        let refusal = load(&path).unwrap_err();
        assert!(refusal.is_damage() && refusal.to_string().contains("WATERMARK is damaged"), "{refusal}");
    }
}

/// Pages that change under an open log: each commit goes on or fails, and what is there at the end is what was
/// acknowledged or is refused.
#[test]
fn a_log_whose_bytes_change_while_it_is_open_does_not_panic_and_lies_about_nothing() {
    let (mut failed, mut refused, mut whole) = (0, 0, 0);
    for seed in 1..=20_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let disks = CrashDisks::new(HALF_BYTES / 4);
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let mut disk = disks.open(&path).unwrap();
        let mut acknowledged = disk.load().unwrap();
        let mut under_way = None;
        for number in 0..100 {
            if number >= 10 && number % 5 == 0 {
                let disk = if random.below(2) == 0 { &disks.redb } else { &disks.wal };
                let image = &mut super::lock(&disk.image).live;
                let mut at = random.below(image.len() as u64) as usize;
                while image[at] == 0 {
                    at = random.below(image.len() as u64) as usize;
                }
                image[at] ^= 1 << random.below(8);
            }
            let (commit, next) = some_changes(&mut random, &acknowledged, 1 + number);
            match disk.commit(commit, true) {
                Ok(()) => acknowledged = next,
                Err(error) => {
                    assert!(error.is_damage() || matches!(error, Error::Write { .. }), "{error}");
                    under_way = Some(next);
                    failed += 1;
                    break;
                }
            }
        }
        drop(disk);
        match disks.load(&path) {
            Ok(found) => {
                assert!(found == acknowledged || Some(&found) == under_way.as_ref(), "seed {seed}");
                whole += 1;
            }
            Err(error) => {
                assert!(error.is_damage(), "seed {seed}: {error}");
                refused += 1;
            }
        }
    }
    assert!(failed > 0 && refused > 0 && whole > 0, "{failed} failed, {refused} refused, {whole} whole");
}
