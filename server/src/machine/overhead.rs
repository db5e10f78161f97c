//! Machines that leave guarantees out, to know what these cost. No server has them: they are built for figures alone.

use super::checkpoint::{Checkpoint, Journal};
use super::digest;
use super::replica::{Replica, instantiate};
use crate::digest::Digests;
use crate::fault::Fault;
use crate::guest::{self, Call, Code, Guest, Image, Instance, Limits};
use crate::proposal::Proposal;
use crate::replies::Replies;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a machine does for its guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// Counts the guest's nested calls.
    pub call_stack: bool,
    pub fuel: bool,
    /// Keeps what failed commands are undone with: images by write protection, and a journal.
    pub images: bool,
    /// Makes the running digest, and that of the state after a mark.
    pub digests: bool,
}

impl Guarantees {
    pub const NONE: Guarantees = Guarantees { call_stack: false, fuel: false, images: false, digests: false };
    pub const ALL: Guarantees = Guarantees { call_stack: true, fuel: true, images: true, digests: true };
}

/// A machine without the thread around it.
pub struct Bare(Kind);

enum Kind {
    Partial(Box<Partial>),
    /// As servers have it.
    Replica(Box<Replica>),
}

impl Bare {
    /// One that gives these guarantees; as servers have it for all of them.
    pub fn new(module: &[u8], cache: &Path, gives: Guarantees) -> Result<Bare, Box<dyn std::error::Error>> {
        let code = Code { takes_fuel: gives.fuel, counts_calls: gives.call_stack, ..Code::BEST };
        let guest = Arc::new(Guest::load_as(code, module, Limits::default(), cache)?);
        Ok(Bare(match gives {
            Guarantees::ALL => Kind::Replica(Box::new(Replica::new(guest)?)),
            _ => Kind::Partial(Box::new(Partial::new(&guest, gives)?)),
        }))
    }

    /// Applies the proposal of the entry at `index`.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Replies, Box<dyn std::error::Error>> {
        match &mut self.0 {
            Kind::Partial(partial) => partial.apply(index, proposal),
            Kind::Replica(replica) => {
                let replies = replica.apply(index, proposal, true)?;
                digest_aside(replica.take_marked(), index)?;
                Ok(replies)
            }
        }
    }
}

/// What `Replica` does while nothing fails, in its order, less what is left out.
struct Partial {
    gives: Guarantees,
    commands: BTreeMap<Vec<u8>, u32>,
    instance: Instance,
    image: Image,
    journal: Journal,
    digests: Digests,
}

impl Partial {
    fn new(guest: &Guest, gives: Guarantees) -> Result<Partial, Fault> {
        let mut instance = instantiate(guest, guest.limits())?;
        let image = if gives.images { instance.capture(Image::default())? } else { Image::default() };
        let specs = guest.description().commands.iter().zip(0..);
        let commands = specs.map(|(spec, position)| (spec.name.clone().into_bytes(), position)).collect();
        let (journal, digests) = (Journal::default(), Digests::default());
        Ok(Partial { gives, commands, instance, image, journal, digests })
    }

    fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Replies, Box<dyn std::error::Error>> {
        let (header, commands) = proposal.decode()?;
        self.instance.with_source(|source| source.advance(header.stamp));
        let position = |name: &[u8]| self.commands.get(name).copied().ok_or("no such command");
        let calls = commands
            .iter()
            .map(|command| Ok(Call { command: position(command.name())?, args: command.args() }))
            .collect::<Result<Vec<_>, &str>>()?;
        let (mut replies, mut ends) = (Vec::new(), Vec::new());
        self.instance.run(&calls, &mut replies, &mut ends)?;
        if self.gives.images {
            self.journal.push(proposal.clone(), commands.len(), self.instance.take_fuel());
        }
        if self.gives.digests {
            let running = digest::running(self.digests.running, index, proposal.as_bytes(), &replies);
            self.digests = Digests { index, running, state: None };
            if header.checks.mark && self.image.is_free() {
                let checkpoint = self.checkpoint()?;
                match checkpoint.image.is_quickly_digested() {
                    true => self.digests.state = Some(checkpoint.digest(index)?),
                    false => digest_aside(Some(checkpoint), index)?,
                }
            }
        }
        if self.gives.images && self.journal.is_long(self.instance.memory_bytes(), || !self.image.is_free()) {
            self.checkpoint()?;
        }
        Ok(Replies::new(replies.into(), ends))
    }

    fn checkpoint(&mut self) -> Result<Checkpoint, Fault> {
        self.image = self.instance.capture(std::mem::take(&mut self.image))?;
        self.journal.clear();
        let (image, source) = (self.image.clone(), self.instance.source());
        Ok(Checkpoint { image, source, boot: 0, ticking: false, digests: self.digests, settings: None })
    }
}

/// As the machine's thread does it.
fn digest_aside(checkpoint: Option<Checkpoint>, index: u64) -> std::io::Result<()> {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    let make = move || checkpoint.digest(index).is_ok();
    std::thread::Builder::new().name("digest".to_owned()).spawn(make).map(drop)
}

/// Runs `work` where guests may run.
pub fn on_guest_thread<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    guest::on_guest_thread("figures", work)
}
