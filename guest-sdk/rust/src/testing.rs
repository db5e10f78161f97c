//! A machine in a test, without a server. Not there in a guest.

use crate::log::Level;
use crate::reply::Reply;
use crate::{Error, Kind, Machine, call, state};

pub(crate) mod host;

/// A machine with a clock and a generator of its own, called as the server calls it.
///
/// The clock and the generator belong to the thread: one tester at a time. A new tester is at time 0 with seed 0.
///
/// ```
/// use uhaha_guest::prelude::*;
/// use uhaha_guest::testing::Tester;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Counter(i64);
///
/// #[uhaha_guest::machine]
/// impl Counter {
///     /// Adds to the counter.
///     fn add(&mut self, amount: i64) -> Result<i64, Error> {
///         self.0 = self.0.checked_add(amount).ok_or("too much")?;
///         Ok(self.0)
///     }
/// }
///
/// let mut counter = Tester::<Counter>::new();
/// assert_eq!(counter.call("add", &["2"]), Reply::Integer(2));
/// assert_eq!(counter.call("ADD", &["x"]), Reply::from(Error::NOT_AN_INTEGER));
/// ```
#[derive(Debug)]
pub struct Tester<M> {
    machine: M,
}

impl<M: Machine> Tester<M> {
    /// A machine in its first state.
    pub fn new() -> Self {
        host::reset();
        Tester { machine: M::init() }
    }

    /// Runs a command and returns its reply; the arity is checked before, as the server does.
    pub fn call(&mut self, command: &str, args: &[&str]) -> Reply {
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.call_bytes(command, &args)
    }

    /// As [`call`](Self::call), with any bytes as arguments.
    ///
    /// # Panics
    /// When the machine's reply is not one complete value.
    pub fn call_bytes(&mut self, command: &str, args: &[&[u8]]) -> Reply {
        let position = M::COMMANDS.iter().position(|spec| spec.name.eq_ignore_ascii_case(command));
        let Some(position) = position else {
            return Error::new(format!("unknown command '{command}'")).into();
        };
        let spec = &M::COMMANDS[position];
        let count = args.len() as i32 + 1;
        if count != spec.arity && !(spec.arity < 0 && count >= -spec.arity) {
            return Error::wrong_number_of_arguments(command).into();
        }
        let machine = &mut self.machine;
        let reply = match spec.kind {
            Kind::Write => host::write(|| call::handle(machine, position as u32, args)),
            Kind::Read => host::read(|| call::handle(machine, position as u32, args)),
        };
        reply.tokens().value().expect("the reply is a complete value")
    }

    /// Runs commands by their positions in one batch, in the bytes of `batch.handle-batch`.
    pub fn call_batch(&mut self, commands: &[u8]) -> Vec<u8> {
        host::write(|| call::handle_batch(&mut self.machine, commands))
    }

    /// Runs a tick; true while something is waiting for time to pass.
    pub fn tick(&mut self) -> bool {
        host::write(|| self.machine.tick())
    }

    /// Sets the clock to nanoseconds since the epoch. It never goes back.
    pub fn set_time(&mut self, nanos: u64) {
        host::set_time(nanos);
    }

    /// Moves the clock.
    pub fn advance(&mut self, by: std::time::Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        host::set_time(host::time().saturating_add(by));
    }

    /// Seeds the generator, as the server does for every log entry.
    pub fn seed(&mut self, seed: u64) {
        host::seed(seed);
    }

    /// Takes the lines that were logged.
    pub fn log(&mut self) -> Vec<(Level, String)> {
        host::take_log()
    }

    /// The state as it would go to another cluster.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn save(&self) -> Result<Vec<u8>, Error> {
        let mut saved = Vec::new();
        state::save(&self.machine, |chunk| saved.extend_from_slice(chunk))?;
        Ok(saved)
    }

    /// Replaces the state by one of this version.
    ///
    /// # Errors
    /// That it cannot be read; the state is as before.
    pub fn load(&mut self, state_version: u32, mut state: &[u8]) -> Result<(), Error> {
        self.machine = state::load(state_version, |max| {
            let (chunk, rest) = state.split_at(state.len().min(max as usize));
            state = rest;
            chunk.to_vec()
        })?;
        Ok(())
    }

    /// The state.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M: Machine> Default for Tester<M> {
    fn default() -> Self {
        Tester::new()
    }
}
