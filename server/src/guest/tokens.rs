//! A typed reply, a flat list of tokens, becomes the RESP3 bytes that a batch would have given.

use super::bindings::Token;
use crate::resp3::{self, Malformed, PutToken};
use std::borrow::Cow;

/// Appends the reply of `handler.handle` to `out`; an error string becomes an error reply.
pub(super) fn put_reply(out: &mut Vec<u8>, reply: &Result<Vec<Token>, String>) -> Result<(), Malformed> {
    let start = out.len();
    match reply {
        Ok(tokens) => tokens.iter().for_each(|token| put_token(out, token)),
        Err(message) => out.put_token(resp3::Token::Error(coded(message).as_bytes())),
    }
    resp3::check(&out[start..])
}

fn put_token(out: &mut Vec<u8>, token: &Token) {
    match token {
        Token::Null => out.put_token(resp3::Token::Null),
        Token::Boolean(value) => out.put_token(resp3::Token::Boolean(*value)),
        Token::Integer(value) => out.put_token(resp3::Token::Integer(*value)),
        Token::Double(value) => out.put_token(resp3::Token::Double(resp3::double_text(*value).as_bytes())),
        Token::Simple(text) => out.put_token(resp3::Token::Simple(text.as_bytes())),
        Token::Bulk(bytes) => out.put_token(resp3::Token::Bulk(bytes)),
        Token::Verbatim(text) => out.put_token(resp3::Token::Verbatim(format!("txt:{text}").as_bytes())),
        Token::BigNumber(digits) => out.put_token(resp3::Token::BigNumber(digits.as_bytes())),
        Token::Error(message) => out.put_token(resp3::Token::Error(coded(message).as_bytes())),
        Token::Array(count) => out.put_token(resp3::Token::Array(*count)),
        Token::Map(count) => out.put_token(resp3::Token::Map(*count)),
        Token::Set(count) => out.put_token(resp3::Token::Set(*count)),
    }
}

/// Puts `ERR` before a message that does not begin with a code of its own.
fn coded(message: &str) -> Cow<'_, str> {
    let word = message.split(' ').next().unwrap_or_default();
    let is_code = word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if is_code { Cow::Borrowed(message) } else { Cow::Owned(format!("ERR {message}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(reply: Result<Vec<Token>, String>) -> Result<String, Malformed> {
        let mut out = Vec::new();
        put_reply(&mut out, &reply).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn tokens_become_resp3() {
        let tokens = vec![Token::Map(1), Token::Simple("a".into()), Token::Array(2), Token::Null, Token::Double(1.5)];
        assert_eq!(put(Ok(tokens)).unwrap(), "%1\r\n+a\r\n*2\r\n_\r\n,1.5\r\n");
        assert_eq!(put(Ok(vec![Token::Verbatim("é".into())])).unwrap(), "=6\r\ntxt:é\r\n");
        assert_eq!(put(Ok(vec![Token::Double(f64::NAN)])).unwrap(), ",nan\r\n");
    }

    #[test]
    fn errors_get_a_code() {
        assert_eq!(put(Err("no such key".into())).unwrap(), "-ERR no such key\r\n");
        assert_eq!(put(Err("WRONGTYPE a\r\nb".into())).unwrap(), "-WRONGTYPE a  b\r\n");
        assert_eq!(put(Err("Wrong thing".into())).unwrap(), "-ERR Wrong thing\r\n");
        assert_eq!(put(Err(String::new())).unwrap(), "-ERR \r\n");
    }

    #[test]
    fn a_reply_is_one_whole_value() {
        assert_eq!(put(Ok(vec![])), Err(Malformed::CutShort));
        assert_eq!(put(Ok(vec![Token::Array(2), Token::Null])), Err(Malformed::CutShort));
        assert_eq!(put(Ok(vec![Token::Null, Token::Null])), Err(Malformed::TrailingBytes(3)));
        assert_eq!(put(Ok(vec![Token::BigNumber("1x".into())])), Err(Malformed::Field("big number")));
    }
}
