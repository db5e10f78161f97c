//! What a node keeps: the log in redb, snapshots as files, all in one data directory.
//!
//! ```text
//! LOCK         held for as long as the process lives; its text is the holder's process id
//! FORMAT       "uhaha-server data 1\n": what wrote this directory; anything else is refused
//! log.redb     the log, the vote and the node's identity: see `schema`
//! snapshots/   one file a snapshot: see `snapshots`
//! QUARANTINE   there while the machine's state is known to be wrong: see `ward`
//! evidence/    what was found out about such states: see `ward`
//! ```
//!
//! `node` opens the directory and gives the log to `raft` and the snapshots to `machine`. Nothing here knows a rule of
//! Raft beyond the contracts of openraft's storage traits, and only this folder names redb.

pub mod log;
pub mod schema;
pub mod snapshots;
pub mod ward;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "uhaha-server data 1\n";

/// An open data directory, locked against every other process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot create data directory {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot lock data directory {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("data directory {} is in use by process {holder}", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("cannot read {}", path.display())]
    ReadFormat { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    WriteFormat { path: PathBuf, source: io::Error },
    #[error("{} names a format that this version does not know: {found:?}", path.display())]
    UnknownFormat { path: PathBuf, found: String },
    #[error("{} is missing from a data directory that is not empty", path.display())]
    NoFormat { path: PathBuf },
}

impl DataDir {
    /// Creates the directory if there is none, locks it, and refuses a format that it does not know.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, Error> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|source| Error::Create { path: path.clone(), source })?;
        let lock = lock(&path)?;
        let dir = DataDir { path, _lock: lock };
        dir.check_format()?;
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `log::LogStorage::open`.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.redb")
    }

    /// For `snapshots::Snapshots::open`.
    pub fn snapshots_path(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// What the directory knows of a wrong state.
    pub fn ward(&self) -> ward::Ward {
        ward::Ward::new(&self.path)
    }

    fn check_format(&self) -> Result<(), Error> {
        let path = self.path.join("FORMAT");
        match fs::read(&path) {
            Ok(found) if found == FORMAT.as_bytes() => Ok(()),
            Ok(found) => {
                let found = String::from_utf8_lossy(&found[..found.len().min(80)]).into_owned();
                Err(Error::UnknownFormat { path, found })
            }
            // Data without its format is never guessed at.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.log_path().exists() => {
                Err(Error::NoFormat { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.write_format(&path).map_err(|source| Error::WriteFormat { path, source })
            }
            Err(source) => Err(Error::ReadFormat { path, source }),
        }
    }

    fn write_format(&self, path: &Path) -> io::Result<()> {
        let temp = self.path.join("FORMAT.tmp");
        let mut file = File::create(&temp)?;
        file.write_all(FORMAT.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temp, path)?;
        sync_dir(&self.path)
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::Lock { path: dir.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("LOCK"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The text is a courtesy to the operator; the lock is what counts.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
            return Err(Error::InUse { path: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Makes a created, renamed or removed name in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_directory_in_use_and_names_the_holder() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDir::open(temp.path().join("a/b")).unwrap();
        let error = DataDir::open(first.path()).unwrap_err();
        assert!(matches!(&error, Error::InUse { holder, .. } if *holder == std::process::id().to_string()), "{error}");
        let path = first.path().to_owned();
        drop(first);
        DataDir::open(path).unwrap();
    }

    #[test]
    fn refuses_an_unknown_or_missing_format() {
        let temp = tempfile::tempdir().unwrap();
        DataDir::open(temp.path()).unwrap();
        fs::write(temp.path().join("FORMAT"), "uhaha-server data 2\n").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(Error::UnknownFormat { found, .. }) if found.contains('2')));
        fs::remove_file(temp.path().join("FORMAT")).unwrap();
        fs::write(temp.path().join("log.redb"), "").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(Error::NoFormat { .. })));
    }
}
