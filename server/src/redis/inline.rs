//! Inline commands: a line of words as a person types it, with Redis' quoting rules.
//!
//! `"…"` knows the escapes `\n \r \t \b \a \xHH` and `\` before any other character for itself; `'…'` knows only `\'`.
//! A quote may open in the middle of a word, but after it closes a blank or the end must follow.

use bytes::Bytes;

/// A quote that never closes, or that something follows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// The words of `line`, which does not hold its line end. A word without quotes is a slice of it.
pub(super) fn split(line: &Bytes) -> Result<Vec<Bytes>, Unbalanced> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_blank(*byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(words);
        }
        let start = at;
        while line.get(at).is_some_and(|&byte| !ends_word(byte) && byte != b'"' && byte != b'\'') {
            at += 1;
        }
        if matches!(line.get(at), Some(b'"' | b'\'')) {
            let mut word = line[start..at].to_vec();
            at = quoted_word(line, at, &mut word)?;
            words.push(Bytes::from(word));
        } else {
            words.push(line.slice(start..at));
            // A NUL ends a word as in Redis but is no blank, so it is stepped over here.
            at += usize::from(line.get(at) == Some(&0));
        }
    }
}

/// As C's `isspace` has it, which counts the vertical tab.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0)
}

/// Reads on from a quote to the end of its word and returns where that is.
fn quoted_word(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line.get(at) {
            Some(&quote @ (b'"' | b'\'')) => {
                at = quoted(line, at + 1, quote, word)?;
                return match line.get(at) {
                    Some(byte) if !is_blank(*byte) => Err(Unbalanced),
                    _ => Ok(at),
                };
            }
            Some(&byte) if !ends_word(byte) => word.push(byte),
            _ => return Ok(at),
        }
        at += 1;
    }
}

/// Reads up to the closing `quote` and returns the position after it.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let byte = *line.get(at).ok_or(Unbalanced)?;
        at += 1;
        if byte == quote {
            return Ok(at);
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        match (quote, line.get(at)) {
            (b'\'', Some(b'\'')) => {
                word.push(b'\'');
                at += 1;
            }
            (b'\'', _) => word.push(b'\\'),
            (_, Some(b'x')) if line.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) => {
                word.push(hex(line[at + 1]) << 4 | hex(line[at + 2]));
                at += 3;
            }
            (_, Some(&escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 1;
            }
            (_, None) => return Err(Unbalanced),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &'static str) -> Result<Vec<Vec<u8>>, Unbalanced> {
        split(&Bytes::from_static(line.as_bytes())).map(|words| words.iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn splits_as_redis_does() {
        let table: &[(&str, &[&[u8]])] = &[
            ("", &[]),
            (" \t ", &[]),
            ("PING", &[b"PING"]),
            ("  SET  a\tb ", &[b"SET", b"a", b"b"]),
            (r#"SET "a b" 'c d'"#, &[b"SET", b"a b", b"c d"]),
            (r#"x "\x41\n\r\t\b\a\q\"" "#, &[b"x", b"A\n\r\t\x08\x07q\""]),
            (r#"x "\x4g""#, &[b"x", b"x4g"]),
            (r"x 'a\'b\n'", &[b"x", b"a'b\\n"]),
            (r#"x foo"bar""#, &[b"x", b"foobar"]),
            (r#"x """#, &[b"x", b""]),
            ("a\0b", &[b"a", b"b"]),
            ("\"a\"\x0b'b'\x0c\x0bc", &[b"a", b"b", b"c"]),
        ];
        for (line, expected) in table {
            assert_eq!(words(line).unwrap(), *expected, "{line:?}");
        }
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in [r#"x "abc"#, r#"x "abc"d"#, "x 'abc", r"x 'a'b", r#"x "a\"#, r#"x ""b"#] {
            assert_eq!(words(line), Err(Unbalanced), "{line:?}");
        }
    }
}
