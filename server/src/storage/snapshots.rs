//! Stand-in for the snapshot files while they are built elsewhere: their face and nothing behind it.

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
        Ok(Vec::new())
    }

    pub fn get(&self, _id: &str) -> Result<SnapshotInfo, Error> {
        Err(Error::NotFound)
    }

    pub fn path(&self, _id: &str) -> Result<PathBuf, Error> {
        Err(Error::NotFound)
    }

    pub fn read_range(&self, _id: &str, _offset: u64, _limit: u64) -> Result<Bytes, Error> {
        Err(Error::NotFound)
    }
}
