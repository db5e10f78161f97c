//! Power cuts on a simulated disk: what `sync_data` has not covered is lost, kept, reordered or torn at random.
//!
//! After each cut the log must be exactly what was acknowledged, or that and all of the transaction under way.

use super::super::disk::Loaded;
use super::*;
use redb::StorageBackend;
use std::sync::atomic::{AtomicU64, Ordering};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Image {
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    pub(super) live: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What disks share that lose their power together.
#[derive(Debug, Default)]
pub(super) struct Power {
    operations: AtomicU64,
    /// The power is cut at this operation.
    cut_at: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct CrashDisk {
    pub(super) image: Arc<Mutex<Image>>,
    power: Arc<Power>,
}

/// The disks of a log.
#[derive(Clone, Debug)]
pub(super) struct CrashDisks {
    pub(super) redb: CrashDisk,
    pub(super) wal: CrashDisk,
}

/// xorshift: the same seed gives the same run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl CrashDisks {
    /// A half of the WAL has so many bytes.
    pub(super) fn new(half_bytes: u32) -> CrashDisks {
        let power = Arc::new(Power { cut_at: u64::MAX.into(), ..Power::default() });
        let [redb, wal] = [0, 1].map(|_| CrashDisk { power: power.clone(), ..CrashDisk::default() });
        let begun = wal::begin(half_bytes);
        *lock(&wal.image) = Image { durable: begun.clone(), live: begun, unsynced: Vec::new() };
        CrashDisks { redb, wal }
    }

    pub(super) fn open(&self, path: &Path) -> Result<Layered, Error> {
        Layered::open_with_backends(path, self.redb.clone(), self.wal.clone())
    }

    pub(super) fn load(&self, path: &Path) -> Result<Loaded, Error> {
        self.open(path)?.load()
    }

    fn cut_power_after(&self, operations: u64) {
        self.redb.power.operations.store(0, Ordering::Relaxed);
        self.redb.power.cut_at.store(operations, Ordering::Relaxed);
    }

    /// What is on the disks when the power is back.
    fn restart(&self, random: &mut Random) {
        self.redb.restart(random);
        self.wal.restart(random);
        self.cut_power_after(u64::MAX);
    }
}

impl CrashDisk {
    fn change(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = lock(&self.image);
        let operations = 1 + self.power.operations.fetch_add(1, Ordering::Relaxed);
        match operations >= self.power.cut_at.load(Ordering::Relaxed) {
            true => Err(io::Error::other("power cut")),
            false => Ok(image),
        }
    }

    fn restart(&self, random: &mut Random) {
        let mut image = lock(&self.image);
        let mut disk = std::mem::take(&mut image.durable);
        // The size may have been on its way too; redb only ever grows a file it has not synced.
        if image.live.len() > disk.len() && random.below(2) == 0 {
            disk.resize(image.live.len(), 0);
        }
        let percent_kept = random.below(101);
        for (offset, bytes) in std::mem::take(&mut image.unsynced) {
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                if random.below(100) < percent_kept {
                    disk.resize(disk.len().max(offset + end), 0);
                    disk[offset + at..offset + end].copy_from_slice(&bytes[at..end]);
                }
                at = end;
            }
        }
        image.live = disk.clone();
        image.durable = disk;
    }
}

impl StorageBackend for CrashDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.image).live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = lock(&self.image);
        let bytes = image.live.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change()?.live.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.change()?;
        image.durable = image.live.clone();
        image.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.change()?;
        let offset = offset as usize;
        let place = image.live.get_mut(offset..offset + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        image.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

/// A few changes that a log could get, and the log with them.
pub(super) fn some_changes(random: &mut Random, log: &Loaded, term: u64) -> (Commit, Loaded) {
    let mut next = Loaded { entries: log.entries.clone(), identity: log.identity.clone(), ..*log };
    let mut changes = Vec::new();
    for _ in 0..=random.below(4) {
        let end = next.entries.last().map(|last| last.log_id).or(next.purged).map_or(0, |last| last.index + 1);
        let first = end - next.entries.len() as u64;
        match random.below(8) {
            0 => {
                next.vote = Some(Vote::new(term, random.below(5)));
                changes.extend(next.vote.map(Change::Vote));
            }
            1 if first < end => {
                let from = first + random.below(end - first);
                next.entries.truncate((from - first) as usize);
                let after = next.entries.last().map(|last| last.log_id).or(next.purged);
                changes.push(Change::Truncate { after });
            }
            2 if first < end => {
                let upto = next.entries[random.below(end - first) as usize].log_id;
                next.entries.drain(..=(upto.index - first) as usize);
                next.purged = Some(upto);
                changes.push(Change::Purge(upto));
            }
            _ => {
                let entries: Vec<Entry> = (end..end + 1 + random.below(20))
                    .map(|index| {
                        let most = if random.below(8) == 0 { 20_000 } else { 200 };
                        sized(term, index, random.below(most) as usize)
                    })
                    .collect();
                next.entries.extend(entries.iter().cloned());
                changes.push(Change::Append(entries));
            }
        }
    }
    (Commit { changes, committed: None }, next)
}

#[test]
fn acknowledged_changes_survive_power_cuts() {
    let (mut commits, mut cuts) = (0, 0);
    for seed in 1..=60_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Small ones are begun anew every few commits, and take only some of them.
        let disks = CrashDisks::new([4 << 10, 20 << 10, 1 << 20][seed as usize % 3]);
        // The watermark is never lost here, which is where it could be wrong.
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let mut acknowledged = Loaded::default();
        for cycle in 1..=6 {
            let mut under_way = None;
            disks.cut_power_after(5 + random.below(300));
            // The power may fail while it opens, too.
            if let Ok(mut disk) = disks.open(&path)
                && disk.load().is_ok()
            {
                loop {
                    let (commit, next) = some_changes(&mut random, &acknowledged, cycle);
                    match disk.commit(commit, true) {
                        Ok(()) => acknowledged = next,
                        Err(_) => {
                            under_way = Some(next);
                            break;
                        }
                    }
                    commits += 1;
                }
            }
            cuts += 1;
            disks.restart(&mut random);
            let found = disks.load(&path).unwrap_or_else(|error| panic!("seed {seed}, cycle {cycle}: {error}"));
            assert!(
                found == acknowledged || Some(&found) == under_way.as_ref(),
                "seed {seed}, cycle {cycle}: the log is neither what was acknowledged nor that and the last commit"
            );
            acknowledged = found;
        }
    }
    assert!(commits > cuts, "{commits} commits, {cuts} cuts");
}

/// What was not synced may be lost, but not from the middle.
#[test]
fn without_syncs_a_power_cut_leaves_the_beginning() {
    let mut lost = 0;
    for seed in 1..=40_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let disks = CrashDisks::new(8 << 10);
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let mut disk = disks.open(&path).unwrap();
        let mut states = vec![disk.load().unwrap()];
        disks.cut_power_after(30 + random.below(100));
        loop {
            let (commit, next) = some_changes(&mut random, states.last().unwrap(), 1);
            states.push(next);
            if disk.commit(commit, false).is_err() {
                break;
            }
        }
        drop(disk);
        disks.restart(&mut random);
        let found = disks.load(&path).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let at = states.iter().position(|state| *state == found).unwrap_or_else(|| panic!("seed {seed}"));
        lost += states.len() - 1 - at;
    }
    assert!(lost > 0);
}

/// Nothing is committed after a sync that failed, everyone waiting hears of it, and so does the node.
#[tokio::test]
async fn the_first_failure_is_the_last_thing_that_happens() {
    let disks = CrashDisks::new(1 << 20);
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let (mut log, fault) = LogStorage::start(disks.open(&path).unwrap(), false).unwrap();
    append(&mut log, [entry(1, 0)]).await;
    disks.cut_power_after(1);
    let (sender, flushed) = TypeConfig::oneshot();
    log.append([entry(1, 1)], IOFlushed::signal(sender)).await.unwrap();
    assert!(flushed.await.unwrap().is_err());
    let fault = fault.await.unwrap();
    assert!(crate::fault::chain(&fault).contains("power cut"), "{}", crate::fault::chain(&fault));
    // The disk is fine again, but nobody knows what it holds.
    disks.cut_power_after(u64::MAX);
    assert!(log.save_vote(&Vote::new(9, 9)).await.is_err());
    assert!(log.append([entry(1, 2)], IOFlushed::noop()).await.is_err());
    log.close().await;
    disks.restart(&mut Random(1));
    let found = disks.load(&path).unwrap();
    assert_eq!(found.vote, None);
    assert_eq!(found.entries[0], entry(1, 0));
}
