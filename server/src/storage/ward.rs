//! `Ward`: that the machine's state is known to be wrong, and the evidence of it.
//!
//! The file `QUARANTINE` is there from the moment when a majority has found the state to be wrong until another node's
//! is in its place, so that a restart in between does not bring the wrong state back. It is one row as in the table
//! `meta`: `u8 version (1) │ u32 crc32c of the rest │ postcard of the difference`. As nothing else would tell that it is
//! gone, there are two of it. The folder `evidence` has texts for people, the newest few. All calls block.

use super::schema::{Damage, meta_row, read_meta_row};
use super::sync_dir;
use crate::digest::Difference;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// More than one is a pattern, and more than these say nothing new.
const EVIDENCE_FILES_MAX: usize = 8;
const EVIDENCE_SUFFIX: &str = ".txt";
/// In the order in which they come and go: who sees no `QUARANTINE` any more knows that both are gone.
const MARKERS: [&str; 2] = ["QUARANTINE.copy", "QUARANTINE"];

/// A handle to the data directory's part that is about wrong states.
#[derive(Clone, Debug)]
pub struct Ward {
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is damaged; the state of this node is known to be wrong, so remove its data and let it join again", path.display())]
    Damaged { path: PathBuf, source: Damage },
    #[error("what is wrong cannot be encoded")]
    Encode(#[from] postcard::Error),
}

impl Ward {
    pub(super) fn new(dir: &Path) -> Ward {
        Ward { dir: dir.to_owned() }
    }

    /// What is known to be wrong, if something is.
    pub fn quarantined(&self) -> Result<Option<Difference>, Error> {
        let [first, second] = self.markers().map(read_marker);
        match (first, second) {
            (Ok(None), Ok(None)) => Ok(None),
            (Ok(Some(difference)), _) | (_, Ok(Some(difference))) => Ok(Some(difference)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// From now on, over every restart; durable when it returns.
    pub fn enter(&self, difference: &Difference) -> Result<(), Error> {
        let row = meta_row(difference)?;
        let put = |path: PathBuf| self.put(&path, &row).map_err(|source| Error::Write { path, source });
        self.markers().into_iter().try_for_each(put)
    }

    /// The state is another's.
    pub fn leave(&self) -> Result<(), Error> {
        for path in self.markers() {
            let removed = match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                removed => removed,
            };
            removed.and_then(|()| sync_dir(&self.dir)).map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }

    /// Keeps a text about what was found after the entry at `index`, and removes the oldest beyond those kept.
    pub fn keep_evidence(&self, index: u64, text: &str) -> Result<PathBuf, Error> {
        let dir = self.dir.join("evidence");
        // Names sort as their indexes do.
        let path = dir.join(format!("{index:020}{EVIDENCE_SUFFIX}"));
        let keep = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            sync_dir(&self.dir)?;
            self.put(&path, text.as_bytes())?;
            let mut files: Vec<PathBuf> =
                fs::read_dir(&dir)?.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
            files.retain(|file| file.to_string_lossy().ends_with(EVIDENCE_SUFFIX));
            files.sort();
            let excess = files.len().saturating_sub(EVIDENCE_FILES_MAX);
            files.iter().take(excess).try_for_each(fs::remove_file)
        };
        keep().map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(path)
    }

    fn markers(&self) -> [PathBuf; 2] {
        MARKERS.map(|name| self.dir.join(name))
    }

    /// Written aside, synced and renamed.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temp = path.with_extension("tmp");
        let mut file = File::create(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temp, path)?;
        sync_dir(path.parent().unwrap_or(&self.dir))
    }
}

fn read_marker(path: PathBuf) -> Result<Option<Difference>, Error> {
    match fs::read(&path) {
        Ok(row) => read_meta_row(&row).map(Some).map_err(|source| Error::Damaged { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Digests};

    fn difference() -> Difference {
        let ours = Digests { index: 7, running: Digest(1), state: Some(Digest(2)) };
        Difference { ours, theirs: Digests { state: Some(Digest(3)), ..ours } }
    }

    #[test]
    fn a_quarantine_is_known_until_it_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let ward = Ward::new(temp.path());
        assert_eq!(ward.quarantined().unwrap(), None);
        ward.leave().unwrap();
        ward.enter(&difference()).unwrap();
        assert_eq!(Ward::new(temp.path()).quarantined().unwrap(), Some(difference()));
        ward.leave().unwrap();
        assert_eq!(ward.quarantined().unwrap(), None);
    }

    #[test]
    fn a_damaged_quarantine_is_not_taken_for_none() {
        let temp = tempfile::tempdir().unwrap();
        let ward = Ward::new(temp.path());
        ward.enter(&difference()).unwrap();
        let [first, second] = ward.markers();
        let good = fs::read(&first).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            for bad in [&bad[..], &good[..at]] {
                fs::write(&first, bad).unwrap();
                assert_eq!(ward.quarantined().unwrap(), Some(difference()), "byte {at}");
                fs::write(&second, bad).unwrap();
                assert!(matches!(ward.quarantined(), Err(Error::Damaged { .. })), "byte {at}");
                fs::write(&second, &good).unwrap();
            }
        }
        for path in [&first, &second] {
            fs::remove_file(path).unwrap();
            assert_eq!(ward.quarantined().unwrap(), Some(difference()), "one of them is enough");
            fs::write(path, &good).unwrap();
        }
        ward.leave().unwrap();
        assert_eq!(ward.quarantined().unwrap(), None);
    }

    #[test]
    fn the_newest_evidence_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let ward = Ward::new(temp.path());
        for index in [5, 1000, 30, 7, 9, 11, 13, 15, 17, 19] {
            let path = ward.keep_evidence(index, "found").unwrap();
            assert!(index < 9 || fs::read_to_string(path).unwrap() == "found");
        }
        let names = fs::read_dir(temp.path().join("evidence")).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), EVIDENCE_FILES_MAX);
        assert_eq!((&*names[0], &*names[7]), ("00000000000000000009.txt", "00000000000000001000.txt"));
    }
}
