//! Reads, on a private view of the state.

use super::{Output, Replica, instantiate, with_unknown};
use crate::command::Command;
use crate::fault::Fault;
use crate::guest::{Backtrace, Call, Failure, Instance, Limits};
use crate::machine::trap::Trap;
use crate::replies::Replies;

/// What the replies of reads that are run together may be, but for a single larger one.
const READ_REPLIES_BYTES_MAX: u64 = 4 << 20;
/// How much the guest's memory may grow while they are made. It is the reader's own, and given back.
const READ_GROWTH_BYTES_MAX: u64 = 32 << 20;

impl Replica {
    /// Runs reads on a private view of the state.
    pub(in crate::machine) fn read(&mut self, commands: &[Command]) -> Result<Replies, Fault> {
        let (positions, calls) = self.calls(commands);
        let mut output = Output::default();
        if !calls.is_empty() {
            let limits = if calls.len() > 1 { self.limits_of_reads() } else { self.limits() };
            let reader = self.fresh_reader()?;
            reader.set_limits(limits);
            reader.hold_lines();
            match reader.run(&calls, &mut output.bytes, &mut output.ends) {
                Ok(()) => reader.release_lines(),
                Err(Failure::Host(fault)) => return Err(fault),
                Err(_) => {
                    self.reader = None;
                    let known = commands.iter().zip(&positions).filter(|(_, position)| position.is_some());
                    output = self.read_one_by_one(&calls, known.map(|(command, _)| command))?;
                }
            }
        }
        if calls.len() < commands.len() {
            output = with_unknown(&output, &positions, commands);
        }
        Ok(output.replies())
    }

    /// What a call with many commands may take: those whose replies are large are run again, one by one.
    pub(super) fn limits_of_reads(&self) -> Limits {
        let limits = self.limits();
        Limits {
            memory_bytes_max: limits.memory_bytes_max.min(self.writer.memory_bytes() + READ_GROWTH_BYTES_MAX),
            replies_bytes_max: limits.replies_bytes_max.min(READ_REPLIES_BYTES_MAX),
            ..limits
        }
    }

    /// Up to the first whose reply makes all together too large.
    fn read_one_by_one<'a>(
        &mut self,
        calls: &[Call<'_>],
        commands: impl Iterator<Item = &'a Command>,
    ) -> Result<Output, Fault> {
        let mut output = Output::default();
        let limits = self.limits();
        for (call, command) in calls.iter().zip(commands) {
            if output.bytes.len() as u64 > READ_REPLIES_BYTES_MAX {
                break;
            }
            let mut one = Output::default();
            let reader = self.fresh_reader()?;
            reader.set_limits(limits);
            let failure = match reader.run(&[*call], &mut one.bytes, &mut one.ends) {
                Ok(()) => {
                    output.push(&one.bytes);
                    continue;
                }
                Err(Failure::Host(fault)) => return Err(fault),
                Err(failure) => failure,
            };
            // It is left in the middle of the failed read.
            let backtrace = self.reader.take().map_or_else(Backtrace::default, |reader| reader.backtrace().clone());
            output.push(&self.note_trap(Trap::new(Some(command), None, &failure, &backtrace, self.now())));
        }
        Ok(output)
    }

    /// The reader as a view of the state as it stands.
    fn fresh_reader(&mut self) -> Result<&mut Instance, Fault> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.new_reader()?,
        };
        if !self.show(&mut reader)? {
            reader = self.new_reader()?;
            self.show(&mut reader)?;
        }
        Ok(self.reader.insert(reader))
    }

    fn new_reader(&mut self) -> Result<Instance, Fault> {
        self.is_shown = false;
        instantiate(&self.guest, self.limits())
    }

    /// False when a new one is needed.
    pub(super) fn show(&mut self, reader: &mut Instance) -> Result<bool, Fault> {
        let is_shown = std::mem::replace(&mut self.is_shown, true);
        if is_shown { reader.view_again(&self.writer) } else { reader.view(&mut self.writer) }
    }
}
