//! Power cuts on a simulated disk: what `sync_data` has not covered is lost, kept, reordered or torn at random.
//!
//! After each cut the log must be exactly what was acknowledged, or that and all of the transaction under way.

use super::super::disk::Loaded;
use super::*;
use redb::StorageBackend;

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Image {
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    pub(super) live: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    operations: u64,
    /// The power is cut at this operation.
    pub(super) cut_at: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct CrashDisk(pub(super) Arc<Mutex<Image>>);

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

impl CrashDisk {
    fn change(&self) -> io::Result<MutexGuard<'_, Image>> {
        let mut image = lock(&self.0);
        image.operations += 1;
        if image.operations >= image.cut_at { Err(io::Error::other("power cut")) } else { Ok(image) }
    }

    fn cut_power_after(&self, operations: u64) {
        let mut image = lock(&self.0);
        image.operations = 0;
        image.cut_at = operations;
    }

    /// What is on the disk when the power is back.
    fn restart(&self, random: &mut Random) {
        let mut image = lock(&self.0);
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
        image.operations = 0;
        image.cut_at = u64::MAX;
    }
}

impl StorageBackend for CrashDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = lock(&self.0);
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
pub(super) fn some_changes(random: &mut Random, log: &Loaded, term: u64) -> (Vec<Change>, Loaded) {
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
                changes.push(Change::Truncate { from });
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
    (changes, next)
}

#[test]
fn acknowledged_changes_survive_power_cuts() {
    let (mut commits, mut cuts) = (0, 0);
    for seed in 1..=40_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let backend = CrashDisk::default();
        lock(&backend.0).cut_at = u64::MAX;
        // The watermark is never lost here, which is where it could be wrong.
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.redb");
        let mut acknowledged = Loaded::default();
        for cycle in 1..=6 {
            let mut under_way = None;
            backend.cut_power_after(5 + random.below(300));
            // The power may fail while it opens, too.
            if let Ok(mut disk) = RedbDisk::open_with_backend(backend.clone(), &path)
                && disk.load().is_ok()
            {
                loop {
                    let (changes, next) = some_changes(&mut random, &acknowledged, cycle);
                    match disk.commit(&mut changes.iter(), None, true) {
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
            backend.restart(&mut random);
            let found = RedbDisk::open_with_backend(backend.clone(), &path).unwrap().load().unwrap();
            assert!(
                found == acknowledged || Some(&found) == under_way.as_ref(),
                "seed {seed}, cycle {cycle}: the log is neither what was acknowledged nor that and the last commit"
            );
            acknowledged = found;
        }
    }
    assert!(commits > cuts, "{commits} commits, {cuts} cuts");
}

/// Nothing is committed after a sync that failed, everyone waiting hears of it, and so does the node.
#[tokio::test]
async fn the_first_failure_is_the_last_thing_that_happens() {
    let backend = CrashDisk::default();
    lock(&backend.0).cut_at = u64::MAX;
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log.redb");
    let disk = RedbDisk::open_with_backend(backend.clone(), &path).unwrap();
    let (mut log, fault) = LogStorage::start(disk, false).unwrap();
    append(&mut log, [entry(1, 0)]).await;
    backend.cut_power_after(1);
    let (sender, flushed) = TypeConfig::oneshot();
    log.append([entry(1, 1)], IOFlushed::signal(sender)).await.unwrap();
    assert!(flushed.await.unwrap().is_err());
    let fault = fault.await.unwrap();
    assert!(crate::fault::chain(&fault).contains("power cut"), "{}", crate::fault::chain(&fault));
    // The disk is fine again, but nobody knows what it holds.
    backend.cut_power_after(u64::MAX);
    assert!(log.save_vote(&Vote::new(9, 9)).await.is_err());
    assert!(log.append([entry(1, 2)], IOFlushed::noop()).await.is_err());
    log.close().await;
    backend.restart(&mut Random(1));
    let found = RedbDisk::open_with_backend(backend, &path).unwrap().load().unwrap();
    assert_eq!(found.vote, None);
    assert_eq!(found.entries[0], entry(1, 0));
}
