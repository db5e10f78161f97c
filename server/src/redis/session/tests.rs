use super::*;
use crate::dispatch::testing::{Fixture, READS_MAX, fixture};
use crate::dispatch::{Options as DispatchOptions, Users};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

struct Connection {
    stream: DuplexStream,
    session: JoinHandle<End>,
}

fn open(fixture: &Fixture, options: Options) -> Connection {
    open_sized(fixture, options, 1 << 20)
}

fn open_sized(fixture: &Fixture, options: Options, bytes: usize) -> Connection {
    let (stream, other) = duplex(bytes);
    let address = ([127, 0, 0, 1], 1).into();
    let session = Session::serve(other, address, address, Arc::clone(&fixture.dispatcher), options);
    Connection { stream, session: tokio::spawn(session) }
}

impl Connection {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read_exact(&mut got)).await;
        read.expect("a reply in time").unwrap();
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    /// What comes up to the end of the connection, and how the session ended.
    async fn rest(mut self) -> (String, End) {
        let mut got = Vec::new();
        self.stream.read_to_end(&mut got).await.unwrap();
        (String::from_utf8(got).unwrap(), self.session.await.unwrap())
    }
}

fn plain() -> Fixture {
    fixture(DispatchOptions::default())
}

#[tokio::test]
async fn a_pipeline_is_grouped_and_answered_in_order() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    let pipeline = "SET a 1\r\nSET b 2\r\nSET c\r\nNOPE\r\nSET d 4\r\nGET a\r\nGET b\r\nPING\r\nSET e 5\r\nGET e\r\n";
    connection.send(pipeline.as_bytes()).await;
    connection
        .expect(
            "+OK\r\n+OK\r\n-ERR wrong number of arguments for 'set' command\r\n\
             -ERR unknown command 'NOPE', with args beginning with: \r\n+OK\r\n$1\r\n1\r\n$1\r\n2\r\n+PONG\r\n+OK\r\n\
             $1\r\n5\r\n",
        )
        .await;
    assert_eq!(fixture.cluster.batches(), ["w3", "r2", "w1", "r1"]);
}

#[tokio::test]
async fn where_writes_and_reads_change_over_often_they_go_together() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    let pipeline = "SET a 1\r\nGET a\r\nSET a 2\r\nNOPE\r\nGET a\r\nSET b 3\r\n";
    let replies = "+OK\r\n$1\r\n1\r\n+OK\r\n-ERR unknown command 'NOPE', with args beginning with: \r\n\
                   $1\r\n2\r\n+OK\r\n";
    for _ in 0..2 {
        connection.send(pipeline.as_bytes()).await;
        connection.expect(replies).await;
    }
    let apart = ["w1", "r1", "w1", "r1", "w1"];
    assert_eq!(fixture.cluster.batches(), [&apart[..], &["m5"]].concat(), "at first its replies may be large");
    connection.send(b"SET a 1\r\nSET a 2\r\nGET a\r\nSET a 3\r\n").await;
    connection.expect("+OK\r\n+OK\r\n$1\r\n2\r\n+OK\r\n").await;
    assert_eq!(fixture.cluster.batches()[6..], ["w2", "r1", "w1"], "they change over too seldom");
    fixture.cluster.fail(Some(|| crate::raft::Error::Unknown));
    connection.send(pipeline.as_bytes()).await;
    let (unknown, nope) = ("-UNKNOWN ", "-ERR unknown command 'NOPE'");
    for begins in [unknown, unknown, unknown, nope, unknown, unknown] {
        let line = connection.line().await;
        assert!(line.starts_with(begins), "{line}");
    }
}

#[tokio::test]
async fn a_stream_cut_anywhere_gets_the_same_replies() {
    let stream =
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nxy\r\nGET a\r\nHELLO 3\r\nINFOMAP\r\n*1\r\n$4\r\nQUIT\r\nPING\r\n";
    let mut first = None;
    for cut in 0..stream.len() {
        let fixture = plain();
        let mut connection = open(&fixture, Options::default());
        connection.send(&stream.as_bytes()[..cut]).await;
        tokio::task::yield_now().await;
        // The session may have closed already, when the rest is only what follows QUIT.
        let _ = connection.stream.write_all(&stream.as_bytes()[cut..]).await;
        let (replies, end) = connection.rest().await;
        assert!(matches!(end, End::Quit));
        assert!(replies.ends_with("%1\r\n$1\r\na\r\n#t\r\n+OK\r\n"), "{replies}");
        assert_eq!(*first.get_or_insert(replies.clone()), replies, "cut at {cut}");
    }
}

#[tokio::test]
async fn hello_changes_the_version_from_its_own_reply_on() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    connection.send(b"INFOMAP\r\nGET x\r\nHELLO 3\r\nINFOMAP\r\nGET x\r\nRESET\r\nINFOMAP\r\nQUIT\r\n").await;
    let (replies, _) = connection.rest().await;
    assert!(replies.starts_with("*2\r\n$1\r\na\r\n:1\r\n$-1\r\n%7\r\n$6\r\nserver\r\n"), "{replies}");
    let end = "%1\r\n$1\r\na\r\n#t\r\n_\r\n+RESET\r\n*2\r\n$1\r\na\r\n:1\r\n+OK\r\n";
    assert!(replies.ends_with(end), "{replies}");
}

#[tokio::test]
async fn what_follows_quit_is_not_run() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    connection.send(b"SET a 1\r\nQUIT\r\nSET a 2\r\n").await;
    let (replies, end) = connection.rest().await;
    assert_eq!(replies, "+OK\r\n+OK\r\n");
    assert!(matches!(end, End::Quit));
    assert_eq!(fixture.cluster.batches(), ["w1"]);
}

#[tokio::test]
async fn a_protocol_error_comes_after_the_replies_before_it_and_closes() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    connection.send(b"PING\r\n*1\r\n*1\r\nPING\r\n").await;
    let (replies, end) = connection.rest().await;
    assert_eq!(replies, "+PONG\r\n-ERR Protocol error: expected '$', got '*'\r\n");
    assert!(matches!(end, End::Protocol(ProtocolError::ExpectedBulk(b'*'))));
}

#[tokio::test]
async fn replies_can_be_turned_off_and_left_out() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    connection.send(b"CLIENT REPLY SKIP\r\nPING a\r\nPING b\r\n").await;
    connection.expect("$1\r\nb\r\n").await;
    connection.send(b"CLIENT REPLY OFF\r\nSET a 1\r\nNOPE\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nGET a\r\n").await;
    connection.expect("+OK\r\n$1\r\n1\r\n").await;
}

#[tokio::test]
async fn authentication_takes_effect_within_a_pipeline() {
    let users = Users::default();
    users.set(Some("pw"), None).unwrap();
    let fixture = fixture(DispatchOptions { users, ..DispatchOptions::default() });
    let mut connection = open(&fixture, Options::default());
    let big = "x".repeat(20_000);
    let stream = format!("GET a\r\nAUTH pw\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$20000\r\n{big}\r\nGET b\r\n");
    connection.send(stream.as_bytes()).await;
    connection.expect("-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n$-1\r\n").await;
    let mut stranger = open(&fixture, Options::default());
    stranger.send(b"*1\r\n$20000\r\n").await;
    assert_eq!(stranger.rest().await.0, "-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[tokio::test]
async fn a_pipeline_longer_than_the_limit_is_answered_in_parts() {
    let fixture = plain();
    let mut connection = open(&fixture, Options { pipeline_commands_max: 4, ..Options::default() });
    connection.send("SET a 1\r\n".repeat(10).as_bytes()).await;
    connection.expect(&"+OK\r\n".repeat(10)).await;
    assert_eq!(fixture.cluster.batches(), ["w4", "w4", "w2"]);
}

#[tokio::test]
async fn a_silent_client_is_disconnected_only_if_asked_for() {
    let fixture = plain();
    let patient = open(&fixture, Options::default());
    let strict = open(&fixture, Options { idle_timeout: Some(Duration::from_millis(30)), ..Options::default() });
    assert!(matches!(strict.rest().await.1, End::Idle));
    assert!(!patient.session.is_finished());
}

/// Replies of 1 MiB each to a client that takes none: memory stays at one, and the client goes.
#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let fixture = plain();
    let options = Options { output_timeout: Duration::from_millis(30), ..Options::default() };
    let mut connection = open_sized(&fixture, options, 1 << 16);
    connection.send(b"BIG\r\nBIG\r\nBIG\r\n").await;
    assert!(matches!(connection.session.await.unwrap(), End::Stuck));
}

#[tokio::test]
async fn killing_ends_even_a_client_that_does_not_read() {
    let fixture = plain();
    let mut stuck = open_sized(&fixture, Options::default(), 1 << 16);
    stuck.send(b"CLIENT ID\r\nBIG\r\n").await;
    stuck.expect(":1\r\n$10").await;
    let mut other = open(&fixture, Options::default());
    other.send(b"CLIENT KILL ID 1\r\nCLIENT KILL ID 2 SKIPME no\r\n").await;
    assert!(matches!(stuck.session.await.unwrap(), End::Ended));
    let (replies, end) = other.rest().await;
    assert_eq!(replies, ":1\r\n:1\r\n");
    assert!(matches!(end, End::Quit));
}

/// However large requests may be, all of them together have an end, and small ones outlive large ones.
#[tokio::test]
async fn the_client_with_the_largest_request_goes_when_all_together_take_too_much() {
    let fixture = fixture(DispatchOptions { clients_memory_bytes_max: 2 << 20, ..DispatchOptions::default() });
    let (mut small, mut large) = (open(&fixture, Options::default()), open(&fixture, Options::default()));
    let begin = |bytes: usize| format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{}", 8 << 20, "x".repeat(bytes));
    small.send(begin(300 << 10).as_bytes()).await;
    // More than the stream holds, so the session may end before all is taken.
    let _ = large.stream.write_all(begin(4 << 20).as_bytes()).await;
    assert!(matches!(large.session.await.unwrap(), End::Ended));
    let _ = small.stream.write_all("x".repeat((8 << 20) - (300 << 10)).as_bytes()).await;
    assert!(matches!(small.session.await.unwrap(), End::Ended), "alone it is too much as well");
    let mut other = open(&fixture, Options::default());
    other.send(b"INFO memory\r\nINFO stats\r\nQUIT\r\n").await;
    let (info, _) = other.rest().await;
    assert!(info.contains("mem_clients_normal:0\r\n") && info.contains("evicted_clients:2\r\n"), "{info}");
}

/// The machine answers some reads at a time when their replies are large.
#[tokio::test]
async fn reads_that_are_answered_in_parts_keep_their_order() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    let unknown = ("NONE\r\n", "-ERR unknown command 'NONE', with args beginning with: \r\n");
    let bare = ("GET\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
    let mut talk = vec![unknown, ("SET a 1\r\n", "+OK\r\n")];
    for number in 0..READS_MAX * 5 / 2 {
        talk.push(("GET a\r\n", "$1\r\n1\r\n"));
        talk.extend((number % READS_MAX == 0).then_some(bare));
    }
    talk.extend([bare, unknown, ("QUIT\r\n", "+OK\r\n")]);
    let (requests, expected): (String, String) = talk.into_iter().unzip();
    connection.send(requests.as_bytes()).await;
    assert_eq!(connection.rest().await.0, expected);
    let most = fixture.cluster.batches().iter().filter_map(|batch| batch.strip_prefix('r')?.parse().ok()).max();
    assert_eq!(most, Some(READS_MAX));
}

/// Its memory is not free before it has gone, whoever counts it.
#[tokio::test]
async fn what_a_disconnected_client_holds_is_counted_until_it_is_gone() {
    let fixture = fixture(DispatchOptions { clients_memory_bytes_max: 2 << 20, ..DispatchOptions::default() });
    let [peer, local] = [([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into()];
    let mut client = fixture.dispatcher.connect(peer, local).unwrap();
    client.note_memory(1 << 20);
    assert!(fixture.undelivered.has_room() && !client.killed().is_cancelled());
    client.note_memory(4 << 20);
    assert!(!fixture.undelivered.has_room() && client.killed().is_cancelled());
    drop(client);
    assert!(fixture.undelivered.has_room());
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let fixture = fixture(DispatchOptions { clients_max: 1, ..DispatchOptions::default() });
    let mut first = open(&fixture, Options::default());
    first.send(b"PING\r\n").await;
    first.expect("+PONG\r\n").await;
    let (replies, end) = open(&fixture, Options::default()).rest().await;
    assert_eq!(replies, "-ERR max number of clients reached\r\n");
    assert!(matches!(end, End::Refused));
}

#[tokio::test]
async fn shutdown_ends_idle_sessions_after_what_runs() {
    let fixture = plain();
    let mut idle = open(&fixture, Options::default());
    idle.send(b"PING\r\n").await;
    idle.expect("+PONG\r\n").await;
    let mut asking = open(&fixture, Options::default());
    asking.send(b"SET a 1\r\nSHUTDOWN\r\nSET a 2\r\n").await;
    assert_eq!(asking.rest().await.0, "+OK\r\n");
    assert!(matches!(idle.rest().await.1, End::Ended));
    assert_eq!(fixture.cluster.batches(), ["w1"]);
}

#[tokio::test]
async fn http_is_refused() {
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.1\r\n\r\nSET a 1\r\n"] {
        let fixture = plain();
        let mut connection = open(&fixture, Options::default());
        connection.send(request.as_bytes()).await;
        let (replies, _) = connection.rest().await;
        assert_eq!(replies, "-ERR Protocol error: this port speaks the Redis protocol, not HTTP\r\n");
        assert!(fixture.cluster.batches().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_gone() {
    let fixture = plain();
    let mut connection = open(&fixture, Options::default());
    connection.send(b"*2\r\n$3\r\nGE").await;
    let Connection { stream, session } = connection;
    drop(stream);
    assert!(matches!(session.await.unwrap(), End::Gone));
}

/// Many clients at once over real sockets, as `node` wires listener, session and dispatcher.
#[tokio::test]
async fn clients_over_sockets_are_served_side_by_side_until_shutdown() {
    use crate::net::{Connection as Accepted, Listener, Options as NetOptions};
    use tokio_util::task::TaskTracker;
    let fixture = plain();
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let listener = Listener::bind(NetOptions { addresses, ..NetOptions::default() }).await.unwrap();
    let address = listener.addresses()[0];
    let tasks = TaskTracker::new();
    let dispatcher = Arc::clone(&fixture.dispatcher);
    let serve = move |accepted: Accepted| {
        let dispatcher = Arc::clone(&dispatcher);
        async move {
            let Accepted { stream, peer, local, .. } = accepted;
            Session::serve(stream, peer, local, dispatcher, Options::default()).await;
        }
    };
    let accepting = tokio::spawn(listener.run(fixture.shutdown.clone(), tasks.clone(), serve));
    let clients = (0..20).map(|number| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        for round in 0..50 {
            let value = format!("{number}-{round}");
            let request = format!("SET k{number} {value}\r\nGET k{number}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let expected = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&got), expected);
        }
        stream
    });
    let mut streams = futures_util::future::join_all(clients).await;
    streams[0].write_all(b"SHUTDOWN\r\n").await.unwrap();
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
    accepting.await.unwrap();
    tasks.close();
    tasks.wait().await;
}
