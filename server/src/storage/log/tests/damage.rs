//! Bytes that are not what was written: before the log is opened, and while it is open.

use super::super::disk::Loaded;
use super::crash::{CrashDisk, Random, some_changes};
use super::*;
use std::fs;

const WATERMARK: &str = "WATERMARK";

/// The files of a log after each of some commits, as a kill would leave them, and what it held.
fn history(commits: usize) -> Vec<(Vec<u8>, Vec<u8>, Loaded)> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut disk = RedbDisk::open(&path).unwrap();
    let mut log = disk.load().unwrap();
    let mut history = Vec::new();
    for term in 1..=commits as u64 {
        let (changes, next) = some_changes(&mut random, &log, term);
        disk.commit(&mut changes.iter(), None, true).unwrap();
        log = next;
        let copy = Loaded { entries: log.entries.clone(), identity: log.identity.clone(), ..log };
        history.push((fs::read(&path).unwrap(), fs::read(temp.path().join(WATERMARK)).unwrap(), copy));
    }
    history
}

fn write(log: &[u8], watermark: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    fs::write(&path, log).unwrap();
    fs::write(temp.path().join(WATERMARK), watermark).unwrap();
    (temp, path)
}

fn load(path: &Path) -> Result<Loaded, Error> {
    RedbDisk::open(path)?.load()
}

/// redb goes back to the commit before when the last one is damaged; so does whoever copies an old file back.
#[test]
fn a_log_is_refused_when_it_has_less_than_was_synced() {
    let history = history(8);
    for (have, (log, _, held)) in history.iter().enumerate() {
        for (reached, (_, watermark, _)) in history.iter().enumerate() {
            let (_temp, path) = write(log, watermark);
            match load(&path) {
                Ok(loaded) => assert!(reached <= have && loaded == *held, "has {have}, reached {reached}"),
                Err(Error::Behind { .. }) => assert!(reached > have, "has {have}, reached {reached}"),
                Err(error) => panic!("has {have}, reached {reached}: {error}"),
            }
            assert_eq!(read(&path).is_ok(), reached <= have, "those who only read refuse it too");
        }
    }
}

#[test]
fn a_log_without_one_of_its_files_is_not_taken_for_a_new_one() {
    let history = history(4);
    let (log, watermark, held) = history.last().unwrap();
    let (temp, path) = write(log, watermark);
    fs::remove_file(&path).unwrap();
    let refusal = load(&path).unwrap_err();
    assert!(matches!(&refusal, Error::Missing { path: missing } if *missing == path), "{refusal}");
    assert!(!path.exists());
    // redb would begin a new database in an empty file.
    fs::write(&path, []).unwrap();
    assert!(matches!(load(&path), Err(Error::Behind { .. })));
    fs::write(&path, log).unwrap();
    let mark = temp.path().join(WATERMARK);
    fs::remove_file(&mark).unwrap();
    assert!(matches!(load(&path), Err(Error::Missing { path }) if path == mark));
    assert!(!mark.exists());
    fs::write(&mark, watermark).unwrap();
    assert!(load(&path).unwrap() == *held);
}

/// A crash may come before there is a watermark, and then nothing was acknowledged.
#[test]
fn an_empty_log_needs_no_watermark() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    drop(RedbDisk::open(&path).unwrap());
    assert!(!temp.path().join(WATERMARK).exists());
    assert!(load(&path).unwrap() == Loaded::default());
    assert!(temp.path().join(WATERMARK).exists());
    assert!(load(&path).unwrap() == Loaded::default());
}

#[test]
fn one_copy_of_the_watermark_is_enough_and_none_is_refused() {
    let history = history(6);
    let (log, watermark, held) = history.last().unwrap();
    let place = |mark: &[u8]| watermark::read(&write(log, mark).1).unwrap();
    let (last, before) = (place(watermark), place(&history[history.len() - 2].1));
    assert!(before < last);
    for at in 0..watermark.len() {
        let mut bad = watermark.clone();
        bad[at] ^= 0x40;
        let (_temp, path) = write(log, &bad);
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
        let (_temp, path) = write(log, bad);
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
        let backend = CrashDisk::default();
        super::lock(&backend.0).cut_at = u64::MAX;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let mut disk = RedbDisk::open_with_backend(backend.clone(), &path).unwrap();
        let mut acknowledged = disk.load().unwrap();
        let mut under_way = None;
        for commit in 0..30 {
            if commit >= 10 && commit % 5 == 0 {
                let image = &mut super::lock(&backend.0).live;
                let mut at = random.below(image.len() as u64) as usize;
                while image[at] == 0 {
                    at = random.below(image.len() as u64) as usize;
                }
                image[at] ^= 1 << random.below(8);
            }
            let (changes, next) = some_changes(&mut random, &acknowledged, 1 + commit);
            match disk.commit(&mut changes.iter(), None, true) {
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
        match RedbDisk::open_with_backend(backend.clone(), &path).and_then(|mut disk| disk.load()) {
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
