//! `Replica`: one guest and what belongs to its state, moved forward by proposals.
//!
//! A trap ends a wasmtime store, so the replica keeps a *base*, an image of an earlier state, and a *journal* of the
//! proposals applied since. When a proposal fails anywhere, the replica goes back to the base, applies the journal
//! again and then runs the failed proposal's steps one at a time, leaving out those that fail: each failed command
//! leaves no trace, and all of it happens alike on every replica and on every replay, because it depends on the log
//! alone. That includes the limits: a proposal sets them (`obedience`).

mod reads;
mod short;

#[cfg(test)]
pub(super) use short::LONG_TURNS;

use super::checkpoint::{Checkpoint, Journal};
use super::digest;
use super::obedience;
use super::trap::Trap;
use crate::command::Command;
use crate::digest::Digests;
use crate::fault::Fault;
use crate::guest::{Backtrace, Call, Failure, Guest, Image, Instance, Limits};
#[cfg(feature = "figures")]
use crate::native;
use crate::proposal::{Header, Proposal};
use crate::replies::Replies;
use crate::resp3::{PutToken, Token};
use crate::settings::Settings;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A guest's state and what the machine keeps beside it.
pub(super) struct Replica {
    guest: Arc<Guest>,
    /// Positions in the description by upper-case name.
    commands: BTreeMap<Vec<u8>, u32>,
    writer: Instance,
    reader: Option<Instance>,
    /// Whether the reader is a view of the state as it stands, but for what the last reads have changed.
    is_shown: bool,
    /// Of each command of the description, how often it is not tried as a short one.
    long: Vec<u16>,
    /// The writer is left in the middle of something that was not short.
    is_spoiled: bool,
    base: Checkpoint,
    journal: Journal,
    /// Time of the first entry ever applied; 0 before.
    boot: u64,
    /// Whether the guest's last tick asked for more.
    ticking: bool,
    /// After the last proposal.
    digests: Digests,
    marked: Option<Checkpoint>,
    /// Those in force; `None` before a proposal has set them.
    settings: Option<Arc<Settings>>,
    /// While what was applied before is applied again: the guest's log lines are dropped, and marks are not obeyed,
    /// for a log may hold many.
    silent: bool,
    /// Whether the guest may be another one than that of the log, whose replies are to be compared.
    is_stand_in: bool,
    ticks: u64,
    /// Of steps that count.
    fuel: u64,
    traps: u64,
    /// Of a write, a tick or a read.
    last_trap: Option<Arc<Trap>>,
}

/// What a run of steps replied: RESP3 values and where they end.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Replies of reads among them, and how many of the others come before. They are apart, for no replica knows what they
    /// were on another.
    reads: Vec<(usize, Replies)>,
    reads_bytes: u64,
}

impl Output {
    fn push(&mut self, reply: &[u8]) {
        self.bytes.extend_from_slice(reply);
        self.ends.push(self.bytes.len() as u32);
    }

    fn replies(self) -> Replies {
        if self.reads.is_empty() {
            return Replies::new(self.bytes.into(), self.ends);
        }
        let mut all = Output::default();
        let writes = Replies::new(self.bytes.into(), self.ends);
        let mut writes = writes.iter();
        let mut done = 0;
        for (before, reads) in &self.reads {
            writes.by_ref().take(before - done).for_each(|reply| all.push(reply.as_bytes()));
            reads.iter().for_each(|reply| all.push(reply.as_bytes()));
            done = *before;
        }
        writes.for_each(|reply| all.push(reply.as_bytes()));
        all.replies()
    }
}

impl Replica {
    /// The state before the first entry.
    pub(super) fn new(guest: Arc<Guest>) -> Result<Replica, Fault> {
        let mut writer = instantiate(&guest, guest.limits())?;
        let image = writer.capture(Image::default())?;
        let (source, digests) = (writer.source(), Digests::default());
        let base = Checkpoint { image, source, boot: 0, ticking: true, digests, settings: None };
        Ok(Replica::with(guest, writer, base))
    }

    /// The state that a checkpoint holds.
    pub(super) fn restore(guest: Arc<Guest>, base: Checkpoint) -> Result<Replica, Fault> {
        let writer = base.instance(&guest)?;
        Ok(Replica::with(guest, writer, base))
    }

    fn with(guest: Arc<Guest>, writer: Instance, base: Checkpoint) -> Replica {
        let specs = guest.description().commands.iter().enumerate();
        let commands = specs.map(|(position, spec)| (spec.name.clone().into_bytes(), position as u32)).collect();
        Replica {
            commands,
            writer,
            reader: None,
            is_shown: false,
            long: vec![0; guest.description().commands.len()],
            is_spoiled: false,
            boot: base.boot,
            ticking: base.ticking,
            digests: base.digests,
            marked: None,
            settings: base.settings.clone(),
            base,
            journal: Journal::default(),
            guest,
            silent: false,
            is_stand_in: false,
            ticks: 0,
            fuel: 0,
            traps: 0,
            last_trap: None,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.writer.source().now()
    }

    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// Whether ticks matter while no commands come.
    pub(super) fn ticking(&self) -> bool {
        self.ticking && self.guest.optional().tick
    }

    /// After the last proposal.
    pub(super) fn digests(&self) -> Digests {
        self.digests
    }

    /// Ticks applied since this start.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Fuel of the writes and ticks applied since this start.
    pub(super) fn fuel(&self) -> u64 {
        self.fuel
    }

    pub(super) fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    fn limits(&self) -> Limits {
        self.settings.as_ref().map_or(self.guest.limits(), |settings| settings.limits)
    }

    pub(super) fn traps(&self) -> u64 {
        self.traps
    }

    pub(super) fn last_trap(&self) -> Option<&Arc<Trap>> {
        self.last_trap.as_ref()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.writer.memory_bytes()
    }

    pub(super) fn set_stand_in(&mut self) {
        self.is_stand_in = true;
    }

    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
        self.writer.set_silent(silent);
    }

    /// Applies the proposal of the entry at `index`. Reads that stand in it are run if somebody `wants_reads`; otherwise each
    /// has null for a reply.
    pub(super) fn apply(&mut self, index: u64, proposal: &Proposal, wants_reads: bool) -> Result<Replies, Fault> {
        self.mend()?;
        let (header, commands) = decode(index, proposal)?;
        #[cfg(feature = "figures")]
        if native::wanted() == Some(native::Native::Guest) {
            return Ok(native::replies(commands.len()));
        }
        if !self.is_stand_in {
            obedience::check(&self.guest, self.settings.as_ref(), index, &header)?;
        }
        if !self.silent
            && let Some(settings) = obedience::following(self.settings.as_ref(), &header)
        {
            obedience::announce(index, self.settings.as_deref(), &settings);
        }
        self.ticks += u64::from(header.seed.is_some());
        // If it fails, it is run again.
        self.writer.hold_lines();
        let output = match self.run(&header, &commands, wants_reads) {
            Ok(output) => {
                self.ran_at_once(proposal, commands.len());
                output
            }
            Err(failure) => {
                failure.while_applying()?;
                self.run_carefully(index, &header, &commands, wants_reads)?
            }
        };
        self.note_digest(index, proposal, &output);
        // To make another image while the last one is in use would take a copy of the whole: the next mark will do.
        if header.checks.mark && !self.silent && self.base.image.is_free() {
            let checkpoint = self.checkpoint()?;
            match checkpoint.image.is_quickly_digested() {
                true => self.digests.state = Some(checkpoint.digest(index)?),
                false => self.marked = Some(checkpoint),
            }
        }
        if self.journal.is_long(self.writer.memory_bytes(), || !self.base.image.is_free()) {
            self.checkpoint()?;
        }
        Ok(output.replies())
    }

    /// Takes note of a proposal that ran in one call.
    fn ran_at_once(&mut self, proposal: &Proposal, commands: usize) {
        self.writer.release_lines();
        let fuel = self.writer.take_fuel();
        self.fuel += fuel;
        self.journal.push(proposal.clone(), commands, fuel);
    }

    fn note_digest(&mut self, index: u64, proposal: &Proposal, output: &Output) {
        let running = digest::running(self.digests.running, index, proposal.as_bytes(), &output.bytes);
        self.digests = Digests { index, running, state: None };
    }

    /// The state after a mark that was just applied, if its digest is still to be made: that takes long enough for
    /// another thread.
    pub(super) fn take_marked(&mut self) -> Option<Checkpoint> {
        self.marked.take()
    }

    /// See `Instance::corrupt`.
    #[cfg(debug_assertions)]
    pub(super) fn corrupt(&mut self, pattern: &[u8]) -> usize {
        self.is_shown = false;
        self.writer.corrupt(pattern)
    }

    /// Takes a new base: the state as it stands.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, Fault> {
        let before = std::mem::take(&mut self.base.image);
        let image = self.writer.capture(before)?;
        self.base = Checkpoint {
            image,
            source: self.writer.source(),
            boot: self.boot,
            ticking: self.ticking,
            digests: self.digests,
            settings: self.settings.clone(),
        };
        self.journal.clear();
        Ok(self.base.clone())
    }

    /// An instance of its own with the state as it stands, in which time does not pass. It is held to what this process
    /// was started with, for what it does is not replicated.
    pub(super) fn copy(&mut self) -> Result<Instance, Fault> {
        let mut copy = self.checkpoint()?.instance(&self.guest)?;
        copy.set_limits(self.guest.limits());
        copy.with_source(|source| *source = source.for_reads());
        Ok(copy)
    }

    /// Runs all commands between two reads in one call of the guest, if it can take that.
    fn run(&mut self, header: &Header, commands: &[Command], wants_reads: bool) -> Result<Output, Failure> {
        self.begin(header);
        if header.seed.is_some() {
            self.ticking = self.writer.tick()?;
        }
        // A command may start what the tick before it knew nothing of.
        self.ticking |= !commands.is_empty();
        let mut output = Output::default();
        for part in commands.chunk_by(|one, next| one.is_read() == next.is_read()) {
            match part.first().is_some_and(Command::is_read) {
                true => self.run_reads(part, wants_reads, &mut output).map_err(Failure::Host)?,
                false => self.run_writes(part, &mut output)?,
            }
        }
        Ok(output)
    }

    fn run_writes(&mut self, commands: &[Command], output: &mut Output) -> Result<(), Failure> {
        self.is_shown = false;
        let (positions, calls) = self.calls(commands);
        if calls.len() == commands.len() {
            return self.writer.run(&calls, &mut output.bytes, &mut output.ends);
        }
        let mut known = Output::default();
        self.writer.run(&calls, &mut known.bytes, &mut known.ends)?;
        with_unknown(&known, &positions, commands).replies().iter().for_each(|reply| output.push(reply.as_bytes()));
        Ok(())
    }

    /// Runs reads where they stand among the writes of an entry. Together their replies have the limit that those of the
    /// writes have.
    fn run_reads(&mut self, commands: &[Command], wanted: bool, output: &mut Output) -> Result<(), Fault> {
        let (before, limit) = (output.ends.len(), self.limits().replies_bytes_max);
        let mut left = commands;
        while let Some(command) = left.first() {
            let bytes = output.reads_bytes;
            let replies = if !wanted {
                Replies::new(Bytes::from_static(b"_\r\n"), vec![3])
            } else if bytes > limit {
                let failure = Failure::TooBig { bytes, limit };
                let trap = Trap::new(Some(command), None, &failure, &Backtrace::default(), self.now());
                let reply = self.note_trap(trap);
                let end = reply.len() as u32;
                Replies::new(reply.into(), vec![end])
            } else {
                self.read(left)?
            };
            left = left.get(replies.len().max(1)..).unwrap_or_default();
            output.reads_bytes += replies.bytes() as u64;
            output.reads.push((before, replies));
        }
        Ok(())
    }

    /// Goes back to the state before the proposal and runs its steps one at a time, leaving out those that fail.
    ///
    /// After a failure the steps that succeeded since the base are repeated and the base moves up behind them, so
    /// every step runs at most three times however many fail. At the end the base is the state after the proposal: the
    /// journal only ever holds proposals that ran in one call.
    fn run_carefully(
        &mut self,
        index: u64,
        header: &Header,
        commands: &[Command],
        wants_reads: bool,
    ) -> Result<Output, Fault> {
        self.rewind()?;
        self.begin(header);
        self.checkpoint()?;
        let mut output = Output::default();
        let mut since_base = Vec::new();
        let first = usize::from(header.seed.is_none());
        for step in first..=commands.len() {
            let (bytes, ends) = (output.bytes.len(), output.ends.len());
            let failure = match self.step(step, commands, wants_reads, &mut output) {
                Ok(()) => {
                    self.fuel += self.writer.take_fuel();
                    since_base.push(step);
                    continue;
                }
                Err(failure) => failure.while_applying()?,
            };
            output.bytes.truncate(bytes);
            output.ends.truncate(ends);
            let backtrace = self.writer.backtrace().clone();
            self.return_to_base()?;
            self.repeat(&since_base, commands)?;
            if !since_base.is_empty() {
                since_base.clear();
                self.checkpoint()?;
            }
            let command = step.checked_sub(1).map(|number| &commands[number]);
            let reply = self.note_trap(Trap::new(command, Some(index), &failure, &backtrace, self.now()));
            self.traps += 1;
            match command {
                None => self.ticking = false,
                Some(_) => output.push(&reply),
            }
        }
        self.ticking |= !commands.is_empty();
        self.checkpoint()?;
        Ok(output)
    }

    /// Step 0 is the tick, step n is command n - 1.
    fn step(
        &mut self,
        step: usize,
        commands: &[Command],
        wants_reads: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let Some(number) = step.checked_sub(1) else {
            self.ticking = self.writer.tick()?;
            return Ok(());
        };
        let command = &commands[number];
        if command.is_read() {
            return self.run_reads(std::slice::from_ref(command), wants_reads, output).map_err(Failure::Host);
        }
        self.is_shown = false;
        let Some(position) = self.position(command) else {
            output.push(&unknown(command));
            return Ok(());
        };
        self.writer.run(&[Call { command: position, args: command.args() }], &mut output.bytes, &mut output.ends)
    }

    fn repeat(&mut self, steps: &[usize], commands: &[Command]) -> Result<(), Fault> {
        self.writer.set_silent(true);
        for step in steps {
            // Each reply is the one that stands in the output already.
            let repeated = self.step(*step, commands, false, &mut Output::default());
            repeated.map_err(|failure| Fault::because("what succeeded before failed when it was repeated", failure))?;
        }
        self.writer.set_silent(self.silent);
        self.writer.take_fuel();
        Ok(())
    }

    fn begin(&mut self, header: &Header) {
        self.is_shown = false;
        if self.boot == 0 {
            self.boot = header.stamp;
        }
        if let Some(settings) = obedience::following(self.settings.as_ref(), header) {
            self.writer.set_limits(settings.limits);
            self.reader = None;
            self.settings = Some(settings);
        }
        self.writer.with_source(|source| {
            source.advance(header.stamp);
            if let Some(seed) = header.seed {
                source.reseed(seed);
            }
        });
    }

    /// Back to the state after the last proposal that was applied.
    fn rewind(&mut self) -> Result<(), Fault> {
        self.return_to_base()?;
        let journal = std::mem::take(&mut self.journal);
        self.writer.set_silent(true);
        for proposal in journal.proposals() {
            let (header, commands) =
                proposal.decode().map_err(|error| Fault::because("the journal cannot be decoded", error))?;
            let again = self.run(&header, &commands, false);
            again.map_err(|failure| Fault::because("what succeeded before failed when it was repeated", failure))?;
        }
        self.writer.set_silent(self.silent);
        self.writer.take_fuel();
        self.journal = journal;
        Ok(())
    }

    fn return_to_base(&mut self) -> Result<(), Fault> {
        self.writer = self.base.replacement(&self.guest, &mut self.writer)?;
        self.writer.set_silent(self.silent);
        self.reader = None;
        self.boot = self.base.boot;
        self.ticking = self.base.ticking;
        self.settings = self.base.settings.clone();
        Ok(())
    }

    /// The error reply of what failed, which is also logged and kept.
    fn note_trap(&mut self, trap: Trap) -> Vec<u8> {
        trap.log();
        let reply = trap.reply();
        self.last_trap = Some(Arc::new(trap));
        reply
    }

    /// The position of each command, and the calls of those that the module knows.
    fn calls<'a>(&self, commands: &'a [Command]) -> (Vec<Option<u32>>, Vec<Call<'a>>) {
        let positions: Vec<Option<u32>> = commands.iter().map(|command| self.position(command)).collect();
        let known = positions.iter().zip(commands);
        let calls = known.filter_map(|(position, command)| Some(Call { command: (*position)?, args: command.args() }));
        let calls = calls.collect();
        (positions, calls)
    }

    fn position(&self, command: &Command) -> Option<u32> {
        match self.commands.get(command.name()) {
            Some(position) => Some(*position),
            None => self.commands.get(&command.name().to_ascii_uppercase()).copied(),
        }
    }

    /// Whether the last proposal did not run in one call.
    #[cfg(test)]
    pub(super) fn ran_step_by_step(&self) -> bool {
        self.journal.proposals().is_empty()
    }

    /// The clock and the generator, for tests of determinism.
    #[cfg(test)]
    pub(super) fn source(&self) -> crate::guest::Source {
        self.writer.source()
    }
}

fn decode(index: u64, proposal: &Proposal) -> Result<(Header, Vec<Command>), Fault> {
    let undecodable = |error| Fault::because(format!("the entry at index {index} cannot be decoded"), error);
    proposal.decode().map_err(undecodable)
}

pub(super) fn instantiate(guest: &Guest, limits: Limits) -> Result<Instance, Fault> {
    let instance = guest.instantiate_within(limits);
    instance.map_err(|failure| Fault::because("a fresh instance of the guest failed to start", failure))
}

/// The module does not know it, though the node that proposed it did.
fn unknown(command: &Command) -> Vec<u8> {
    let mut reply = Vec::new();
    let message = format!("ERR unknown command '{}'", command.name().escape_ascii());
    reply.put_token(Token::Error(message.as_bytes()));
    reply
}

/// Puts error replies between those of the known commands.
fn with_unknown(known: &Output, positions: &[Option<u32>], commands: &[Command]) -> Output {
    let mut output = Output::default();
    let mut starts = std::iter::once(0).chain(known.ends.iter().copied());
    let mut ends = known.ends.iter().copied();
    for (position, command) in positions.iter().zip(commands) {
        match (position, starts.clone().next(), ends.clone().next()) {
            (Some(_), Some(start), Some(end)) => {
                output.push(&known.bytes[start as usize..end as usize]);
                starts.next();
                ends.next();
            }
            (None, ..) => output.push(&unknown(command)),
            // What follows was not run.
            _ => break,
        }
    }
    output
}
