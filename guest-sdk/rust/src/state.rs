//! The state in the form in which it goes to another module or another cluster.
//!
//! The bytes are [postcard](https://postcard.jamesmunns.com/wire-format)'s, whose format is stable.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Machine};

/// The state from the bytes of a save. For [`migrate`](crate::Machine::migrate), with the state type of before.
///
/// # Errors
/// That the bytes are not of this type.
pub fn decode<T: DeserializeOwned>(state: &[u8]) -> Result<T, Error> {
    let unreadable = |reason: postcard::Error| Error::new(format!("state cannot be read: {reason}"));
    let (value, rest) = postcard::take_from_bytes(state).map_err(unreadable)?;
    if rest.is_empty() { Ok(value) } else { Err(Error::new(format!("state has {} bytes too many", rest.len()))) }
}

/// Gives the state to `write` in chunks of at most 1 MiB.
pub(crate) fn save<T: Serialize>(state: &T, write: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut chunks = Chunks { chunk: Vec::with_capacity(CHUNK_BYTES), write };
    postcard::serialize_with_flavor(state, &mut chunks)
        .map_err(|reason| Error::new(format!("state cannot be written: {reason}")))
}

/// The state from what `read` gives, until it gives nothing.
pub(crate) fn load<M: Machine>(state_version: u32, mut read: impl FnMut(u32) -> Vec<u8>) -> Result<M, Error> {
    let mut state = Vec::new();
    loop {
        let chunk = read(CHUNK_BYTES as u32);
        if chunk.is_empty() {
            break;
        }
        state.extend_from_slice(&chunk);
    }
    if state_version == M::STATE_VERSION { decode(&state) } else { M::migrate(state_version, &state) }
}

/// Large enough that the calls cost nothing, small enough for any memory limit; the contract allows 1 MiB.
const CHUNK_BYTES: usize = 256 << 10;

struct Chunks<W> {
    chunk: Vec<u8>,
    write: W,
}

impl<W: FnMut(&[u8])> Chunks<W> {
    fn flush(&mut self) {
        if !self.chunk.is_empty() {
            (self.write)(&self.chunk);
            self.chunk.clear();
        }
    }
}

impl<W: FnMut(&[u8])> postcard::ser_flavors::Flavor for &mut Chunks<W> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, mut bytes: &[u8]) -> postcard::Result<()> {
        while self.chunk.len() + bytes.len() > CHUNK_BYTES {
            let (head, tail) = bytes.split_at(CHUNK_BYTES - self.chunk.len());
            self.chunk.extend_from_slice(head);
            self.flush();
            bytes = tail;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        self.flush();
        Ok(())
    }
}
