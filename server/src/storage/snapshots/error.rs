//! What can be wrong with a snapshot.

use super::INCREMENTS_MAX;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot list {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot copy {}", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("not an id of a snapshot")]
    MalformedId,
    #[error("no snapshot {id}")]
    Unknown { id: String },
    #[error("{} holds only what has changed since another snapshot; get a whole one by RAFT SNAPSHOT FILE", path.display())]
    Increment { path: PathBuf },
    #[error("the snapshot {id} adds to {parent}, which is not there")]
    NoParent { id: String, parent: String },
    #[error("the snapshot {id} adds to more than {INCREMENTS_MAX} others")]
    TooManyParents { id: String },
    #[error("a chunk of {bytes} bytes is over the limit")]
    ChunkTooLarge { bytes: usize },
    #[error("{} is a snapshot of unknown version {version}", path.display())]
    UnknownVersion { path: PathBuf, version: u32 },
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
}

impl Error {
    /// Whether a file is not what was written, rather than gone or out of reach for now.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Error::Damaged { .. } | Error::UnknownVersion { .. })
    }

    pub(super) fn opening(id: &str, path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::NotFound => Error::Unknown { id: id.to_owned() },
            _ => Error::Read { path: path.to_owned(), source },
        }
    }
}
