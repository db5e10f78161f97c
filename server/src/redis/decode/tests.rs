use super::*;
use std::time::Instant;

fn options() -> Options {
    Options::default()
}

fn feed(decoder: &mut Decoder, bytes: &[u8]) {
    decoder.room().extend_from_slice(bytes);
}

/// Everything that the pieces give, up to the first error.
fn decode_pieces<'a>(
    options: Options,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(options);
    let mut commands = Vec::new();
    for piece in pieces {
        feed(&mut decoder, piece);
        loop {
            match decoder.next(true) {
                Ok(Some(command)) => commands.push(command.words().iter().map(|word| word.to_vec()).collect()),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

fn decode(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    decode_pieces(options(), [bytes])
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Streams with everything in them that can be cut in two.
const STREAMS: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n01234\r\n789\r\n",
    b"PING\r\nSET \"a b\" 'c'\r\n\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\nQUIT\n",
    b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\nPING\r\n*1\r\n*1\r\n",
    b"PING\r\n*x\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
];

#[test]
fn reads_multibulk_and_inline_requests() {
    let (commands, error) = decode(STREAMS[0]);
    assert_eq!(error, None);
    assert_eq!(commands, [words(&["PING"]), words(&["SET", "a", "01234\r\n789"])]);
    let (commands, error) = decode(STREAMS[1]);
    assert_eq!(error, None);
    assert_eq!(commands, [words(&["PING"]), words(&["SET", "a b", "c"]), words(&["ECHO", ""]), words(&["QUIT"])]);
    assert_eq!(decode(STREAMS[2]), (vec![words(&["PING"])], None));
}

#[test]
fn gives_the_same_however_the_bytes_are_cut() {
    for stream in STREAMS {
        let whole = decode(stream);
        for first in 0..=stream.len() {
            assert_eq!(decode_pieces(options(), [&stream[..first], &stream[first..]]), whole, "cut at {first}");
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(decode_pieces(options(), pieces), whole, "cut at {first} and {second}");
            }
        }
        assert_eq!(decode_pieces(options(), stream.chunks(1)), whole, "byte by byte");
    }
}

#[test]
fn errors_are_those_of_redis() {
    let table: &[(&[u8], &str)] = &[
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*03\r\n", "invalid multibulk length"),
        (b"*+3\r\n", "invalid multibulk length"),
        (b"*9223372036854775807\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*1\rx", "invalid multibulk length"),
        (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*1\r\n$67108865\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$a\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n$4\r\nPINGxx", "expected CR LF after an argument"),
        (b"GET \"abc\r\n", "unbalanced quotes in request"),
        (b"GET \"abc\"d\r\n", "unbalanced quotes in request"),
        (b"POST / HTTP/1.1\r\n", "this port speaks the Redis protocol, not HTTP"),
        (b"GET /x HTTP/1.1\r\n", "this port speaks the Redis protocol, not HTTP"),
        (b"host: x\r\n", "this port speaks the Redis protocol, not HTTP"),
    ];
    for (bytes, text) in table {
        let (commands, error) = decode(bytes);
        assert!(commands.is_empty());
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(*text), "{}", bytes.escape_ascii());
    }
}

#[test]
fn lines_are_limited() {
    let long = |start: &str, fill: u8, end: &str| {
        let mut bytes = start.as_bytes().to_vec();
        bytes.resize(bytes.len() + (64 << 10) + 1, fill);
        bytes.extend_from_slice(end.as_bytes());
        decode(&bytes).1
    };
    for end in ["", "\r\n"] {
        assert_eq!(long("", b'A', end), Some(ProtocolError::InlineTooBig));
        assert_eq!(long("*", b'1', end), Some(ProtocolError::MultibulkLineTooBig));
        assert_eq!(long("*1\r\n$", b'1', end), Some(ProtocolError::BulkLineTooBig));
    }
    let mut fits = vec![b'A'; 64 << 10];
    fits.push(b'\n');
    assert_eq!(decode(&fits).0.len(), 1);
}

#[test]
fn requests_are_limited_in_all() {
    let small = Options { request_bytes_max: 40, ..options() };
    let bytes = b"*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n";
    assert_eq!(decode_pieces(small, [&bytes[..]]).1, Some(ProtocolError::RequestTooBig));
    let few = Options { args_max: 2, ..options() };
    assert_eq!(decode_pieces(few.clone(), [&b"*3\r\n"[..]]).1, Some(ProtocolError::MultibulkLength));
    assert_eq!(decode_pieces(few, [&b"a b c\r\n"[..]]).1, Some(ProtocolError::MultibulkLength));
}

#[test]
fn a_stranger_is_held_to_small_requests() {
    let try_as = |bytes: &[u8], authenticated| {
        let mut decoder = Decoder::new(options());
        feed(&mut decoder, bytes);
        decoder.next(authenticated).map(|command| command.is_some())
    };
    assert_eq!(try_as(b"*11\r\n", false), Err(ProtocolError::StrangerMultibulkLength));
    assert_eq!(try_as(b"*11\r\n", true), Ok(false));
    assert_eq!(try_as(b"*1\r\n$16385\r\n", false), Err(ProtocolError::StrangerBulkLength));
    assert_eq!(try_as(b"*1\r\n$4\r\nPING\r\n", false), Ok(true));
}

#[test]
fn a_million_arguments_are_one_command() {
    let mut bytes = format!("*{}\r\n", 1 << 20).into_bytes();
    for _ in 0..1 << 20 {
        bytes.extend_from_slice(b"$1\r\na\r\n");
    }
    let mut decoder = Decoder::new(options());
    feed(&mut decoder, &bytes);
    assert_eq!(decoder.next(true).unwrap().unwrap().words().len(), 1 << 20);
    assert_eq!(decoder.next(true).unwrap(), None);
}

/// Were the scan to begin again at each piece, this would take hours.
#[test]
fn a_large_argument_that_trickles_in_takes_linear_time() {
    let length = 8 << 20;
    let mut decoder = Decoder::new(options());
    feed(&mut decoder, format!("*2\r\n$4\r\nECHO\r\n${length}\r\n").as_bytes());
    let begin = Instant::now();
    for _ in 0..length {
        assert!(decoder.next(true).unwrap().is_none());
        feed(&mut decoder, b"x");
    }
    feed(&mut decoder, b"\r\n");
    assert_eq!(decoder.next(true).unwrap().unwrap().args()[0].len(), length);
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn a_long_line_that_trickles_in_is_scanned_once() {
    let mut decoder = Decoder::new(Options { inline_bytes_max: 4 << 20, ..options() });
    let begin = Instant::now();
    for _ in 0..4 << 20 {
        feed(&mut decoder, b"x");
        assert!(decoder.next(true).unwrap().is_none());
    }
    feed(&mut decoder, b"\n");
    assert!(decoder.next(true).unwrap().is_some());
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn an_empty_line_where_a_length_belongs_is_refused() {
    for bytes in [&b"*1\r\n\r\n"[..], b"*2\r\n$1\r\na\r\n\r\n"] {
        let mut decoder = Decoder::new(options());
        feed(&mut decoder, bytes);
        assert!(decoder.next(true).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_promised_length_takes_no_memory() {
    let mut decoder = Decoder::new(options());
    feed(&mut decoder, b"*1048576\r\n$67108864\r\nabc");
    assert!(decoder.next(true).unwrap().is_none());
    assert!(decoder.room().capacity() < 64 << 10);
    assert!(decoder.args.capacity() < 64 << 10);
}

#[test]
fn arguments_are_slices_of_the_read_buffer() {
    let mut decoder = Decoder::new(options());
    feed(&mut decoder, b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n");
    let at = decoder.buffer.as_ptr() as usize;
    let command = decoder.next(true).unwrap().unwrap();
    assert_eq!(command.args()[0].as_ptr() as usize - at, 18);
}

#[test]
fn an_unexpected_byte_is_shown_as_redis_shows_it() {
    for (byte, shown) in
        [(b'\'', "'"), (b'"', "\""), (b'\\', "\\"), (b'\r', " "), (b'\n', " "), (0, "\\x00"), (255, "\\xff")]
    {
        let error = ProtocolError::ExpectedBulk(byte).to_string();
        assert_eq!(error, format!("expected '$', got '{shown}'"));
    }
}

/// Bytes from a fixed generator, in the alphabet of the protocol: nothing may panic, and cuts must not matter.
#[test]
fn noise_is_refused_or_read_but_never_panics() {
    let alphabet = b"*$0123456789-\r\n\r\n\r\n :x\"'\\\0";
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..random() % 40).map(|_| alphabet[random() % alphabet.len()]).collect();
        let whole = decode(&noise);
        let cut = random() % (noise.len() + 1);
        assert_eq!(decode_pieces(options(), [&noise[..cut], &noise[cut..]]), whole, "{}", noise.escape_ascii());
        assert_eq!(decode_pieces(options(), noise.chunks(1)), whole, "{}", noise.escape_ascii());
    }
}

/// Room that a client once needed would be kept for as long as it is silent.
#[test]
fn a_silent_clients_room_is_given_back_and_what_it_has_begun_is_kept() {
    let mut decoder = Decoder::new(options());
    let argument = vec![b'x'; 500_000];
    let large = [b"*1\r\n$500000\r\n", &argument[..], b"\r\n*2\r\n$4\r\nEC"].concat();
    for piece in large.chunks(READ_BYTES_MIN) {
        let room = decoder.room();
        assert!(room.capacity() > room.len());
        room.extend_from_slice(piece);
        decoder.took(piece.len());
    }
    let command = decoder.next(true).unwrap().unwrap();
    assert_eq!(command.name().len(), argument.len());
    assert!(decoder.next(true).unwrap().is_none());
    assert!(decoder.held_bytes() > argument.len(), "the command counts until it is done with");
    drop(command);
    decoder.settle();
    decoder.room().reserve(READ_BYTES_MAX);
    assert!(decoder.is_roomy());
    decoder.give_back();
    assert!(!decoder.is_roomy() && decoder.held_bytes() < 4096, "{} bytes", decoder.held_bytes());
    feed(&mut decoder, b"HO\r\n$2\r\nhi\r\n");
    let command = decoder.next(true).unwrap().unwrap();
    assert_eq!(command.words(), [&b"ECHO"[..], b"hi"]);
}
