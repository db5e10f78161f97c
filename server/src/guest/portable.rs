//! `portable`: the state in a form of the guest's own, as a stream of bytes out of one instance and into another, which
//! may be of another module, on another engine or processor.

use super::instance::Failure;
use crate::fault::Fault;
use std::io::{self, Read, Write};

/// Of what the guest writes or reads at once.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Why a state could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum PortableError {
    #[error("the guest does not export `uhaha:machine/portable@0.1.0`, so it has no form of its state of its own")]
    Missing,
    #[error("the guest refuses: {0}")]
    Refused(String),
    #[error("the guest failed")]
    Failed(#[source] Failure),
    #[error("the guest needs more than {0} units of fuel, which is --guest-start-fuel")]
    Fuel(u64),
    #[error("the bytes of the state could not be passed on")]
    Stream(#[source] io::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What is behind `portable-io`.
#[derive(Default)]
pub(super) enum Stream {
    /// At any other time than in `save` and `load`.
    #[default]
    Closed,
    Saving(Box<dyn Write + Send>),
    Loading(Box<dyn Read + Send>),
    /// It failed, which is not the guest's fault.
    Broken(io::Error),
}

impl Stream {
    pub(super) fn write(&mut self, chunk: &[u8]) -> wasmtime::Result<()> {
        let Stream::Saving(output) = self else {
            return Err(wasmtime::Error::msg("portable-io.write is for portable.save only"));
        };
        if chunk.len() > CHUNK_BYTES_MAX {
            let bytes = chunk.len();
            let message = format!("portable-io.write: {bytes} is over the limit of {CHUNK_BYTES_MAX}");
            return Err(wasmtime::Error::msg(message));
        }
        output.write_all(chunk).or_else(|error| self.give_up(error))
    }

    /// Empty at the end, and when nothing is asked for.
    pub(super) fn read(&mut self, max: u32) -> wasmtime::Result<Vec<u8>> {
        let Stream::Loading(input) = self else {
            return Err(wasmtime::Error::msg("portable-io.read is for portable.load only"));
        };
        let mut chunk = vec![0; CHUNK_BYTES_MAX.min(max as usize)];
        match input.read(&mut chunk) {
            Ok(bytes) => {
                chunk.truncate(bytes);
                Ok(chunk)
            }
            Err(error) => self.give_up(error),
        }
    }

    fn give_up<T>(&mut self, error: io::Error) -> wasmtime::Result<T> {
        *self = Stream::Broken(error);
        Err(wasmtime::Error::msg("the stream of portable-io is broken"))
    }
}
