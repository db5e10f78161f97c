//! What a replica goes back to when a command fails: an earlier state and the proposals applied since.

use super::digest::{self, Rest};
use super::replica::instantiate;
use crate::digest::{Digest, Digests};
use crate::fault::Fault;
use crate::guest::{Guest, Image, Instance, Limits, PAGE_BYTES, Source};
use crate::proposal::Proposal;
use crate::settings::Settings;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The whole state at one log index. Cheap to clone, but see `Image`.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Checkpoint {
    pub(super) image: Image,
    pub(super) source: Source,
    /// Time of the first entry ever applied.
    pub(super) boot: u64,
    /// Whether the guest's last tick asked for more.
    pub(super) ticking: bool,
    /// Of everything applied.
    pub(super) digests: Digests,
    /// Those in force; `None` before a proposal has set them.
    pub(super) settings: Option<Arc<Settings>>,
}

impl Checkpoint {
    /// What the guest is held to: what the log says, or what the node was started with until it says something.
    pub(super) fn limits(&self, guest: &Guest) -> Limits {
        self.settings.as_ref().map_or(guest.limits(), |settings| settings.limits)
    }

    /// A fresh instance with this state.
    pub(super) fn instance(&self, guest: &Guest) -> Result<Instance, Fault> {
        let mut instance = instantiate(guest, self.limits(guest))?;
        instance.restore(&self.image)?;
        instance.with_source(|source| *source = self.source.clone());
        Ok(instance)
    }

    /// A fresh instance with this state, which is the last that was captured from `broken`.
    pub(super) fn replacement(&self, guest: &Guest, broken: &mut Instance) -> Result<Instance, Fault> {
        let mut instance = instantiate(guest, self.limits(guest))?;
        instance.replace(broken, &self.image)?;
        instance.with_source(|source| *source = self.source.clone());
        Ok(instance)
    }

    /// The digest of this state, which stands after the entry at `index`.
    pub(super) fn digest(&self, index: u64) -> Result<Digest, Fault> {
        self.image.settle()?;
        let memories: Vec<u64> = self.image.memories.iter().map(|pages| pages.bytes()).collect();
        let rest = Rest {
            memories: &memories,
            globals: &self.image.globals,
            source: &self.source,
            boot: self.boot,
            ticking: self.ticking,
            index,
            handles: &self.image.handles,
        };
        Ok(digest::state(digest::pages(&self.image.memories)?, &rest))
    }
}

/// Proposals applied since the last checkpoint, each in one call of the guest.
pub(super) struct Journal {
    proposals: Vec<Proposal>,
    commands: usize,
    bytes: usize,
    fuel: u64,
    begun: Instant,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { proposals: Vec::new(), commands: 0, bytes: 0, fuel: 0, begun: Instant::now() }
    }
}

/// Repeating this many commands takes some tens of milliseconds.
const COMMANDS_MAX: usize = 65_536;
const BYTES_MAX: usize = 64 << 20;
/// Of commands that have much to do, this takes some tenths of a second.
const FUEL_MAX: u64 = 400_000_000;
/// A checkpoint costs for a page that was written to what a few commands cost, so a large state is copied seldom.
const COMMANDS_PER_PAGE: usize = 8;
/// Of a small state a checkpoint takes some milliseconds: at this distance that is a small part of the time.
const DISTANCE_MIN: Duration = Duration::from_millis(250);
/// While the last checkpoint is near, or is still being copied or written to disk, so that another would have to copy
/// the whole state, this many times more is waited for.
const PATIENCE: usize = 4;
/// To forget so many proposals takes about a millisecond.
const FORGOTTEN_AT_ONCE_MAX: usize = 16_384;

impl Journal {
    pub(super) fn push(&mut self, proposal: Proposal, commands: usize, fuel: u64) {
        // A tick is work too.
        self.commands += commands + 1;
        self.bytes += proposal.as_bytes().len();
        self.fuel += fuel;
        self.proposals.push(proposal);
    }

    /// Forgets all. To free much is left to another thread, for the machine would wait.
    pub(super) fn clear(&mut self) {
        let forgotten = std::mem::take(self);
        if forgotten.proposals.len() > FORGOTTEN_AT_ONCE_MAX {
            let free = move || drop(forgotten);
            // Without a thread it is freed here.
            let _ = std::thread::Builder::new().name("journal".to_owned()).spawn(free);
        }
    }

    pub(super) fn proposals(&self) -> &[Proposal] {
        &self.proposals
    }

    /// Whether it is time for a checkpoint, with a state of this size; later if the last one is in use.
    pub(super) fn is_long(&self, memory_bytes: u64, in_use: impl FnOnce() -> bool) -> bool {
        let pages = memory_bytes as usize / PAGE_BYTES;
        let commands_max = COMMANDS_MAX.max(pages * COMMANDS_PER_PAGE);
        let fuel_max = FUEL_MAX * (commands_max / COMMANDS_MAX) as u64;
        let is_over = |times: usize| {
            self.commands > commands_max * times
                || self.bytes > BYTES_MAX * times
                || self.fuel > fuel_max * times as u64
        };
        is_over(1) && (is_over(PATIENCE) || self.begun.elapsed() >= DISTANCE_MIN && !in_use())
    }
}
