//! What can be wrong with the log on disk.

use crate::storage::schema::Damage;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: Box<redb::Error> },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: Box<redb::Error> },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} is missing", path.display())]
    Missing { path: PathBuf },
    #[error("{} and {} have less than was synced to them before", path.display(), super::wal::NAME)]
    Behind { path: PathBuf },
    #[error("cannot read {}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    WriteFile { path: PathBuf, source: io::Error },
    #[error("{} is damaged: table {table}, row {row}", path.display())]
    DamagedRow {
        path: PathBuf,
        table: &'static str,
        row: String,
        #[source]
        damage: Damage,
    },
    #[error("{} has a hole: index {found} where {expected} was expected", path.display())]
    Hole { path: PathBuf, expected: u64, found: u64 },
    #[error("entry {found} appended where {expected} was expected")]
    AppendHole { expected: u64, found: u64 },
    #[error("cannot encode an entry")]
    Encode { source: postcard::Error },
    #[error("the log has ended")]
    Ended,
    #[error("cannot start a thread of the log")]
    StartThread { source: io::Error },
}

impl Error {
    pub(super) fn open(path: &Path, error: redb::DatabaseError) -> Error {
        let path = path.to_owned();
        match redb::Error::from(error) {
            redb::Error::Corrupted(what) => Error::Damaged { path, what },
            redb::Error::Io(error) if is_of_content(&error) => Error::Damaged { path, what: error.to_string() },
            source => Error::Open { path, source: Box::new(source) },
        }
    }

    /// Whether the files are not what was written, so that nobody knows what the node has forgotten.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. }
            | Error::DamagedRow { .. }
            | Error::Hole { .. }
            | Error::Missing { .. }
            | Error::Behind { .. } => true,
            Error::Read { source, .. } => match &**source {
                redb::Error::Corrupted(_) => true,
                redb::Error::Io(error) => is_of_content(error),
                _ => false,
            },
            Error::Open { .. }
            | Error::Write { .. }
            | Error::ReadFile { .. }
            | Error::WriteFile { .. }
            | Error::AppendHole { .. }
            | Error::Encode { .. }
            | Error::Ended
            | Error::StartThread { .. } => false,
        }
    }

    /// A row of the log is named by the index of its first entry.
    pub(super) fn damaged_log_row(path: &Path, index: u64, damage: Damage) -> Error {
        Error::DamagedRow { path: path.to_owned(), table: "log", row: format!("index {index}"), damage }
    }
}

/// What redb says of a file that is not its own, or that ends too early.
fn is_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
