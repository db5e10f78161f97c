//! Replies to bytes, in the protocol version that the client speaks.
//!
//! A guest's reply is RESP3 already: a RESP3 client gets its bytes as they are, a RESP2 client gets each token in the
//! nearest type that RESP2 has. That needs no look ahead, since an aggregate's new count follows from its old one.

use crate::dispatch::Resp;
use crate::reply::Reply;
use crate::resp3::{self, PutToken, Token, Value};
use bytes::{BufMut, BytesMut};

/// Appends one reply.
pub fn encode(out: &mut BytesMut, resp: Resp, reply: &Reply) {
    match resp {
        Resp::V3 => encode3(out, reply),
        Resp::V2 => encode2(out, reply),
    }
}

/// Appends one reply of a guest.
pub fn encode_value(out: &mut BytesMut, resp: Resp, value: Value<'_>) {
    match value.as_bytes() {
        // These are the same in both versions, and few replies are anything else.
        bytes @ [b':' | b'+' | b'-' | b'$', ..] => out.put_slice(bytes),
        bytes if resp == Resp::V3 => out.put_slice(bytes),
        _ => value.tokens().for_each(|token| put_token2(out, token)),
    }
}

fn encode3(out: &mut BytesMut, reply: &Reply) {
    match reply {
        Reply::Null | Reply::NullArray => out.put_token(Token::Null),
        Reply::Boolean(value) => out.put_token(Token::Boolean(*value)),
        Reply::Integer(value) => out.put_token(Token::Integer(*value)),
        Reply::Double(value) => out.put_token(Token::Double(resp3::double_text(*value).as_bytes())),
        Reply::Simple(text) => out.put_token(Token::Simple(text.as_bytes())),
        Reply::Bulk(bytes) => out.put_token(Token::Bulk(bytes)),
        Reply::Verbatim(text) => {
            out.put_number(b'=', text.len() as i64 + 4);
            out.put_slice(b"txt:");
            out.put_slice(text.as_bytes());
            out.put_slice(b"\r\n");
        }
        Reply::Error(error) => out.put_token(Token::Error(error.to_string().as_bytes())),
        Reply::Array(items) => put_items(out, b'*', items, encode3),
        Reply::Set(items) => put_items(out, b'~', items, encode3),
        Reply::Push(items) => put_items(out, b'>', items, encode3),
        Reply::Several(replies) => replies.iter().for_each(|reply| encode3(out, reply)),
        Reply::Map(pairs) => {
            out.put_number(b'%', pairs.len() as i64);
            for (key, value) in pairs {
                encode3(out, key);
                encode3(out, value);
            }
        }
    }
}

fn encode2(out: &mut BytesMut, reply: &Reply) {
    match reply {
        Reply::Null => out.put_slice(b"$-1\r\n"),
        Reply::NullArray => out.put_slice(b"*-1\r\n"),
        Reply::Several(replies) => replies.iter().for_each(|reply| encode2(out, reply)),
        Reply::Boolean(value) => out.put_number(b':', i64::from(*value)),
        Reply::Double(value) => out.put_token(Token::Bulk(resp3::double_text(*value).as_bytes())),
        Reply::Verbatim(text) => out.put_token(Token::Bulk(text.as_bytes())),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => put_items(out, b'*', items, encode2),
        Reply::Map(pairs) => {
            out.put_number(b'*', pairs.len() as i64 * 2);
            for (key, value) in pairs {
                encode2(out, key);
                encode2(out, value);
            }
        }
        // The same in both versions.
        Reply::Integer(_) | Reply::Simple(_) | Reply::Bulk(_) | Reply::Error(_) => encode3(out, reply),
    }
}

fn put_items(out: &mut BytesMut, marker: u8, items: &[Reply], encode: fn(&mut BytesMut, &Reply)) {
    out.put_number(marker, items.len() as i64);
    for item in items {
        encode(out, item);
    }
}

fn put_token2(out: &mut BytesMut, token: Token<'_>) {
    match token {
        Token::Null => out.put_slice(b"$-1\r\n"),
        Token::Boolean(value) => out.put_number(b':', i64::from(value)),
        Token::Double(text) | Token::BigNumber(text) => out.put_token(Token::Bulk(text)),
        // Without the three letters of its format and the colon, which a checked value has.
        Token::Verbatim(text) => out.put_token(Token::Bulk(text.get(4..).unwrap_or_default())),
        Token::Map(count) => out.put_number(b'*', i64::from(count) * 2),
        Token::Set(count) => out.put_number(b'*', i64::from(count)),
        same => out.put_token(same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ErrorCode;
    use bytes::Bytes;
    use redis_protocol::resp2;
    use redis_protocol::resp3 as protocol3;

    fn bytes(resp: Resp, reply: &Reply) -> String {
        let mut out = BytesMut::new();
        encode(&mut out, resp, reply);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn every_type() -> Vec<(Reply, &'static str, &'static str)> {
        let one = || Reply::Integer(1);
        vec![
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
            (Reply::Boolean(false), ":0\r\n", "#f\r\n"),
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Reply::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::Bulk(Bytes::from_static(b"a\r\nb")), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (Reply::Verbatim("hi".into()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Reply::error(ErrorCode::Err, "a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (Reply::Array(vec![one(), Reply::Null]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (Reply::Map(vec![(one(), Reply::Null)]), "*2\r\n:1\r\n$-1\r\n", "%1\r\n:1\r\n_\r\n"),
            (Reply::Set(vec![one()]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Push(vec![Reply::bulk("x")]), "*1\r\n$1\r\nx\r\n", ">1\r\n$1\r\nx\r\n"),
        ]
    }

    #[test]
    fn writes_every_type_in_both_versions() {
        for (reply, two, three) in every_type() {
            assert_eq!(bytes(Resp::V2, &reply), two, "{reply:?}");
            assert_eq!(bytes(Resp::V3, &reply), three, "{reply:?}");
        }
    }

    #[test]
    fn converts_a_guests_reply_token_by_token() {
        let table: &[(&str, &str)] = &[
            ("_\r\n", "$-1\r\n"),
            ("#t\r\n", ":1\r\n"),
            ("#f\r\n", ":0\r\n"),
            (":-5\r\n", ":-5\r\n"),
            (",inf\r\n", "$3\r\ninf\r\n"),
            ("(-123456789012345678901234567890\r\n", "$31\r\n-123456789012345678901234567890\r\n"),
            ("=6\r\ntxt:hi\r\n", "$2\r\nhi\r\n"),
            ("=4\r\ntxt:\r\n", "$0\r\n\r\n"),
            ("+OK\r\n", "+OK\r\n"),
            ("-ERR no\r\n", "-ERR no\r\n"),
            (
                "%2\r\n$1\r\na\r\n*1\r\n_\r\n$1\r\nb\r\n~1\r\n#t\r\n",
                "*4\r\n$1\r\na\r\n*1\r\n$-1\r\n$1\r\nb\r\n*1\r\n:1\r\n",
            ),
            ("*0\r\n", "*0\r\n"),
            ("%0\r\n", "*0\r\n"),
        ];
        for (three, two) in table {
            resp3::check(three.as_bytes()).unwrap();
            let value = Value::from_checked(three.as_bytes());
            for (resp, expected) in [(Resp::V3, three), (Resp::V2, two)] {
                let mut out = BytesMut::new();
                encode_value(&mut out, resp, value);
                assert_eq!(out, expected.as_bytes(), "{three:?}");
            }
        }
    }

    /// A decoder which is not ours reads what we write, to the last byte.
    #[test]
    fn redis_protocol_reads_what_is_written() {
        for (reply, ..) in every_type() {
            let two = Bytes::from(bytes(Resp::V2, &reply));
            let (_, taken) = resp2::decode::decode_bytes(&two).unwrap().unwrap();
            assert_eq!(taken, two.len(), "{reply:?}");
            let three = Bytes::from(bytes(Resp::V3, &reply));
            let (_, taken) = protocol3::decode::complete::decode_bytes(&three).unwrap().unwrap();
            assert_eq!(taken, three.len(), "{reply:?}");
        }
    }
}
