//! Commands that are short enough to be run by whoever has them, while the apply thread has nothing to do.
//!
//! How long they take is found out by trying: with little fuel. What takes more is left to the apply thread, and not tried
//! again for a while.

use super::{Output, Replica, decode, obedience};
use crate::command::Command;
use crate::fault::Fault;
use crate::guest::{Call, Failure, Limits};
#[cfg(feature = "figures")]
use crate::native;
use crate::proposal::{Header, Proposal};
use crate::replies::Replies;

/// What short commands may take together: less than a millisecond.
const FUEL_MAX: u64 = 1_000_000;
const REPLIES_BYTES_MAX: u64 = 256 << 10;
const COMMANDS_MAX: usize = 64;
/// What is large takes long to be copied, and fuel does not tell.
const PROPOSAL_BYTES_MAX: usize = 256 << 10;
/// How often a read that took more is not tried again.
pub(in crate::machine) const LONG_TURNS: u16 = 100;
/// And a write, after which `mend` repeats all that has been applied since the base.
const LONG_WRITE_TURNS: u16 = u16::MAX;

impl Replica {
    /// Runs reads as `read` does if they are short and there is a reader already; nothing if they are not, or fail: then
    /// `read` is to run them.
    pub(in crate::machine) fn read_short(&mut self, commands: &[Command]) -> Result<Option<Replies>, Fault> {
        let Some(calls) = self.short_calls(commands) else { return Ok(None) };
        let limits = self.short(self.limits_of_reads(), calls.len());
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        if !self.show(&mut reader)? {
            return Ok(None);
        }
        reader.set_limits(limits);
        reader.hold_lines();
        let mut output = Output::default();
        match reader.run(&calls, &mut output.bytes, &mut output.ends) {
            Ok(()) => {
                reader.release_lines();
                self.reader = Some(reader);
                Ok(Some(output.replies()))
            }
            Err(Failure::Host(fault)) => Err(fault),
            Err(_) => {
                self.note_long(&calls, LONG_TURNS);
                Ok(None)
            }
        }
    }

    /// Applies a proposal as `apply` does if it has writes only and they are short; nothing if not: then `apply` is to do it.
    pub(in crate::machine) fn apply_short(
        &mut self,
        index: u64,
        proposal: &Proposal,
    ) -> Result<Option<Replies>, Fault> {
        if proposal.as_bytes().len() > PROPOSAL_BYTES_MAX {
            return Ok(None);
        }
        // The apply thread takes the next base.
        if self.silent
            || self.is_spoiled
            || self.journal.is_long(self.writer.memory_bytes(), || !self.base.image.is_free())
        {
            return Ok(None);
        }
        let (header, commands) = decode(index, proposal)?;
        #[cfg(feature = "figures")]
        if native::wanted() == Some(native::Native::Guest) {
            return Ok(Some(native::replies(commands.len())));
        }
        let is_plain = !is_special(&header) && commands.len() <= COMMANDS_MAX && !commands.iter().any(Command::is_read);
        let Some(calls) = is_plain.then(|| self.short_calls(&commands)).flatten() else { return Ok(None) };
        if !self.is_stand_in {
            obedience::check(&self.guest, self.settings.as_ref(), index, &header)?;
        }
        let limits = self.limits();
        self.begin(&header);
        self.ticking |= !commands.is_empty();
        self.writer.set_limits(self.short(limits, calls.len()));
        self.writer.hold_lines();
        let mut output = Output::default();
        let ran = self.writer.run(&calls, &mut output.bytes, &mut output.ends);
        self.writer.set_limits(limits);
        match ran {
            Ok(()) => {
                self.ran_at_once(proposal, commands.len());
                self.note_digest(index, proposal, &output);
                Ok(Some(output.replies()))
            }
            Err(failure) => {
                self.is_spoiled = true;
                self.note_long(&calls, LONG_WRITE_TURNS);
                // The apply thread has more stack for itself, and judges.
                if let Failure::Host(fault) = failure { Err(fault) } else { Ok(None) }
            }
        }
    }

    /// Whether `mend` has something to do; until then the state is not one.
    pub(in crate::machine) fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// Goes back to the state after the last proposal if one that was not short has been tried since. That may take as
    /// long as the proposals since the base, so it is for the apply thread.
    pub(in crate::machine) fn mend(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.is_spoiled) { self.rewind() } else { Ok(()) }
    }

    /// The calls of commands that may be short; `None` if one may not.
    fn short_calls<'a>(&mut self, commands: &'a [Command]) -> Option<Vec<Call<'a>>> {
        if self.guest.uses_resources() {
            return None;
        }
        let mut calls = Vec::with_capacity(commands.len());
        for command in commands {
            let position = self.position(command)?;
            let turns = &mut self.long[position as usize];
            if *turns > 0 {
                *turns -= 1;
                return None;
            }
            calls.push(Call { command: position, args: command.args() });
        }
        Some(calls)
    }

    fn note_long(&mut self, calls: &[Call<'_>], turns: u16) {
        calls.iter().for_each(|call| self.long[call.command as usize] = turns);
    }

    /// These limits, or less.
    fn short(&self, limits: Limits, count: usize) -> Limits {
        // Without a batch each command has the fuel to itself.
        let calls = if self.guest.optional().batch { 1 } else { count.max(1) as u64 };
        Limits {
            fuel_max: limits.fuel_max.min(FUEL_MAX / calls),
            replies_bytes_max: limits.replies_bytes_max.min(REPLIES_BYTES_MAX),
            ..limits
        }
    }
}

/// Whether more belongs to a proposal than its commands.
fn is_special(header: &Header) -> bool {
    header.seed.is_some() || header.settings.is_some() || header.checks.mark
}
