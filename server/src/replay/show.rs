//! Commands and replies as text: each on one line, whatever is in it.

use crate::command::Command;
use crate::resp3::{Token, Value};
use std::fmt::Write;

/// Of one string.
const STRING_BYTES_MAX: usize = 64;
/// Words of a command, or tokens of a reply.
const ITEMS_MAX: usize = 64;

/// The words of a command; those that a shell would not take for one word are quoted.
pub(super) fn command(command: &Command) -> String {
    let mut out = String::new();
    for (number, word) in command.words().iter().enumerate() {
        if number == ITEMS_MAX {
            put(&mut out, format_args!(" … {} more", command.words().len() - number));
            break;
        }
        if number > 0 {
            out.push(' ');
        }
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
        match !word.is_empty() && word.len() <= STRING_BYTES_MAX && word.iter().all(plain) {
            true => put(&mut out, format_args!("{}", word.escape_ascii())),
            false => quoted(&mut out, word),
        }
    }
    out
}

/// A reply: `OK`, `(error) ERR no`, `12`, `null`, `"text"`, `[1, 2]`, `{"a": 1}`, `~[1]`.
pub(super) fn reply(value: Value<'_>) -> String {
    let mut out = String::new();
    // What is still open: how many tokens are to come, of how many, and what closes it.
    let mut open: Vec<(u64, u64, Kind)> = Vec::new();
    for (number, token) in value.tokens().enumerate() {
        if number == ITEMS_MAX {
            put(&mut out, format_args!("… in all {} bytes", value.as_bytes().len()));
            return out;
        }
        if let Some((left, of, kind)) = open.last_mut() {
            let done = *of - *left;
            *left -= 1;
            out.push_str(match kind {
                _ if done == 0 => "",
                Kind::Map if done % 2 == 1 => ": ",
                _ => ", ",
            });
        }
        let aggregate = match token {
            Token::Array(count) => Some((u64::from(count), Kind::Array)),
            Token::Set(count) => Some((u64::from(count), Kind::Set)),
            Token::Map(count) => Some((2 * u64::from(count), Kind::Map)),
            scalar => {
                put_scalar(&mut out, &scalar);
                None
            }
        };
        if let Some((count, kind)) = aggregate {
            out.push_str(kind.opening());
            open.push((count, count, kind));
        }
        while let Some((0, _, kind)) = open.last() {
            out.push(kind.closing());
            open.pop();
        }
    }
    out
}

#[derive(Clone, Copy)]
enum Kind {
    Array,
    Map,
    Set,
}

impl Kind {
    fn opening(self) -> &'static str {
        match self {
            Kind::Array => "[",
            Kind::Map => "{",
            Kind::Set => "~[",
        }
    }

    fn closing(self) -> char {
        if matches!(self, Kind::Map) { '}' } else { ']' }
    }
}

fn put_scalar(out: &mut String, token: &Token<'_>) {
    match token {
        Token::Boolean(value) => put(out, format_args!("{value}")),
        Token::Integer(value) => put(out, format_args!("{value}")),
        Token::Double(text) | Token::BigNumber(text) | Token::Simple(text) => cut(out, text),
        Token::Error(text) => {
            out.push_str("(error) ");
            cut(out, text);
        }
        Token::Bulk(text) | Token::Verbatim(text) => quoted(out, text),
        // The others are no scalars.
        Token::Null | Token::Array(_) | Token::Map(_) | Token::Set(_) => out.push_str("null"),
    }
}

fn quoted(out: &mut String, bytes: &[u8]) {
    let shown = &bytes[..bytes.len().min(STRING_BYTES_MAX)];
    put(out, format_args!("\"{}\"", escaped(shown)));
    if shown.len() < bytes.len() {
        put(out, format_args!("… of {} bytes", bytes.len()));
    }
}

/// Errors and the like, which are short and text as a rule.
fn cut(out: &mut String, bytes: &[u8]) {
    let shown = &bytes[..bytes.len().min(4 * STRING_BYTES_MAX)];
    out.push_str(&escaped(shown));
    if shown.len() < bytes.len() {
        put(out, format_args!("… of {} bytes", bytes.len()));
    }
}

/// Text as it is, anything else as `\xHH`.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\'' => out.push(char),
                '\0'..='\x7f' => put(&mut out, format_args!("{}", (char as u8).escape_ascii())),
                _ => put(&mut out, format_args!("{}", char.escape_debug())),
            }
        }
        put(&mut out, format_args!("{}", chunk.invalid().escape_ascii()));
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_reply_of_any_type_is_one_line() {
        for (bytes, shown) in [
            ("+OK\r\n", "OK"),
            ("-ERR it's no\r\n", "(error) ERR it's no"),
            (":-3\r\n", "-3"),
            ("_\r\n", "null"),
            ("#t\r\n", "true"),
            (",1.5\r\n", "1.5"),
            ("$3\r\na\nb\r\n", r#""a\nb""#),
            ("$0\r\n\r\n", r#""""#),
            ("*0\r\n", "[]"),
            ("*2\r\n*1\r\n:1\r\n*0\r\n", "[[1], []]"),
            ("%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n~1\r\n:2\r\n", r#"{"a": 1, "b": ~[2]}"#),
        ] {
            assert_eq!(reply(Value::from_checked(bytes.as_bytes())), shown, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let long = format!("$1000\r\n{}\r\n", "x".repeat(1000));
        assert_eq!(reply(Value::from_checked(long.as_bytes())), format!("\"{}\"… of 1000 bytes", "x".repeat(64)));
        let many = format!("*1000\r\n{}", ":1\r\n".repeat(1000));
        let shown = reply(Value::from_checked(many.as_bytes()));
        assert!(shown.starts_with("[1, 1, ") && shown.ends_with("… in all 4007 bytes"), "{shown}");
        assert!(shown.len() < 300);
    }

    #[test]
    fn a_command_is_one_line_and_its_words_can_be_told_apart() {
        let words = |words: &[&[u8]]| {
            let words = words.iter().map(|word| Bytes::copy_from_slice(word)).collect();
            command(&Command::new(words).unwrap())
        };
        assert_eq!(words(&[b"SET", b"a b", b"", b"\x00\xff\n", "ü".as_bytes()]), r#"SET "a b" "" "\x00\xff\n" "ü""#);
        assert_eq!(words(&[b"GET", b"key:1"]), "GET key:1");
        let many = vec![&b"x"[..]; 100];
        assert!(words(&many).ends_with(" x … 36 more"));
    }
}
