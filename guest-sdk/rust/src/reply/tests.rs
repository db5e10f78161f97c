use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::Error;

fn resp3(value: impl ToReply) -> String {
    let mut reply = ReplyWriter::with_capacity(0);
    let start = reply.begin();
    value.write(&mut reply);
    reply.end(start);
    let bytes = reply.into_bytes();
    assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_le_bytes());
    String::from_utf8(bytes[4..].to_vec()).expect("these replies are text")
}

#[test]
fn every_type_has_its_resp3() {
    assert_eq!(resp3(()), "+OK\r\n");
    assert_eq!(resp3(OK), "+OK\r\n");
    assert_eq!(resp3(Status("a\r\nb")), "+a  b\r\n");
    assert_eq!(resp3(true), "#t\r\n");
    assert_eq!(resp3(false), "#f\r\n");
    assert_eq!(resp3(0), ":0\r\n");
    assert_eq!(resp3(7u64), ":7\r\n");
    assert_eq!(resp3(i64::MIN), ":-9223372036854775808\r\n");
    assert_eq!(resp3(i64::MAX), ":9223372036854775807\r\n");
    assert_eq!(resp3(u64::MAX), "(18446744073709551615\r\n");
    assert_eq!(resp3(i128::from(i64::MIN) - 1), "(-9223372036854775809\r\n");
    assert_eq!(resp3(1.5), ",1.5\r\n");
    assert_eq!(resp3(2.0), ",2\r\n");
    assert_eq!(resp3(f64::INFINITY), ",inf\r\n");
    assert_eq!(resp3(f64::NEG_INFINITY), ",-inf\r\n");
    assert_eq!(resp3(f64::NAN), ",nan\r\n");
    assert_eq!(resp3("abc"), "$3\r\nabc\r\n");
    assert_eq!(resp3(String::from("ä")), "$2\r\nä\r\n");
    assert_eq!(resp3(b"abc"), "$3\r\nabc\r\n");
    assert_eq!(resp3(&b"abc"[..]), "$3\r\nabc\r\n");
    assert_eq!(resp3(vec![b'a']), "$1\r\na\r\n");
    assert_eq!(resp3(crate::Bytes::from("")), "$0\r\n\r\n");
    assert_eq!(resp3(Verbatim("abc")), "=7\r\ntxt:abc\r\n");
    assert_eq!(resp3(None::<u64>), "_\r\n");
    assert_eq!(resp3(Some("a")), "$1\r\na\r\n");
    assert_eq!(resp3(vec![1u64, 2]), "*2\r\n:1\r\n:2\r\n");
    assert_eq!(resp3([&b"a"[..]]), "*1\r\n$1\r\na\r\n");
    assert_eq!(resp3((1, "a", None::<bool>)), "*3\r\n:1\r\n$1\r\na\r\n_\r\n");
    assert_eq!(resp3(BTreeMap::from([("a", 1)])), "%1\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(resp3(BTreeSet::from([2, 1])), "~2\r\n:1\r\n:2\r\n");
    assert_eq!(resp3(Error::new("no\nway")), "-ERR no way\r\n");
    assert_eq!(resp3(Box::new(std::borrow::Cow::Borrowed("a"))), "$1\r\na\r\n");
}

#[test]
fn doubles_read_from_resp3_are_the_same() {
    for value in [0.0, -0.0, 0.1, 1e300, f64::MIN_POSITIVE, f64::EPSILON, f64::MAX, f64::NEG_INFINITY] {
        let text = resp3(value);
        let parsed: f64 = text[1..].trim_end().parse().expect("a number");
        assert_eq!(parsed.to_bits(), value.to_bits());
    }
}

fn samples() -> Vec<Reply> {
    let mut samples = vec![
        Reply::Null,
        Reply::Boolean(true),
        Reply::Integer(-1),
        Reply::Integer(i64::MAX),
        Reply::Double(-0.1),
        Reply::Double(1e300),
        Reply::Double(f64::MIN_POSITIVE),
        Reply::Double(f64::NEG_INFINITY),
        Reply::Simple(String::new()),
        Reply::Simple("PONG".to_owned()),
        Reply::Bulk(vec![]),
        Reply::Bulk(b"\r\n$1\r\n\xff\x00".to_vec()),
        Reply::Verbatim("a\r\nb".to_owned()),
        Reply::BigNumber("-123456789012345678901234567890".to_owned()),
        Reply::Error("WRONGTYPE no".to_owned()),
        Reply::Array(vec![]),
        Reply::Map(vec![]),
        Reply::Set(vec![]),
    ];
    let all = samples.clone();
    samples.push(Reply::Map(all.iter().cloned().zip(all.iter().rev().cloned()).collect()));
    samples.push(Reply::Set(all));
    samples.push(Reply::Array(samples.clone()));
    samples
}

#[test]
fn the_tokens_say_what_the_bytes_say() {
    for reply in samples() {
        let mut writer = ReplyWriter::with_capacity(0);
        let start = writer.begin();
        reply.write(&mut writer);
        writer.end(start);
        let mut tokens = writer.tokens();
        assert_eq!(tokens.value(), Some(reply));
        assert_eq!(tokens.next(), None, "nothing is left");
    }
}

#[test]
fn tokens_are_in_pre_order() {
    let mut writer = ReplyWriter::with_capacity(0);
    let start = writer.begin();
    ("a", vec![1, 2]).write(&mut writer);
    writer.end(start);
    assert_eq!(
        writer.tokens().collect::<Vec<_>>(),
        [Token::Array(2), Token::Bulk(b"a"), Token::Array(2), Token::Integer(1), Token::Integer(2)]
    );
}

struct Wrong(fn(&mut ReplyWriter));

impl ToReply for Wrong {
    fn write(&self, reply: &mut ReplyWriter) {
        (self.0)(reply);
    }
}

#[test]
#[should_panic(expected = "a reply lacks 1 values")]
fn an_aggregate_that_lacks_an_element_panics() {
    resp3(Wrong(|reply| {
        reply.array(2);
        reply.null();
    }));
}

#[test]
#[should_panic(expected = "a reply is one value")]
fn a_second_value_panics() {
    resp3(Wrong(|reply| {
        reply.null();
        reply.null();
    }));
}

#[test]
#[should_panic(expected = "not a number")]
fn a_big_number_is_digits() {
    resp3(Wrong(|reply| reply.big_number("12\r\n+OK")));
}
