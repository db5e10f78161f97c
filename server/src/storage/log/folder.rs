//! `Folder`: the thread that brings commits from the WAL into redb, one part of them at a time.
//!
//! It also removes rows that are not needed any more while there is nothing else to do.

use super::Error;
use super::commit::Commit;
use super::disk::RedbDisk;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) struct Folder {
    /// Taken only when it is dropped.
    parts: Option<Sender<Vec<Commit>>>,
    results: Receiver<Result<(), Error>>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    pub(super) fn start(mut disk: RedbDisk) -> Result<Folder, Error> {
        let (parts, receiver) = channel::<Vec<Commit>>();
        let (sender, results) = channel();
        let body = move || {
            loop {
                let next = match disk.has_stale() {
                    true => receiver.recv_timeout(Duration::ZERO),
                    false => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                let result = match next {
                    Ok(commits) => disk.commit(&commits, true),
                    // Should it come to nothing, they are removed after the next start.
                    Err(RecvTimeoutError::Timeout) => match disk.commit(&[], false) {
                        Ok(()) => continue,
                        failed => failed,
                    },
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let is_over = result.is_err();
                if sender.send(result).is_err() || is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-folder".into()).spawn(body);
        let thread = thread.map_err(|source| Error::StartThread { source })?;
        Ok(Folder { parts: Some(parts), results, under_way: false, thread: Some(thread) })
    }

    /// Hands on the next part, when redb has the one before.
    pub(super) fn fold(&mut self, part: Vec<Commit>) -> Result<(), Error> {
        self.wait()?;
        // A thread that ended has said why, or will be found to have.
        self.under_way = self.parts.as_ref().is_some_and(|parts| parts.send(part).is_ok());
        if self.under_way { Ok(()) } else { Err(self.ended()) }
    }

    /// Returns when redb has everything that was handed on.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        while self.under_way {
            let Ok(result) = self.results.recv() else { return Err(self.ended()) };
            self.under_way = false;
            result?;
        }
        Ok(())
    }

    /// Tells of a failure, if there was one.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        while let Ok(result) = self.results.try_recv() {
            self.under_way = false;
            result?;
        }
        Ok(())
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    fn ended(&self) -> Error {
        match self.results.try_recv() {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => Error::Ended,
        }
    }
}

impl Drop for Folder {
    /// Waits until redb has what was handed on, and is closed.
    fn drop(&mut self) {
        self.parts = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, what it had not done is in the WAL.
            let _ = thread.join();
        }
    }
}
