//! What a replica goes back to when a command fails: an earlier state and the proposals applied since.

use super::digest::{self, Pages, Rest};
use super::replica::instantiate;
use crate::digest::{Digest, Digests};
use crate::fault::Fault;
use crate::guest::{Guest, Image, Instance, Source};
use crate::proposal::Proposal;
use std::sync::Arc;

/// The whole state at one log index. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) image: Arc<Image>,
    pub(super) source: Source,
    /// Time of the first entry ever applied.
    pub(super) boot: u64,
    /// Whether the guest's last tick asked for more.
    pub(super) ticking: bool,
    /// Of everything applied.
    pub(super) digests: Digests,
}

impl Checkpoint {
    /// A fresh instance with this state.
    pub(super) fn instance(&self, guest: &Guest) -> Result<Instance, Fault> {
        let mut instance = instantiate(guest)?;
        instance.restore(&self.image)?;
        instance.with_source(|source| *source = self.source.clone());
        Ok(instance)
    }

    /// The digest of this state, which stands after the entry at `index`.
    pub(super) fn digest(&self, index: u64) -> Digest {
        let mut pages = Pages::new();
        for (number, memory) in self.image.memories.iter().enumerate() {
            memory.extents.iter().for_each(|extent| pages.run(number as u32, extent.offset, &extent.bytes));
        }
        let memories: Vec<u64> = self.image.memories.iter().map(|memory| memory.bytes).collect();
        let rest = Rest {
            memories: &memories,
            globals: &self.image.globals,
            source: &self.source,
            boot: self.boot,
            ticking: self.ticking,
            index,
        };
        digest::state(pages.sum(), &rest)
    }
}

/// Proposals applied since the last checkpoint, each in one call of the guest.
#[derive(Default)]
pub(super) struct Journal {
    proposals: Vec<Proposal>,
    commands: usize,
    bytes: usize,
}

/// Repeating this many commands takes some milliseconds.
const COMMANDS_MAX: usize = 65_536;
const BYTES_MAX: usize = 64 << 20;
/// A checkpoint costs about as much for a page as repeating this many commands, so a large state is copied seldom.
const COMMANDS_PER_PAGE: usize = 16;

impl Journal {
    pub(super) fn push(&mut self, proposal: Proposal, commands: usize) {
        // A tick is work too.
        self.commands += commands + 1;
        self.bytes += proposal.as_bytes().len();
        self.proposals.push(proposal);
    }

    pub(super) fn proposals(&self) -> &[Proposal] {
        &self.proposals
    }

    /// Whether it is time for a checkpoint, with a state of this size.
    pub(super) fn is_long(&self, memory_bytes: u64) -> bool {
        let pages = memory_bytes as usize / 4096;
        self.commands > COMMANDS_MAX.max(pages * COMMANDS_PER_PAGE) || self.bytes > BYTES_MAX
    }
}
