//! What another node sends, or somebody who claims to be one.

use super::{Dial, Hello, Listen, Local, MAGIC, Nonce, PROTOCOL_VERSION, Secret, Welcome, admit};
use super::{decode, dial, encode, listen, read, write};
use crate::fuzzing::pieces;
use crate::net::peer::frame::Frame;
use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use futures_util::FutureExt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex, join, sink};

const FRAME_BYTES_MAX: usize = 4096;
/// The length, the kind, the id and the checksum, which is of none of them.
const HEADER_BYTES: usize = 4 + 1 + 8 + 4;

/// `u8 what │ the rest`: frames, one that is made up, what is said to one that listens, to one that dials, two nodes,
/// and what those say who know the secret.
pub fn peers(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    let mut input = Unstructured::new(rest);
    match what % 7 {
        0 => frames(rest),
        1 => drop(made_up(&mut input)),
        2 => assert!(heard(async { listen(&mut join(rest, sink()), &node(1)).await }).is_err(), "nobody is let in"),
        3 => assert!(
            heard(async { dial(&mut join(rest, sink()), &node(1), None, "").await }).is_err(),
            "nobody is believed"
        ),
        4 => drop(two(&mut input)),
        5 => initiate_dials(rest),
        _ => initiate_listens(rest),
    }
}

/// `u8 n │ n × u8 size of a piece │ frames`.
fn frames(data: &[u8]) {
    let [count, rest @ ..] = data else { return };
    let (pattern, stream) = rest.split_at(usize::from(*count).min(rest.len()));
    let whole = read_all(stream, &[]);
    assert_eq!(whole, read_all(stream, pattern), "the same in pieces");
    let mut again = Vec::new();
    for frame in &whole.0 {
        frame.write(&mut again).now_or_never().expect("memory takes all").expect("it was read");
    }
    assert!(stream.starts_with(&again), "a frame has one form");
}

fn read_all(stream: &[u8], pattern: &[u8]) -> (Vec<Frame>, Option<io::ErrorKind>) {
    let mut stream = Pieces { pieces: Box::new(pieces(stream, pattern)), piece: &[] };
    let mut frames = Vec::new();
    loop {
        match Frame::read(&mut stream, FRAME_BYTES_MAX).now_or_never().expect("memory gives all") {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error.kind())),
        }
    }
}

/// It is read as it was, and not at all when any byte of its payload is another.
fn made_up(input: &mut Unstructured<'_>) -> Result<()> {
    let (kind, id) = (input.arbitrary()?, input.arbitrary()?);
    let (at, change) = (input.arbitrary::<u16>()?, input.arbitrary::<u8>()?);
    let payload = Bytes::copy_from_slice(input.bytes(input.len().min(FRAME_BYTES_MAX))?);
    let frame = Frame { kind, id, payload };
    let mut bytes = Vec::new();
    frame.write(&mut bytes).now_or_never().expect("memory takes all").expect("it is short enough");
    assert_eq!(read_all(&bytes, &[7, 1]), (vec![frame], None));
    let at = HEADER_BYTES + usize::from(at);
    if let Some(byte) = bytes.get_mut(at)
        && change != 0
    {
        *byte ^= change;
        assert_eq!(read_all(&bytes, &[]), (vec![], Some(io::ErrorKind::InvalidData)));
    }
    Ok(())
}

fn node(node_id: u64) -> Local {
    let secret = Secret::new("secret");
    Local { cluster: Some([7; 16]), node_id, secret, tls: None, frame_bytes_max: FRAME_BYTES_MAX }
}

/// Nodes of any cluster and with any secret: they let each other in if they should.
fn two(input: &mut Unstructured<'_>) -> Result<()> {
    let any = |input: &mut Unstructured<'_>| -> Result<Local> {
        let secret = Secret::new(*input.choose(&["", "secret", "other"])?);
        let cluster = *input.choose(&[None, Some([7; 16]), Some([8; 16])])?;
        Ok(Local { cluster, node_id: input.arbitrary()?, secret, tls: None, frame_bytes_max: FRAME_BYTES_MAX })
    };
    let (near, far) = (any(input)?, any(input)?);
    let to = if input.arbitrary()? { Some(far.node_id) } else { input.arbitrary()? };
    let (mut one, mut other) = duplex(FRAME_BYTES_MAX);
    let (dialled, listened) = heard(async {
        tokio::join!(
            async {
                let dialled = dial(&mut one, &near, to, "").await;
                drop(one);
                dialled
            },
            async {
                let listened = listen(&mut other, &far).await;
                drop(other);
                listened
            }
        )
    });
    let proposed = Dial { cluster: near.cluster, from: near.node_id, to };
    let expected = near.secret.0 == far.secret.0 && admit(&far, &proposed).is_ok();
    assert_eq!((dialled.is_ok(), listened.is_ok()), (expected, expected), "{dialled:?} {listened:?}");
    if let (Ok(dialled), Ok(listened)) = (dialled, listened) {
        assert_eq!((dialled.node_id, dialled.cluster), (far.node_id, far.cluster));
        assert_eq!((listened.node_id, listened.cluster), (near.node_id, near.cluster));
    }
    Ok(())
}

/// One that knows the secret says anything for who it is.
fn initiate_dials(who: &[u8]) {
    let initiate = |mut stream: DuplexStream| async move {
        let ours: Nonce = [1; 32];
        stream.write_all(MAGIC).await?;
        stream.write_u16_le(PROTOCOL_VERSION).await?;
        stream.write_all(&ours).await?;
        let _version = stream.read_u16_le().await?;
        let mut theirs: Nonce = [0; 32];
        stream.read_exact(&mut theirs).await?;
        let proof = node(2).secret.prove("dial", &[&ours, &theirs, who]);
        write(&mut stream, &Hello { dial: who.to_vec(), proof }).await?;
        read::<Welcome>(&mut stream).await
    };
    let (near, mut far) = duplex(FRAME_BYTES_MAX);
    let (_, listened) = heard(async {
        tokio::join!(initiate(near), async {
            let listened = listen(&mut far, &node(1)).await;
            drop(far);
            listened
        })
    });
    let expected = decode::<Dial>(who).is_ok_and(|dial| admit(&node(1), &dial).is_ok())
        && fits(&Hello { dial: who.to_vec(), proof: vec![0; 32] });
    assert_eq!(listened.is_ok(), expected, "{listened:?}");
}

/// One that knows the secret answers anything for who it is.
fn initiate_listens(who: &[u8]) {
    let initiate = |mut stream: DuplexStream| async move {
        let ours: Nonce = [1; 32];
        stream.read_exact(&mut [0; MAGIC.len() + 2]).await?;
        let mut theirs: Nonce = [0; 32];
        stream.read_exact(&mut theirs).await?;
        stream.write_u16_le(PROTOCOL_VERSION).await?;
        stream.write_all(&ours).await?;
        let hello: Hello = read(&mut stream).await?;
        let proof = node(2).secret.prove("listen", &[&theirs, &ours, &hello.dial, who]);
        write(&mut stream, &Welcome::Yes { remote: who.to_vec(), proof }).await
    };
    let (mut near, far) = duplex(FRAME_BYTES_MAX);
    let (dialled, _) = heard(async {
        tokio::join!(
            async {
                let dialled = dial(&mut near, &node(1), None, "").await;
                drop(near);
                dialled
            },
            initiate(far)
        )
    });
    let expected = decode::<Listen>(who).is_ok() && fits(&Welcome::Yes { remote: who.to_vec(), proof: vec![0; 32] });
    assert_eq!(dialled.is_ok(), expected, "{dialled:?}");
}

/// Whether it is short enough for a handshake.
fn fits(message: &impl serde::Serialize) -> bool {
    encode(message).is_ok_and(|bytes| bytes.len() <= super::HELLO_BYTES_MAX)
}

/// What comes of a conversation. Nobody in it waits for a time.
fn heard<T>(conversation: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    }
    RUNTIME.with(|runtime| runtime.block_on(conversation))
}

/// Bytes that come in pieces.
struct Pieces<'a> {
    pieces: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
    piece: &'a [u8],
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            self.piece = self.pieces.next().unwrap_or_default();
        }
        let (taken, left) = self.piece.split_at(self.piece.len().min(buffer.remaining()));
        buffer.put_slice(taken);
        self.piece = left;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let encoded = |frame: &Frame| {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).now_or_never().expect("memory takes all").expect("it is short enough");
        bytes
    };
    let request = encoded(&Frame { kind: 1, id: 7, payload: Bytes::from_static(b"entries") });
    let answer = encoded(&Frame { kind: 0, id: 7, payload: Bytes::new() });
    let hello = encode(&Hello { dial: vec![1; 20], proof: vec![2; 32] }).expect("it can be encoded");
    let hello = encoded(&Frame { kind: 0, id: 0, payload: hello.into() });
    let version = PROTOCOL_VERSION.to_le_bytes();
    let dialled = [&[2][..], MAGIC, &version, &[3; 32], &hello].concat();
    let welcome = encode(&Welcome::No("no".to_owned())).expect("it can be encoded");
    let welcome = encoded(&Frame { kind: 0, id: 0, payload: welcome.into() });
    let dial = encode(&Dial { cluster: Some([7; 16]), from: 2, to: Some(1) }).expect("it can be encoded");
    let listen = encode(&Listen { cluster: None, node_id: 3 }).expect("it can be encoded");
    vec![
        ("peers/frames", [&[0, 2, 5, 1][..], &request, &answer].concat()),
        ("peers/made-up", [&[1][..], &[9; 24]].concat()),
        ("peers/dialled", dialled),
        ("peers/listened", [&[3][..], &version, &[3; 32], &welcome].concat()),
        ("peers/two", [&[4][..], &[1; 30]].concat()),
        ("peers/initiate-dials", [&[5][..], &dial].concat()),
        ("peers/initiate-listens", [&[6][..], &listen].concat()),
    ]
}
