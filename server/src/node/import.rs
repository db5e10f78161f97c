//! `--import`: a state for a new cluster from the file that `uhaha-server export` made.

use crate::guest::{Guest, PortableError};
use crate::machine::{self, Imported};
use crate::storage::export::{self, ExportReader};
use std::path::Path;

/// Why an export gives no state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] export::Error),
    #[error("it has the state of a guest with the name {theirs}, and this one is {ours}")]
    Guest { theirs: String, ours: String },
    #[error(transparent)]
    Portable(#[from] PortableError),
}

/// Checks all of the file, then has the guest load it.
pub(super) fn load(guest: &Guest, path: &Path) -> Result<Imported, Error> {
    let reader = ExportReader::open(path)?;
    let header = reader.header().clone();
    let ours = &guest.description().name;
    if header.guest != *ours {
        return Err(Error::Guest { theirs: header.guest, ours: ours.clone() });
    }
    tracing::info!(
        export = %path.display(),
        module = header.module,
        state_version = header.state_version,
        "importing the state of another cluster"
    );
    Ok(machine::import(guest, header.state_version, header.clock, reader)?)
}
