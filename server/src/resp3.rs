//! RESP3 as a value's canonical bytes: the form in which a guest's reply is checked, kept and passed on.
//!
//! Only what a reply may contain is accepted: no pushes, attributes, streamed strings or streamed aggregates.
//! See the RESP3 specification, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use bytes::BufMut;

/// The bytes of exactly one RESP3 value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

/// One piece of a value in pre-order: an aggregate is followed by the tokens of its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    /// As written: `1.5`, `inf`, `-inf` or `nan`.
    Double(&'a [u8]),
    Simple(&'a [u8]),
    Bulk(&'a [u8]),
    /// With the three letters of its format and a colon before the text.
    Verbatim(&'a [u8]),
    BigNumber(&'a [u8]),
    Error(&'a [u8]),
    Array(u32),
    /// Counted in pairs.
    Map(u32),
    Set(u32),
}

/// Why bytes are not one RESP3 value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a reply ends in the middle of a value")]
    CutShort,
    #[error("a reply has a value of unknown type {0:#04x}")]
    UnknownType(u8),
    #[error("a reply has a malformed {0}")]
    Field(&'static str),
    #[error("a reply has {0} bytes after its value")]
    TrailingBytes(usize),
}

impl<'a> Value<'a> {
    /// For bytes that `check` has passed already.
    pub fn from_checked(bytes: &'a [u8]) -> Value<'a> {
        debug_assert_eq!(check(bytes), Ok(()));
        Value(bytes)
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn tokens(self) -> Tokens<'a> {
        Tokens { rest: self.0 }
    }
}

/// Checks that `bytes` is exactly one value, without recursion and without memory of its own.
pub fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let mut tokens = Tokens { rest: bytes };
    let mut missing = 1_u64;
    while missing > 0 {
        let token = tokens.next_token()?;
        missing -= 1;
        // At most 2^33 more for each token read, and a token takes three bytes: far from overflow.
        missing += match token {
            Token::Array(count) | Token::Set(count) => u64::from(count),
            Token::Map(count) => 2 * u64::from(count),
            _ => 0,
        };
    }
    match tokens.rest.len() {
        0 => Ok(()),
        left => Err(Malformed::TrailingBytes(left)),
    }
}

/// Reads a value token by token.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if self.rest.is_empty() { None } else { self.next_token().ok() }
    }
}

impl<'a> Tokens<'a> {
    fn next_token(&mut self) -> Result<Token<'a>, Malformed> {
        let (&marker, _) = self.rest.split_first().ok_or(Malformed::CutShort)?;
        let line = self.line()?;
        Ok(match marker {
            b'_' if line.is_empty() => Token::Null,
            b'_' => return Err(Malformed::Field("null")),
            b'#' => match line {
                b"t" => Token::Boolean(true),
                b"f" => Token::Boolean(false),
                _ => return Err(Malformed::Field("boolean")),
            },
            b':' => Token::Integer(number(line, "integer")?),
            b',' => Token::Double(double(line)?),
            b'(' => Token::BigNumber(big_number(line)?),
            b'+' => Token::Simple(line),
            b'-' => Token::Error(line),
            b'$' => Token::Bulk(self.body(line)?),
            b'=' => {
                let body = self.body(line)?;
                if body.get(3) != Some(&b':') {
                    return Err(Malformed::Field("verbatim string"));
                }
                Token::Verbatim(body)
            }
            b'*' => Token::Array(number(line, "count")?),
            b'%' => Token::Map(number(line, "count")?),
            b'~' => Token::Set(number(line, "count")?),
            other => return Err(Malformed::UnknownType(other)),
        })
    }

    /// What stands between the marker and CR LF.
    fn line(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&byte| byte == b'\r' || byte == b'\n').ok_or(Malformed::CutShort)?;
        match self.rest.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(Malformed::Field("line end")),
            None => return Err(Malformed::CutShort),
        }
        // A line that ends where it begins has no marker.
        let line = self.rest[..end].get(1..).ok_or(Malformed::UnknownType(self.rest[end]))?;
        self.rest = &self.rest[end + 2..];
        Ok(line)
    }

    /// The bytes of a bulk string whose length is `length`.
    fn body(&mut self, length: &[u8]) -> Result<&'a [u8], Malformed> {
        let length = number::<u32>(length, "length")? as usize;
        let body = self.rest.get(..length).ok_or(Malformed::CutShort)?;
        match self.rest.get(length..length + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(Malformed::Field("bulk string")),
            None => return Err(Malformed::CutShort),
        }
        self.rest = &self.rest[length + 2..];
        Ok(body)
    }
}

fn number<T: std::str::FromStr>(digits: &[u8], what: &'static str) -> Result<T, Malformed> {
    // `+5` parses in Rust but is not canonical.
    if digits.first() == Some(&b'+') {
        return Err(Malformed::Field(what));
    }
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Field(what))
}

fn double(text: &[u8]) -> Result<&[u8], Malformed> {
    let known = matches!(text, b"inf" | b"-inf" | b"nan")
        || (text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            && std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok()));
    if known { Ok(text) } else { Err(Malformed::Field("double")) }
}

fn big_number(text: &[u8]) -> Result<&[u8], Malformed> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Field("big number"));
    }
    Ok(text)
}

/// Writes canonical tokens.
pub trait PutToken: BufMut {
    fn put_token(&mut self, token: Token<'_>) {
        match token {
            Token::Null => self.put_slice(b"_\r\n"),
            Token::Boolean(true) => self.put_slice(b"#t\r\n"),
            Token::Boolean(false) => self.put_slice(b"#f\r\n"),
            Token::Integer(value) => self.put_number(b':', value),
            Token::Double(text) => self.put_line(b',', text),
            Token::BigNumber(text) => self.put_line(b'(', text),
            Token::Simple(text) => self.put_line(b'+', text),
            Token::Error(text) => self.put_line(b'-', text),
            Token::Bulk(bytes) => self.put_body(b'$', bytes),
            Token::Verbatim(bytes) => self.put_body(b'=', bytes),
            Token::Array(count) => self.put_number(b'*', i64::from(count)),
            Token::Map(count) => self.put_number(b'%', i64::from(count)),
            Token::Set(count) => self.put_number(b'~', i64::from(count)),
        }
    }

    fn put_number(&mut self, marker: u8, value: i64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut left = value.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.put_u8(marker);
        if value < 0 {
            self.put_u8(b'-');
        }
        self.put_slice(&digits[at..]);
        self.put_slice(b"\r\n");
    }

    /// A line cannot contain CR or LF, so both become spaces.
    fn put_line(&mut self, marker: u8, text: &[u8]) {
        self.put_u8(marker);
        for part in text.split_inclusive(|&byte| byte == b'\r' || byte == b'\n') {
            match part.split_last() {
                Some((b'\r' | b'\n', line)) => {
                    self.put_slice(line);
                    self.put_u8(b' ');
                }
                _ => self.put_slice(part),
            }
        }
        self.put_slice(b"\r\n");
    }

    fn put_body(&mut self, marker: u8, bytes: &[u8]) {
        self.put_number(marker, bytes.len() as i64);
        self.put_slice(bytes);
        self.put_slice(b"\r\n");
    }
}

impl<B: BufMut> PutToken for B {}

/// A double as RESP3 writes it.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roundtrip_every_token() {
        let tokens = [
            Token::Map(2),
            Token::Simple(b"a"),
            Token::Array(3),
            Token::Integer(i64::MIN),
            Token::Integer(i64::MAX),
            Token::Null,
            Token::Set(5),
            Token::Boolean(true),
            Token::Boolean(false),
            Token::Double(b"-1.5"),
            Token::Verbatim(b"txt:x\r\ny"),
            Token::BigNumber(b"-123456789012345678901234567890"),
            Token::Bulk(b""),
        ];
        let mut bytes = Vec::new();
        for token in tokens {
            bytes.put_token(token);
        }
        check(&bytes).unwrap();
        let value = Value::from_checked(&bytes);
        assert_eq!(value.tokens().collect::<Vec<_>>(), tokens);
    }

    #[test]
    fn an_empty_line_is_no_value_and_no_panic() {
        for bytes in [&b"\r\n"[..], b"*1\r\n\r\n", b"\r\n\r\n"] {
            assert_eq!(check(bytes), Err(Malformed::UnknownType(b'\r')));
        }
    }

    #[test]
    fn rejects_what_is_not_one_value() {
        for (bytes, why) in [
            (&b""[..], Malformed::CutShort),
            (b":1", Malformed::CutShort),
            (b":1\r", Malformed::CutShort),
            (b":1\n", Malformed::CutShort),
            (b":1\nx", Malformed::Field("line end")),
            (b":\r\n", Malformed::Field("integer")),
            (b":+1\r\n", Malformed::Field("integer")),
            (b":1\r\n:2\r\n", Malformed::TrailingBytes(4)),
            (b"*2\r\n:1\r\n", Malformed::CutShort),
            (b"*-1\r\n", Malformed::Field("count")),
            (b"*4294967296\r\n", Malformed::Field("count")),
            (b"$-1\r\n", Malformed::Field("length")),
            (b"$3\r\nab\r\n", Malformed::CutShort),
            (b"$1\r\nabc\r\n", Malformed::Field("bulk string")),
            (b"=2\r\nab\r\n", Malformed::Field("verbatim string")),
            (b"#x\r\n", Malformed::Field("boolean")),
            (b",1,5\r\n", Malformed::Field("double")),
            (b"(-\r\n", Malformed::Field("big number")),
            (b">1\r\n:1\r\n", Malformed::UnknownType(b'>')),
            (b"$?\r\n", Malformed::Field("length")),
        ] {
            assert_eq!(check(bytes), Err(why), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_error_line_cannot_break_the_framing() {
        let mut bytes = Vec::new();
        bytes.put_token(Token::Error(b"ERR a\r\nb"));
        assert_eq!(bytes, b"-ERR a  b\r\n");
    }

    #[test]
    fn nested_counts_cannot_overflow() {
        let deep = b"%4294967295\r\n".repeat(1000);
        assert_eq!(check(&deep), Err(Malformed::CutShort));
    }
}
