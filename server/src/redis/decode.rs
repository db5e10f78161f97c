//! Bytes to commands: multibulk and inline requests, read piece by piece.
//!
//! A request is scanned once, however many pieces it comes in: the decoder remembers how far it looked and where the
//! arguments lie, and cuts them out of the read buffer without copying when the last byte is there. The errors and
//! their texts are Redis' own.
//!
//! redis-protocol is not used for requests: it decodes a frame from its start each time more bytes arrive (quadratic
//! for a large argument that trickles in), knows no limits, no inline commands and not Redis' error texts. Replies of
//! ours are checked against it in the tests of `encode`.

use super::Options;
use super::inline;
use crate::command::Command;
use bytes::{Buf, Bytes, BytesMut};

/// What is read from the socket at once: starts small, grows for a client that fills it.
const READ_BYTES_MIN: usize = 16 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// The same for a client that has been silent for a while.
const READ_BYTES_SILENT: usize = 512;
/// An empty buffer larger than this is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// What a client may send before it has authenticated, as in Redis.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_ARGUMENT_BYTES_MAX: usize = 16 << 10;

/// Why the bytes of a client cannot be understood; the connection is closed after the error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("unauthenticated multibulk length")]
    StrangerMultibulkLength,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("unauthenticated bulk length")]
    StrangerBulkLength,
    #[error("expected '$', got '{}'", shown(*.0))]
    ExpectedBulk(u8),
    #[error("expected CR LF after an argument")]
    ArgumentEnd,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("too big inline request")]
    InlineTooBig,
    #[error("too big mbulk count string")]
    MultibulkLineTooBig,
    #[error("too big bulk count string")]
    BulkLineTooBig,
    #[error("too big request")]
    RequestTooBig,
    #[error("this port speaks the Redis protocol, not HTTP")]
    Http,
}

/// A byte in an error, as Redis has it: a line end is a blank. Others that cannot be seen it sends as they are.
fn shown(byte: u8) -> String {
    match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        b'\r' | b'\n' => ' '.to_string(),
        _ => byte.escape_ascii().to_string(),
    }
}

/// Where in a request the decoder stands.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Before the first byte of a request.
    Start,
    /// Before the header of an argument; so many are missing.
    Header { missing: usize },
    /// In the bytes of an argument; so many are missing, it included.
    Body { missing: usize, length: usize },
}

/// Cuts commands out of what a client sends.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
    buffer: BytesMut,
    stage: Stage,
    /// Where the part of the request begins that is not understood yet.
    at: usize,
    /// Up to here no line end was found.
    scanned: usize,
    /// Start and end of the arguments found, in the buffer.
    args: Vec<(usize, usize)>,
    read_bytes: usize,
    /// What the commands hold that were cut out since `settle`.
    cut_bytes: usize,
}

impl Decoder {
    pub fn new(options: Options) -> Decoder {
        Decoder {
            options,
            buffer: BytesMut::new(),
            stage: Stage::Start,
            at: 0,
            scanned: 0,
            args: Vec::new(),
            read_bytes: READ_BYTES_MIN,
            cut_bytes: 0,
        }
    }

    /// The memory behind requests: what has come of the next one, and those that were cut out.
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity() + self.args.capacity() * size_of::<(usize, usize)>() + self.cut_bytes
    }

    /// The commands that were cut out are done with.
    pub fn settle(&mut self) {
        self.cut_bytes = 0;
    }

    /// Whether `give_back` is worth a copy.
    pub fn is_roomy(&self) -> bool {
        self.buffer.capacity() > 2 * READ_BYTES_MIN + 2 * self.buffer.len()
    }

    /// Keeps no more room than for what has come, and reads little at first when there is something again.
    pub fn give_back(&mut self) {
        self.buffer = BytesMut::from(&self.buffer[..]);
        self.read_bytes = READ_BYTES_SILENT;
    }

    /// The buffer with room for the next read. It may be appended to only.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 4 {
            // At least doubling keeps the copying linear; no more than was sent is taken on a client's word.
            let missing = match self.stage {
                Stage::Body { length, .. } => (self.at + length + 2).saturating_sub(self.buffer.len()),
                _ => 0,
            };
            self.buffer.reserve(missing.min(self.buffer.len()).max(self.read_bytes));
        }
        &mut self.buffer
    }

    /// Tells how much the last read brought, so that the next one asks for a fitting size.
    pub fn took(&mut self, bytes: usize) {
        if bytes >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN.min(self.read_bytes));
        }
    }

    /// The next whole command, or `None` until more bytes are there. After an error the stream has no meaning.
    ///
    /// `authenticated` is asked for each command, since a stranger is held to smaller limits.
    pub fn next(&mut self, authenticated: bool) -> Result<Option<Command>, ProtocolError> {
        loop {
            let more = match self.stage {
                Stage::Start => match self.buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => self.multibulk(authenticated)?,
                    Some(_) => match self.inline()? {
                        Some(args) => match Command::new(args) {
                            Some(command) => return Ok(Some(command)),
                            None => true,
                        },
                        None => false,
                    },
                },
                Stage::Header { missing } => self.header(missing, authenticated)?,
                Stage::Body { missing, length } => match self.body(missing, length)? {
                    Body::Last => return Ok(self.cut()),
                    Body::Whole => true,
                    Body::Part => false,
                },
            };
            if !more {
                return Ok(None);
            }
        }
    }

    /// Reads `*count`; whether it was all there.
    fn multibulk(&mut self, authenticated: bool) -> Result<bool, ProtocolError> {
        let Some(count) = self.number(ProtocolError::MultibulkLineTooBig, ProtocolError::MultibulkLength)? else {
            return Ok(false);
        };
        let count = count.ok_or(ProtocolError::MultibulkLength)?;
        if count <= 0 {
            // Redis takes an empty request, and a negative one, for nothing at all.
            self.discard(self.at);
            return Ok(true);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.options.args_max {
            return Err(ProtocolError::MultibulkLength);
        }
        if !authenticated && count > STRANGER_ARGS_MAX {
            return Err(ProtocolError::StrangerMultibulkLength);
        }
        // An argument takes at least five bytes, so the count cannot ask for more than a read can bring.
        self.args.reserve(count.min(READ_BYTES_MIN / 5));
        self.stage = Stage::Header { missing: count };
        Ok(true)
    }

    /// Reads `$length`; whether it was all there.
    fn header(&mut self, missing: usize, authenticated: bool) -> Result<bool, ProtocolError> {
        let start = self.at;
        let Some(length) = self.number(ProtocolError::BulkLineTooBig, ProtocolError::BulkLength)? else {
            return Ok(false);
        };
        match self.buffer[start] {
            b'$' => {}
            other => return Err(ProtocolError::ExpectedBulk(other)),
        }
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(ProtocolError::BulkLength)?;
        if length > self.options.argument_bytes_max {
            return Err(ProtocolError::BulkLength);
        }
        if !authenticated && length > STRANGER_ARGUMENT_BYTES_MAX {
            return Err(ProtocolError::StrangerBulkLength);
        }
        if self.at.saturating_add(length) > self.options.request_bytes_max {
            return Err(ProtocolError::RequestTooBig);
        }
        self.stage = Stage::Body { missing, length };
        Ok(true)
    }

    fn body(&mut self, missing: usize, length: usize) -> Result<Body, ProtocolError> {
        let end = self.at + length;
        let Some(line_end) = self.buffer.get(end..end + 2) else {
            return Ok(Body::Part);
        };
        if line_end != b"\r\n" {
            return Err(ProtocolError::ArgumentEnd);
        }
        self.args.push((self.at, end));
        self.at = end + 2;
        self.scanned = self.at;
        if missing == 1 {
            return Ok(Body::Last);
        }
        self.stage = Stage::Header { missing: missing - 1 };
        Ok(Body::Whole)
    }

    /// Takes the finished request out of the buffer.
    fn cut(&mut self) -> Option<Command> {
        let whole = self.buffer.split_to(self.at).freeze();
        self.cut_bytes += whole.len() + self.args.len() * size_of::<Bytes>();
        let args = self.args.drain(..).map(|(start, end)| whole.slice(start..end)).collect();
        if self.args.capacity() > READ_BYTES_MIN {
            self.args = Vec::new();
        }
        self.restart();
        Command::new(args)
    }

    /// Reads a line of words; `None` until its end is there.
    fn inline(&mut self) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let Some(end) = self.find(b'\n', ProtocolError::InlineTooBig)? else {
            return Ok(None);
        };
        let mut line = self.buffer.split_to(end + 1).freeze();
        self.restart();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        let words = inline::split(&line).map_err(|inline::Unbalanced| ProtocolError::UnbalancedQuotes)?;
        self.cut_bytes += line.len() + words.len() * size_of::<Bytes>();
        if words.len() > self.options.args_max {
            return Err(ProtocolError::MultibulkLength);
        }
        // A web page can make a browser send these, with commands in the body: nothing after them may run.
        let http = match words.as_slice() {
            [.., version] if words.len() == 3 && version.starts_with(b"HTTP/") => true,
            [name, ..] => name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:"),
            [] => false,
        };
        if http { Err(ProtocolError::Http) } else { Ok(Some(words)) }
    }

    /// The number of the line at `at`, and `at` put behind it: `None` until the line is there, `Some(None)` for what
    /// is not a number.
    fn number(
        &mut self,
        too_big: ProtocolError,
        malformed: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let Some(end) = self.find(b'\r', too_big)? else {
            return Ok(None);
        };
        match self.buffer.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(malformed),
        }
        // The marker is read again by the caller, which knows what it should be.
        // An empty line has no marker either.
        let number = self.buffer.get(self.at + 1..end).and_then(canonical_number);
        self.at = end + 2;
        self.scanned = self.at;
        Ok(Some(number))
    }

    /// Where the line at `at` ends. The limit holds for a line that is whole too, so that it does not matter how
    /// the bytes were cut on the way.
    fn find(&mut self, byte: u8, too_big: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let from = self.scanned.max(self.at);
        let found = self.buffer[from..].iter().position(|&other| other == byte).map(|offset| from + offset);
        let length = found.unwrap_or(self.buffer.len()) - self.at;
        if length > self.options.inline_bytes_max {
            return Err(too_big);
        }
        if found.is_none() {
            self.scanned = self.buffer.len();
        }
        // A found line may still wait for the byte after it, and is then looked for again from its end.
        if let Some(end) = found {
            self.scanned = end;
        }
        Ok(found)
    }

    fn discard(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.restart();
    }

    fn restart(&mut self) {
        self.stage = Stage::Start;
        self.at = 0;
        self.scanned = 0;
    }
}

/// What came of looking for the bytes of an argument.
enum Body {
    Part,
    Whole,
    Last,
}

/// A decimal number as Redis reads lengths: no plus sign, no leading zeroes, no blanks.
fn canonical_number(digits: &[u8]) -> Option<i64> {
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    match magnitude {
        [b'0'] if digits.len() == 1 => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
