//! Reads the RESP3 of a reply back into the tokens of the contract, for guests that are called one command at a time.

#[cfg(not(target_arch = "wasm32"))]
use super::Reply;

/// The RESP3 of a [`ReplyWriter`](super::ReplyWriter), read back as tokens in pre-order.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    resp3: &'a [u8],
    doubles: &'a [f64],
}

/// One value, or the head of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Simple(&'a str),
    Bulk(&'a [u8]),
    Verbatim(&'a str),
    BigNumber(&'a str),
    Error(&'a str),
    Array(u32),
    Map(u32),
    Set(u32),
}

impl<'a> Tokens<'a> {
    pub(super) fn new(resp3: &'a [u8], doubles: &'a [f64]) -> Self {
        Tokens { resp3, doubles }
    }

    /// The next value as a tree; none at the end.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn value(&mut self) -> Option<Reply> {
        Some(match self.next()? {
            Token::Null => Reply::Null,
            Token::Boolean(value) => Reply::Boolean(value),
            Token::Integer(value) => Reply::Integer(value),
            Token::Double(value) => Reply::Double(value),
            Token::Simple(text) => Reply::Simple(text.to_owned()),
            Token::Bulk(bytes) => Reply::Bulk(bytes.to_vec()),
            Token::Verbatim(text) => Reply::Verbatim(text.to_owned()),
            Token::BigNumber(digits) => Reply::BigNumber(digits.to_owned()),
            Token::Error(text) => Reply::Error(text.to_owned()),
            Token::Array(count) => Reply::Array((0..count).map(|_| self.value()).collect::<Option<_>>()?),
            Token::Set(count) => Reply::Set((0..count).map(|_| self.value()).collect::<Option<_>>()?),
            Token::Map(count) => {
                Reply::Map((0..count).map(|_| Some((self.value()?, self.value()?))).collect::<Option<_>>()?)
            }
        })
    }

    fn line(&mut self) -> Option<&'a str> {
        let end = self.resp3.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, rest) = self.resp3.split_at(end);
        self.resp3 = &rest[2..];
        std::str::from_utf8(line).ok()
    }

    fn bytes(&mut self, length: &str) -> Option<&'a [u8]> {
        let (bytes, rest) = self.resp3.split_at_checked(length.parse().ok()?)?;
        self.resp3 = rest.strip_prefix(b"\r\n")?;
        Some(bytes)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (prefix, rest) = self.resp3.split_first()?;
        self.resp3 = rest;
        let line = self.line()?;
        Some(match prefix {
            b'_' => Token::Null,
            b'#' => Token::Boolean(line == "t"),
            b':' => Token::Integer(line.parse().ok()?),
            b',' => {
                let (value, rest) = self.doubles.split_first()?;
                self.doubles = rest;
                Token::Double(*value)
            }
            b'+' => Token::Simple(line),
            b'$' => Token::Bulk(self.bytes(line)?),
            b'=' => Token::Verbatim(std::str::from_utf8(self.bytes(line)?.strip_prefix(b"txt:")?).ok()?),
            b'(' => Token::BigNumber(line),
            b'-' => Token::Error(line),
            b'*' => Token::Array(line.parse().ok()?),
            b'%' => Token::Map(line.parse().ok()?),
            b'~' => Token::Set(line.parse().ok()?),
            _ => return None,
        })
    }
}
