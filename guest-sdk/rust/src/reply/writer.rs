//! `ReplyWriter`: the one place that knows how a reply is encoded.

use std::io::Write as _;

use super::Tokens;

/// Writes one reply as RESP3.
///
/// There is one encoding in the SDK: the batch path hands these bytes to the server, and the path of one command
/// reads them back into tokens, so the two cannot differ.
///
/// An aggregate is followed by its elements: `array(2)`, `bulk(b"a")`, `integer(1)`.
///
/// # Panics
/// A reply is exactly one complete value. Writing a second one panics, as does leaving an aggregate without all of
/// its elements: the command then counts as trapped and has no effect.
#[derive(Debug)]
pub struct ReplyWriter {
    bytes: Vec<u8>,
    /// How many values are still to come.
    pending: u64,
    /// The doubles of the reply as they were: read back from here they are exact, and guests that have none do
    /// not carry the code that parses them.
    doubles: Vec<f64>,
}

impl ReplyWriter {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        ReplyWriter { bytes: Vec::with_capacity(bytes), pending: 0, doubles: Vec::new() }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The tokens of the one reply that was written.
    pub(crate) fn tokens(&self) -> Tokens<'_> {
        Tokens::new(&self.bytes[4..], &self.doubles)
    }

    /// Puts bytes that belong to no reply.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins a reply with the place for its length and returns where that is.
    #[inline]
    pub(crate) fn begin(&mut self) -> usize {
        self.pending = 1;
        self.doubles.clear();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        start
    }

    /// Ends the reply that began there.
    #[inline]
    pub(crate) fn end(&mut self, start: usize) {
        assert!(self.pending == 0, "a reply lacks {} values", self.pending);
        let (place, reply) = self.bytes[start..].split_at_mut(4);
        let length = u32::try_from(reply.len()).expect("a reply of a 32-bit guest has a 32-bit length");
        place.copy_from_slice(&length.to_le_bytes());
    }

    #[inline]
    fn value(&mut self) {
        self.pending = self.pending.checked_sub(1).expect("a reply is one value");
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.value();
        self.raw(b"_\r\n");
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) {
        self.value();
        self.raw(if value { b"#t\r\n" } else { b"#f\r\n" });
    }

    /// A whole number.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.value();
        self.number(b':', value < 0, value.unsigned_abs());
    }

    /// A number; may be infinite or not a number.
    pub fn double(&mut self, value: f64) {
        self.value();
        self.doubles.push(value);
        if value.is_nan() {
            self.raw(b",nan\r\n");
        } else {
            self.bytes.push(b',');
            // Writing to a vector cannot fail.
            let _ = write!(self.bytes, "{value}");
            self.raw(b"\r\n");
        }
    }

    /// A short status such as `OK`. Line breaks become spaces.
    pub fn simple(&mut self, text: &str) {
        self.value();
        self.line(b'+', text);
    }

    /// Any bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.value();
        self.number(b'$', false, bytes.len() as u64);
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// Text that a client should show as it is.
    pub fn verbatim(&mut self, text: &str) {
        self.value();
        self.number(b'=', false, text.len() as u64 + 4);
        self.raw(b"txt:");
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    /// A whole number of any length: decimal digits with an optional sign.
    ///
    /// # Panics
    /// When the text is anything else.
    pub fn big_number(&mut self, digits: &str) {
        let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let valid = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        assert!(valid, "not a number: {digits}");
        self.value();
        self.line(b'(', digits);
    }

    /// An error among other values, or as the reply. Line breaks become spaces.
    pub fn error(&mut self, error: &crate::Error) {
        self.value();
        self.line(b'-', error.as_str());
    }

    /// Followed by this many values.
    pub fn array(&mut self, count: usize) {
        self.aggregate(b'*', count, count as u64);
    }

    /// Followed by this many pairs of values.
    pub fn map(&mut self, count: usize) {
        self.aggregate(b'%', count, 2 * count as u64);
    }

    /// Followed by this many values.
    pub fn set(&mut self, count: usize) {
        self.aggregate(b'~', count, count as u64);
    }

    fn aggregate(&mut self, prefix: u8, count: usize, values: u64) {
        self.value();
        self.pending += values;
        self.number(prefix, false, count as u64);
    }

    fn line(&mut self, prefix: u8, text: &str) {
        self.bytes.push(prefix);
        self.bytes.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.raw(b"\r\n");
    }

    #[inline]
    fn number(&mut self, prefix: u8, negative: bool, mut magnitude: u64) {
        // Prefix, sign, 20 digits, line end: built from the back, appended at once.
        let mut line = [0; 24];
        let mut at = line.len() - 2;
        line[at..].copy_from_slice(b"\r\n");
        loop {
            at -= 1;
            line[at] = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        if negative {
            at -= 1;
            line[at] = b'-';
        }
        at -= 1;
        line[at] = prefix;
        self.raw(&line[at..]);
    }
}
