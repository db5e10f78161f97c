//! `Failing`: a disk whose syncs fail when a test wants it, in development builds only.
//!
//! While the file `FAIL-SYNC` is beside the log, a durable commit comes to nothing and an error; with `after` in the
//! file it comes to the error and is on disk all the same. Both are what a failed fsync may mean.

use super::Error;
use super::commit::Commit;
use super::disk::{Loaded, LogDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const TRIGGER: &str = "FAIL-SYNC";

pub(super) struct Failing<D> {
    disk: D,
    log: PathBuf,
    trigger: PathBuf,
}

impl<D> Failing<D> {
    pub(super) fn new(disk: D, log: &Path) -> Failing<D> {
        Failing { disk, log: log.to_owned(), trigger: log.with_file_name(TRIGGER) }
    }
}

impl<D: LogDisk> LogDisk for Failing<D> {
    fn load(&mut self) -> Result<Loaded, Error> {
        self.disk.load()
    }

    fn commit(&mut self, commit: Commit, durable: bool) -> Result<(), Error> {
        let wanted = if durable { std::fs::read_to_string(&self.trigger).ok() } else { None };
        match wanted.as_deref().map(str::trim) {
            None => return self.disk.commit(commit, durable),
            Some("after") => self.disk.commit(commit, durable)?,
            Some(_) => {}
        }
        let source = Box::new(redb::Error::Io(io::Error::other("a test has the sync fail")));
        Err(Error::Write { path: self.log.clone(), source })
    }

    fn wake_after(&self) -> Option<Duration> {
        self.disk.wake_after()
    }
}
