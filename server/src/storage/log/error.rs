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
    #[error("cannot start the log's writer thread")]
    StartWriter { source: io::Error },
}

impl Error {
    pub(super) fn open(path: &Path, error: redb::DatabaseError) -> Error {
        Error::Open { path: path.to_owned(), source: Box::new(error.into()) }
    }

    /// A row of the log is named by the index of its first entry.
    pub(super) fn damaged_log_row(path: &Path, index: u64, damage: Damage) -> Error {
        Error::DamagedRow { path: path.to_owned(), table: "log", row: format!("index {index}"), damage }
    }
}
