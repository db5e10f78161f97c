//! A snapshot file that comes in pieces from another node.
//!
//! Its length is all there is to know about how far it is, so a transfer goes on where it stopped, whoever sends. A
//! restart begins it anew, for what stands under a temporary name is removed then.

use super::container::verify;
use super::{Error, SnapshotInfo, Snapshots, TEMP_SUFFIX, header_of, names};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

const PREFIX: &str = "receive-";

impl Snapshots {
    /// Appends a piece, if it is the next one, and returns how many bytes are there now.
    pub fn receive(&self, id: &str, offset: u64, bytes: &[u8]) -> Result<u64, Error> {
        if let Some(whole) = self.get_whole(id)? {
            return Ok(whole.bytes);
        }
        let path = self.receiving(id)?;
        let _names = self.lock_names();
        if !path.exists() {
            self.forget_others()?;
        }
        let append = || -> io::Result<u64> {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            if offset != length {
                return Ok(length);
            }
            file.write_all(bytes)?;
            Ok(length + bytes.len() as u64)
        };
        append().map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// All pieces are there: checks the whole and gives it its name. What is damaged is thrown away.
    pub fn received(&self, id: &str) -> Result<SnapshotInfo, Error> {
        if let Some(whole) = self.get_whole(id)? {
            return Ok(whole);
        }
        let path = self.receiving(id)?;
        let checked = verify(&path).and_then(|header| match header == header_of(id)? {
            true => Ok(header),
            false => Err(Error::Damaged { path: path.clone(), offset: 0, what: "the name of another snapshot" }),
        });
        let header = checked.inspect_err(|_| {
            // It is removed at the next open if not now.
            let _ = fs::remove_file(&path);
        })?;
        let synced = OpenOptions::new().write(true).open(&path).and_then(|file| file.sync_all());
        synced.map_err(|source| Error::Write { path: path.clone(), source })?;
        self.publish(&path, header)
    }

    /// One that adds to another is replaced by what is received, and so is one that is damaged.
    fn get_whole(&self, id: &str) -> Result<Option<SnapshotInfo>, Error> {
        let Some(info) = self.get(id).ok().filter(|info| info.parent.is_none()) else { return Ok(None) };
        match self.verify(id) {
            Ok(()) => Ok(Some(info)),
            Err(error) if error.is_damage() => self.set_aside(id).map(|()| None),
            Err(error) => Err(error),
        }
    }

    fn receiving(&self, id: &str) -> Result<PathBuf, Error> {
        Ok(self.shared.dir.join(format!("{PREFIX}{}{TEMP_SUFFIX}", header_of(id)?.id())))
    }

    /// One is received at a time, so what there is of others will not be finished.
    fn forget_others(&self) -> Result<(), Error> {
        for name in names(&self.shared.dir)?.into_iter().filter(|name| name.starts_with(PREFIX)) {
            let path = self.shared.dir.join(name);
            fs::remove_file(&path).map_err(|source| Error::Remove { path, source })?;
        }
        Ok(())
    }
}
