//! Two nodes over real sockets.

use super::*;
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// Gives back what it gets; kind 9 refuses, kind 10 never answers.
#[derive(Clone)]
struct Echo;

impl Service for Echo {
    async fn answer(&self, _from: Remote, kind: u8, payload: Bytes) -> Result<Bytes, String> {
        match kind {
            9 => Err("not today".to_owned()),
            10 => std::future::pending().await,
            _ => Ok(payload),
        }
    }
}

fn node(node_id: u64, secret: &str) -> Local {
    Local { cluster: Some([7; 16]), node_id, secret: Secret::new(secret), tls: None, frame_bytes_max: 1 << 20 }
}

/// Node 1 with the secret "s", and why its connections ended.
async fn listen() -> (SocketAddr, CancellationToken, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (ends, ended) = tokio::sync::mpsc::unbounded_channel();
    let stopped = stop.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (stopped, ends) = (stopped.clone(), ends.clone());
            tokio::spawn(async move {
                let end = serve(crate::net::Stream::plain(stream), None, node(1, "s"), Echo, stopped).await;
                let _ = ends.send(end.err().map_or_else(String::new, |error| error.to_string()));
            });
        }
    });
    (address, stop, ended)
}

async fn connect(address: SocketAddr, to: Option<u64>, local: &Local) -> Result<Connection, Error> {
    dial(&address.to_string(), to, local, SECOND).await
}

#[tokio::test]
async fn many_requests_share_a_connection_and_each_gets_its_answer() {
    let (address, ..) = listen().await;
    let connection = connect(address, Some(1), &node(2, "s")).await.unwrap();
    assert_eq!(connection.remote(), Remote { cluster: Some([7; 16]), node_id: 1 });
    let asked = (0..1000_u32).map(|number| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let payload = Bytes::from(vec![number as u8; number as usize]);
            assert_eq!(connection.ask(1, payload.clone(), 10 * SECOND).await.unwrap(), payload);
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    let large = Bytes::from(vec![1; 1 << 20]);
    assert_eq!(connection.ask(1, large.clone(), 10 * SECOND).await.unwrap(), large);
    let refusal = connection.ask(9, Bytes::new(), SECOND).await.unwrap_err();
    assert!(refusal.is_harmless() && refusal.to_string() == "not today", "{refusal}");
    let too_large = connection.ask(1, Bytes::from(vec![1; (1 << 20) + 1]), SECOND).await.unwrap_err();
    assert!(matches!(too_large, Error::TooLarge(_)), "{too_large}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_unknown_outcome() {
    let (address, stop, _ended) = listen().await;
    let connection = connect(address, None, &node(2, "s")).await.unwrap();
    let timeout = connection.ask(10, Bytes::new(), Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(timeout, Error::Timeout) && !timeout.is_harmless());
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { connection.ask(10, Bytes::new(), 60 * SECOND).await }
    });
    // Another request is answered behind the one that is not.
    connection.ask(1, Bytes::new(), SECOND).await.unwrap();
    stop.cancel();
    let lost = waiting.await.unwrap().unwrap_err();
    assert!(matches!(lost, Error::Lost) && !lost.is_harmless());
    assert!(connection.is_lost());
    assert!(matches!(connection.ask(1, Bytes::new(), SECOND).await, Err(Error::Lost)));
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason_on_both_sides() {
    let (address, _stop, mut ended) = listen().await;
    let elsewhere = Local { cluster: Some([8; 16]), ..node(2, "s") };
    for (local, to, reason) in [
        (node(2, "other"), None, "the peer secret is wrong"),
        (node(2, ""), None, "the peer secret is wrong"),
        (elsewhere, None, "different clusters"),
        (node(2, "s"), Some(3), "node 3 was expected here, this is node 1"),
    ] {
        let error = connect(address, to, &local).await.unwrap_err();
        assert!(error.is_harmless() && error.to_string().contains(reason), "{error}");
        let end = ended.recv().await.unwrap();
        assert!(end.contains(reason), "{end}");
    }
    let joining = Local { cluster: None, ..node(0, "s") };
    assert_eq!(connect(address, None, &joining).await.unwrap().remote().node_id, 1);
}

#[tokio::test]
async fn rubbish_closes_the_connection_and_nothing_else() {
    let (address, _stop, mut ended) = listen().await;
    for rubbish in [&b"\0uhaha-poor\0\0"[..], &[0; 200], b"\0uhaha-peer\x09\x00"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(rubbish).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!ended.recv().await.unwrap().is_empty());
    }
    // A frame that promises more than the limit, and one that is damaged.
    for frame in [&[0xff; 17][..], &[13, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        hello::dial(&mut stream, &node(2, "s"), None, "here").await.unwrap();
        stream.write_all(frame).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(!ended.recv().await.unwrap().is_empty());
    }
    let connection = connect(address, None, &node(2, "s")).await.unwrap();
    connection.ask(1, Bytes::new(), SECOND).await.unwrap();
}
