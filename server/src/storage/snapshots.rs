//! Stand-in for the snapshot files while they are built elsewhere.

use bytes::Bytes;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    pub id: String,
    pub term: u64,
    pub index: u64,
    pub created_ms: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such snapshot")]
    NotFound,
}

#[derive(Debug, Default)]
pub struct Snapshots {}

impl Snapshots {
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, Error> {
        Ok(vec![self.get("1-7")?])
    }

    pub fn get(&self, id: &str) -> Result<SnapshotInfo, Error> {
        if id != "1-7" {
            return Err(Error::NotFound);
        }
        Ok(SnapshotInfo { id: id.into(), term: 1, index: 7, created_ms: 1_700_000_000_000, bytes: 9 })
    }

    pub fn path(&self, id: &str) -> Result<PathBuf, Error> {
        self.get(id).map(|info| PathBuf::from("/data/snapshots").join(info.id))
    }

    pub fn read_range(&self, id: &str, offset: u64, limit: u64) -> Result<Bytes, Error> {
        self.get(id)?;
        let bytes = Bytes::from_static(b"snapshot!");
        let start = (offset as usize).min(bytes.len());
        Ok(bytes.slice(start..start.saturating_add(limit as usize).min(bytes.len())))
    }
}
