//! What clients send, and what they are sent.

use super::{Decoder, Options, ProtocolError, encode, encode_value};
use crate::command::Command;
use crate::dispatch::Resp;
use crate::fuzzing::pieces;
use crate::replies::Replies;
use crate::reply::{ErrorCode, Reply};
use crate::resp3::{self, PutToken, Token, Value};
use arbitrary::{Result, Unstructured};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes as decode2;
use redis_protocol::resp3::decode::complete::decode_bytes as decode3;

/// The other decoder calls itself for each level.
const DEPTH_MAX: usize = 32;
/// What a decoder may hold besides what it was sent.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// `u8 flags │ u8 n │ n × u8 size of a piece │ what a client sends`. Flags: bit 0 authenticated, bit 1 small limits.
///
/// However it is cut, it is the same commands and the same error, and no more memory than bytes.
pub fn requests(data: &[u8]) {
    let [flags, count, rest @ ..] = data else { return };
    let (pattern, stream) = rest.split_at(usize::from(*count).min(rest.len()));
    let authenticated = flags & 1 != 0;
    let limits = match flags & 2 {
        0 => Options::default(),
        _ => Options {
            request_bytes_max: 1024,
            argument_bytes_max: 256,
            args_max: 12,
            inline_bytes_max: 64,
            ..Options::default()
        },
    };
    let whole = decode(&limits, authenticated, stream, &[]);
    assert_eq!(whole, decode(&limits, authenticated, stream, pattern), "the same in pieces");
    assert_eq!(whole, decode(&limits, authenticated, stream, &[0]), "the same byte by byte");
    let mut again = Vec::new();
    for command in &whole.0 {
        again.put_number(b'*', command.words().len() as i64);
        command.words().iter().for_each(|word| again.put_token(Token::Bulk(word)));
    }
    // Words of a line may be larger and more than what a stranger may send otherwise.
    assert_eq!(decode(&Options::default(), true, &again, &[]), (whole.0, None), "the same written anew");
}

fn decode(
    options: &Options,
    authenticated: bool,
    stream: &[u8],
    pattern: &[u8],
) -> (Vec<Command>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(options.clone());
    let mut commands = Vec::new();
    for piece in pieces(stream, pattern) {
        let room = decoder.room();
        room.put_slice(piece);
        assert!(room.capacity() <= 2 * stream.len() + SPARE_BYTES_MAX, "no memory on a client's word");
        decoder.took(piece.len());
        loop {
            match decoder.next(authenticated) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

/// As a guest's reply, as the replies of a batch, and as what a reply of ours is made from. A decoder that is not ours
/// reads all that we write.
pub fn replies(data: &[u8]) {
    if resp3::check(data).is_ok() {
        value(data);
    }
    if let Some(replies) = Replies::take(Bytes::copy_from_slice(data)) {
        let mut again = Vec::new();
        replies.put(&mut again);
        assert_eq!(again, data, "replies have one form");
        replies.iter().for_each(|reply| value(reply.as_bytes()));
    }
    // There are too few bytes left to make one from.
    let Ok(reply) = reply(&mut Unstructured::new(data), 0) else { return };
    for resp in [Resp::V2, Resp::V3] {
        let mut out = BytesMut::new();
        encode(&mut out, resp, &reply);
        let replies = if let Reply::Several(replies) = &reply { replies.len() } else { 1 };
        is_read(resp, out.freeze(), replies);
    }
}

/// One that has been checked.
fn value(bytes: &[u8]) {
    let value = Value::from_checked(bytes);
    let mut again = Vec::new();
    value.tokens().for_each(|token| again.put_token(token));
    assert_eq!(resp3::check(&again), Ok(()));
    assert!(Value::from_checked(&again).tokens().eq(value.tokens()), "the same tokens written anew");
    if is_plain(value) {
        for resp in [Resp::V2, Resp::V3] {
            let mut out = BytesMut::new();
            encode_value(&mut out, resp, value);
            is_read(resp, out.freeze(), 1);
        }
    }
}

/// Whether the other decoder knows all that it has: lines in UTF-8, two formats of texts, few levels, keys of maps and
/// members of sets that hold nothing.
fn is_plain(value: Value<'_>) -> bool {
    /// What is begun: how much of it is missing, and which of that is to be plain, every second or each.
    struct Open {
        missing: u64,
        plain: Option<u64>,
    }
    let mut open: Vec<Open> = Vec::new();
    value.tokens().all(|token| {
        let is_key =
            open.last().is_some_and(|outer| outer.plain.is_some_and(|every| outer.missing.is_multiple_of(every)));
        if let Some(outer) = open.last_mut() {
            outer.missing -= 1;
        }
        let begun = match token {
            Token::Array(count) => Some(Open { missing: u64::from(count), plain: None }),
            Token::Set(count) => Some(Open { missing: u64::from(count), plain: Some(1) }),
            Token::Map(count) => Some(Open { missing: 2 * u64::from(count), plain: Some(2) }),
            _ => None,
        };
        let known = match token {
            Token::Simple(text) | Token::Error(text) => std::str::from_utf8(text).is_ok(),
            Token::Verbatim(text) => {
                (text.starts_with(b"txt:") || text.starts_with(b"mkd:")) && std::str::from_utf8(text).is_ok()
            }
            _ => begun.is_none() || !is_key,
        };
        open.extend(begun);
        let fits = open.len() <= DEPTH_MAX;
        while open.last().is_some_and(|innermost| innermost.missing == 0) {
            open.pop();
        }
        known && fits
    })
}

fn is_read(resp: Resp, mut bytes: Bytes, replies: usize) {
    for _ in 0..replies {
        let taken = match resp {
            Resp::V2 => decode2(&bytes).map(|read| read.map(|(_, taken)| taken)),
            Resp::V3 => decode3(&bytes).map(|read| read.map(|(_, taken)| taken)),
        };
        match taken {
            Ok(Some(taken)) => bytes.advance(taken),
            other => panic!("{resp:?} {other:?}: {}", bytes.escape_ascii()),
        }
    }
    assert!(bytes.is_empty(), "{resp:?}: {} is left", bytes.escape_ascii());
}

/// What is so deep holds no others.
const DEPTH_OF_PLAIN: usize = 4;

fn reply(input: &mut Unstructured<'_>, depth: usize) -> Result<Reply> {
    // What holds others comes last, so that the innermost level can leave it out.
    let kinds = if depth < DEPTH_OF_PLAIN { 14 } else { 9 };
    let items = |input: &mut Unstructured<'_>| -> Result<Vec<Reply>> {
        (0..input.int_in_range(0..=4)?).map(|_| reply(input, depth + 1)).collect()
    };
    Ok(match input.int_in_range(0..=kinds - 1)? {
        0 => Reply::Null,
        1 => Reply::Boolean(input.arbitrary()?),
        2 => Reply::Integer(input.arbitrary()?),
        3 => Reply::Double(input.arbitrary()?),
        4 => Reply::Simple(input.arbitrary::<String>()?.into()),
        5 => Reply::Bulk(input.arbitrary::<Vec<u8>>()?.into()),
        6 => Reply::Verbatim(input.arbitrary()?),
        7 => Reply::error(
            *input.choose(&[ErrorCode::Err, ErrorCode::Moved, ErrorCode::Trap])?,
            input.arbitrary::<String>()?,
        ),
        8 => Reply::NullArray,
        9 => Reply::Array(items(input)?),
        // The other decoder knows no members of sets and no keys of maps that hold others.
        10 => Reply::Set((0..input.int_in_range(0..=4)?).map(|_| reply(input, DEPTH_OF_PLAIN)).collect::<Result<_>>()?),
        11 => Reply::Map(items(input)?.into_iter().zip(0..).map(|(item, key)| (Reply::Integer(key), item)).collect()),
        12 if depth == 0 => Reply::Push(items(input)?),
        13 if depth == 0 => {
            Reply::Several((0..input.int_in_range(0..=4)?).map(|_| reply(input, 1)).collect::<Result<_>>()?)
        }
        _ => Reply::Null,
    })
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let request = |flags: u8, bytes: &[u8]| [&[flags, 2, 3, 1], bytes].concat();
    let mut batch = Vec::new();
    Replies::new(Bytes::from_static(b":1\r\n$2\r\nab\r\n"), vec![4, 12]).at(7).put(&mut batch);
    vec![
        (
            "requests/pipeline",
            request(1, b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n1\r\n\0\xff\r\n*0\r\n*-1\r\n"),
        ),
        ("requests/stranger", request(0, b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*11\r\n")),
        ("requests/lines", request(1, b"PING\r\n\r\n set a \"x\\x41\\n\\\"\" 'it\\'s'\nQUIT\n")),
        ("requests/small-limits", request(3, b"*2\r\n$3\r\nGET\r\n$257\r\n")),
        ("requests/browser", request(1, b"POST / HTTP/1.1\r\nHost: here\r\n\r\nFLUSHALL\r\n")),
        ("replies/nested", b"%2\r\n$1\r\na\r\n*2\r\n_\r\n#t\r\n+k\r\n~2\r\n,1.5\r\n=7\r\ntxt:abc\r\n".to_vec()),
        ("replies/numbers", b"*4\r\n:-9223372036854775808\r\n(123456789012345678901\r\n,inf\r\n,-1e5\r\n".to_vec()),
        ("replies/error", b"-ERR no\r\n".to_vec()),
        ("replies/batch", batch),
    ]
}
