//! The state of a new machine, made by the guest from a form of its own that another machine has saved.

use super::checkpoint::Checkpoint;
use super::replica::instantiate;
use crate::digest::Digests;
use crate::fault::Fault;
use crate::guest::{self, Guest, Image, PortableError};
use std::io::Read;

/// Such a state, before the first entry of the new machine's log.
pub struct Imported(pub(super) Checkpoint);

/// Loads what `input` gives into a fresh instance. Machine time goes on from `clock`, in nanoseconds since the Unix
/// epoch.
pub fn import(
    guest: &Guest,
    state_version: u32,
    clock: u64,
    input: impl Read + Send + 'static,
) -> Result<Imported, PortableError> {
    let load = || -> Result<Imported, PortableError> {
        let mut instance = instantiate(guest, guest.limits())?;
        instance.with_source(|source| source.advance(clock));
        instance.load(state_version, input)?;
        let image = instance.capture(Image::default())?;
        image.settle()?;
        // The new machine's first entry is yet to come; it may find that something waits for time to pass.
        let (boot, ticking, digests) = (0, true, Digests::default());
        Ok(Imported(Checkpoint { image, source: instance.source(), boot, ticking, digests, settings: None }))
    };
    let loaded = guest::on_guest_thread("import", load);
    loaded.map_err(|error| Fault::because("the guest could not be run", error))?
}
