//! Calls of `portable`.

use super::{Failure, Instance};
use crate::fault::Fault;
use crate::guest::portable::{PortableError, Stream};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Of what a guest says when it refuses; the rest is cut off.
const REFUSAL_BYTES_MAX: usize = 1 << 10;

/// What both functions return.
type Answer = (Result<(), String>,);

/// What is written to by a store, and given back when that is done.
struct Shared<W>(Arc<Mutex<W>>);

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl Instance {
    /// Has the guest write its state. It may change by that, so this should be a copy.
    pub fn save<W: Write + Send + 'static>(&mut self, output: W) -> Result<W, PortableError> {
        let output = Arc::new(Mutex::new(output));
        self.pass(None, Stream::Saving(Box::new(Shared(Arc::clone(&output)))))?;
        let output = Arc::into_inner(output).ok_or_else(|| Fault::new("the output of a state is still in use"))?;
        Ok(output.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the guest take a state that a guest wrote whose state version was this. The instance should be fresh, and is
    /// of no use after an error.
    pub fn load(&mut self, state_version: u32, input: impl Read + Send + 'static) -> Result<(), PortableError> {
        self.pass(Some(state_version), Stream::Loading(Box::new(input)))
    }

    /// Calls `portable.save`, or `portable.load` for a form of this version, while `portable-io` is this stream.
    fn pass(&mut self, load: Option<u32>, stream: Stream) -> Result<(), PortableError> {
        let portable = self.exports.portable.ok_or(PortableError::Missing)?;
        self.refuel(self.limits.start_fuel_max).map_err(sorted)?;
        self.store.data_mut().stream = stream;
        let result = match load {
            None => portable.save.typed::<(), Answer>(&self.store).and_then(|save| save.call(&mut self.store, ())),
            Some(version) => {
                let load = portable.load.typed::<(u32,), Answer>(&self.store);
                load.and_then(|load| load.call(&mut self.store, (version,)))
            }
        };
        let answer = self.checked(result);
        match std::mem::take(&mut self.store.data_mut().stream) {
            Stream::Broken(error) => Err(PortableError::Stream(error)),
            _ => answer.map_err(sorted)?.0.map_err(|refusal| PortableError::Refused(shortened(refusal))),
        }
    }
}

fn sorted(failure: Failure) -> PortableError {
    match failure {
        Failure::Host(fault) => fault.into(),
        Failure::Fuel(fuel) => PortableError::Fuel(fuel),
        failure => PortableError::Failed(failure),
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REFUSAL_BYTES_MAX));
    text
}
