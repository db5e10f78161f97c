//! What a node keeps: the log, and snapshots as files, all in one data directory.
//!
//! ```text
//! LOCK         held for as long as the process lives; its text is the holder's process id
//! FORMAT       "uhaha-server data 3\n": what wrote this directory; anything else but 2 is refused
//! log.redb     the log, the vote and the node's identity: see `schema`
//! log.wal      what is not in log.redb yet: see `log::wal`
//! WATERMARK    how far the two had come at least: see `log::watermark`
//! snapshots/   one file a snapshot: see `snapshots`
//! QUARANTINE   there while the machine's state is known to be wrong, and a copy of it: see `ward`
//! evidence/    what was found out about such states: see `ward`
//! ```
//!
//! Exports (`export`) are files outside of it, for operators to carry to another cluster.
//!
//! `node` opens the directory and gives the log to `raft` and the snapshots to `machine`. Nothing here knows a rule of
//! Raft beyond the contracts of openraft's storage traits, and only this folder names redb.

pub mod export;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod log;
pub mod schema;
pub mod snapshots;
pub mod ward;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "uhaha-server data 3\n";
/// The same without a WAL, which its versions would pass over.
const FORMAT_WITHOUT_WAL: &str = "uhaha-server data 2\n";
const LOG: &str = "log.redb";
/// A node's directory is `DIR/GUEST/ID`.
const LEVELS_BELOW: usize = 2;

/// An open data directory, locked against every other process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// None if it is only read and there is no file to lock, as in a copy.
    _lock: Option<File>,
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
    #[error("{} names a format that this version does not know ({found:?}); start the version that wrote it, or one that reads it", path.display())]
    UnknownFormat { path: PathBuf, found: String },
    #[error("{} is missing from a data directory that is not empty", path.display())]
    NoFormat { path: PathBuf },
    #[error("cannot look for a data directory in {}", path.display())]
    Search { path: PathBuf, source: io::Error },
    #[error("there is no data directory of a node in {}", path.display())]
    NotFound { path: PathBuf },
    #[error("there are several data directories in {}, such as {first} and {second}; name one of them", path.display())]
    Ambiguous { path: PathBuf, first: String, second: String },
}

impl DataDir {
    /// Creates the directory if there is none, locks it, and refuses a format that it does not know.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, Error> {
        let path = path.into();
        create_dir(&path).map_err(|source| Error::Create { path: path.clone(), source })?;
        let lock = lock(&path)?;
        let dir = DataDir { path, _lock: Some(lock) };
        dir.check_format()?;
        Ok(dir)
    }

    /// Opens what is there to be read, and changes nothing. It is refused while a node has the directory, and a node
    /// is refused while it is open.
    pub fn open_to_read(path: impl Into<PathBuf>) -> Result<DataDir, Error> {
        let path = path.into();
        let lock = lock_shared(&path)?;
        let dir = DataDir { path, _lock: lock };
        match dir.read_format()? {
            Some(_) => Ok(dir),
            None => Err(Error::NoFormat { path: dir.format_path() }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `log::LogStorage::open`.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
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
        let path = self.format_path();
        match self.read_format()? {
            Some(FORMAT) => Ok(()),
            // Data without its format is never guessed at.
            None if log::was_here(&self.log_path()) => Err(Error::NoFormat { path }),
            None | Some(_) => self.write_format(&path).map_err(|source| Error::WriteFormat { path, source }),
        }
    }

    /// The format, if it is there; one that this version cannot read is refused.
    fn read_format(&self) -> Result<Option<&'static str>, Error> {
        let path = self.format_path();
        let found = match fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::ReadFormat { path, source }),
        };
        match [FORMAT, FORMAT_WITHOUT_WAL].into_iter().find(|known| known.as_bytes() == found) {
            Some(known) => Ok(Some(known)),
            None => {
                let found = String::from_utf8_lossy(&found[..found.len().min(80)]).into_owned();
                Err(Error::UnknownFormat { path, found })
            }
        }
    }

    fn format_path(&self) -> PathBuf {
        self.path.join("FORMAT")
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
        Err(TryLockError::WouldBlock) => return Err(in_use(dir, file)),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Others may read at the same time. None if there is no file to lock.
fn lock_shared(dir: &Path) -> Result<Option<File>, Error> {
    let failed = |source| Error::Lock { path: dir.to_owned(), source };
    let file = match File::open(dir.join("LOCK")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(in_use(dir, file)),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn in_use(dir: &Path, lock: File) -> Error {
    let mut holder = String::new();
    // The text is a courtesy to the operator; the lock is what counts.
    let _ = lock.take(20).read_to_string(&mut holder);
    let holder = if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
    Error::InUse { path: dir.to_owned(), holder }
}

/// Whether a node has ever kept anything in the directory `path`.
pub fn is_used(path: &Path) -> bool {
    log::was_here(&path.join(LOG))
}

/// The node's own directory: `dir` itself, or the only one below it.
pub fn find(dir: &Path) -> Result<PathBuf, Error> {
    let mut level = vec![dir.to_owned()];
    for _ in 0..=LEVELS_BELOW {
        let mut found = level.iter().filter(|path| path.join(LOG).is_file());
        match (found.next(), found.next()) {
            (Some(only), None) => return Ok(only.clone()),
            (Some(first), Some(second)) => {
                let (first, second) = (first.display().to_string(), second.display().to_string());
                return Err(Error::Ambiguous { path: dir.to_owned(), first, second });
            }
            _ => {}
        }
        let mut below = Vec::new();
        for path in &level {
            below.extend(directories(path).map_err(|source| Error::Search { path: path.clone(), source })?);
        }
        below.sort();
        level = below;
    }
    Err(Error::NotFound { path: dir.to_owned() })
}

fn directories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Creates a node's directory with those above it. Without the syncs of those a power failure could take all of it along,
/// with a log of which every byte was synced.
fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    // Also when they were there: whoever made them may have ended before they were synced.
    for above in path.ancestors().skip(1).take(LEVELS_BELOW + 1) {
        match sync_dir(above) {
            // One that this user may not list was not made by us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

/// Makes a created, renamed or removed name in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    // What is above a relative path of one name.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
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
    fn what_is_only_read_stays_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("app/1");
        let node = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open_to_read(&path), Err(Error::InUse { .. })));
        drop(node);
        let names = || -> Vec<_> {
            let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = (names(), fs::read(path.join("LOCK")).unwrap());
        let first = DataDir::open_to_read(&path).unwrap();
        let second = DataDir::open_to_read(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(Error::InUse { .. })), "a node would write");
        drop((first, second));
        assert_eq!((names(), fs::read(path.join("LOCK")).unwrap()), before);
        fs::remove_file(path.join("LOCK")).unwrap();
        DataDir::open_to_read(&path).unwrap();
        fs::remove_file(path.join("FORMAT")).unwrap();
        assert!(matches!(DataDir::open_to_read(&path), Err(Error::NoFormat { .. })));
    }

    #[test]
    fn finds_the_only_directory_of_a_node() {
        let temp = tempfile::tempdir().unwrap();
        assert!(matches!(find(temp.path()), Err(Error::NotFound { .. })));
        assert!(matches!(find(&temp.path().join("nowhere")), Err(Error::Search { .. })));
        let own = temp.path().join("app/1");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(temp.path().join("cache")).unwrap();
        fs::write(own.join("log.redb"), "").unwrap();
        for dir in [temp.path(), &temp.path().join("app"), &own] {
            assert_eq!(find(dir).unwrap(), own);
        }
        fs::create_dir_all(temp.path().join("other/2")).unwrap();
        fs::write(temp.path().join("other/2/log.redb"), "").unwrap();
        assert!(matches!(find(temp.path()), Err(Error::Ambiguous { first, .. }) if first.ends_with("app/1")));
        assert_eq!(find(&temp.path().join("app")).unwrap(), own);
    }

    #[test]
    fn refuses_an_unknown_or_missing_format() {
        let temp = tempfile::tempdir().unwrap();
        DataDir::open(temp.path()).unwrap();
        fs::write(temp.path().join("FORMAT"), "uhaha-server data 4\n").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(Error::UnknownFormat { found, .. }) if found.contains('4')));
        // One of the version before is taken over.
        fs::write(temp.path().join("FORMAT"), FORMAT_WITHOUT_WAL).unwrap();
        DataDir::open_to_read(temp.path()).unwrap();
        assert_eq!(fs::read_to_string(temp.path().join("FORMAT")).unwrap(), FORMAT_WITHOUT_WAL);
        DataDir::open(temp.path()).unwrap();
        assert_eq!(fs::read_to_string(temp.path().join("FORMAT")).unwrap(), FORMAT);
        fs::remove_file(temp.path().join("FORMAT")).unwrap();
        fs::write(temp.path().join("log.redb"), "").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(Error::NoFormat { .. })));
    }
}
