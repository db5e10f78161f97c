//! What the log says about settings, and whether this node can obey.
//!
//! Limits are obeyed by any node. Another engine or another module would give other replies and another state, so a node
//! that has not the one in force applies no command: it stops before it has applied anything wrong.

use crate::fault::Fault;
use crate::guest::Guest;
use crate::proposal::{Header, Proposal};
use crate::settings::{Change, Settings};
use std::sync::Arc;

/// The settings that a proposal puts in force, if they are other ones.
pub(super) fn following(active: Option<&Arc<Settings>>, header: &Header) -> Option<Arc<Settings>> {
    let settings = match (header.settings.as_ref()?, active) {
        (Change::First(_), Some(_)) => return None,
        (Change::First(settings) | Change::To(settings), _) => settings,
    };
    (active.map(|active| &**active) != Some(settings)).then(|| Arc::new(settings.clone()))
}

/// An error if the proposal cannot be applied here as the log wants it.
pub(super) fn check(guest: &Guest, active: Option<&Arc<Settings>>, index: u64, header: &Header) -> Result<(), Fault> {
    let following = following(active, header);
    let Some(settings) = following.as_ref().or(active) else { return Ok(()) };
    if settings.module != guest.hash() {
        return Err(Fault::new(format!(
            "from index {index} on the cluster runs the module {}, and this node was started with {}; start it with that \
             module",
            settings.module,
            guest.hash()
        )));
    }
    let (theirs, ours) = (&settings.engine, guest.fingerprint());
    // What carries no work may be applied under any engine: that is how a cluster gets to another one.
    if theirs != ours && (header.count > 0 || header.seed.is_some()) {
        return Err(Fault::new(format!(
            "the entry at index {index} is for the engine {theirs}, and this node has {ours}, which might give other \
             replies and another state; start the version of the server with that engine, take a snapshot on every node \
             with nothing written after it (RAFT SNAPSHOT NOW), stop all, then start the new version everywhere"
        )));
    }
    if theirs != ours && active.is_some_and(|active| active.engine == ours) {
        return Err(Fault::new(format!(
            "from index {index} on the cluster has the engine {theirs}, and this node has {ours}; start the version of \
             the server with that engine, and if that refuses this node's log, let it join with an empty data directory"
        )));
    }
    Ok(())
}

/// Checks a log before anything of it is applied.
pub struct LogCheck<'a> {
    guest: &'a Guest,
    active: Option<Arc<Settings>>,
}

impl<'a> LogCheck<'a> {
    pub(super) fn new(guest: &'a Guest, active: Option<Arc<Settings>>) -> LogCheck<'a> {
        LogCheck { guest, active }
    }

    /// Whether the engine in force is this node's: what follows is checked when it is applied.
    pub fn is_over(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.engine == self.guest.fingerprint())
    }

    /// Takes in the next entry; an error if it could not be applied.
    pub fn take(&mut self, index: u64, proposal: &Proposal) -> Result<(), Fault> {
        let undecodable = |error| Fault::because(format!("the entry at index {index} cannot be decoded"), error);
        let (header, _) = proposal.decode().map_err(undecodable)?;
        check(self.guest, self.active.as_ref(), index, &header)?;
        if let Some(settings) = following(self.active.as_ref(), &header) {
            self.active = Some(settings);
        }
        Ok(())
    }
}

/// Tells the operator what is in force from `index` on.
pub(super) fn announce(index: u64, before: Option<&Settings>, settings: &Settings) {
    match before {
        None => tracing::info!(index, %settings, "the cluster's settings"),
        Some(before) => {
            let (now, before) = (settings.difference(before), before.difference(settings));
            tracing::info!(index, now, before, "the cluster's settings changed");
        }
    }
}
