//! The wire: inline commands, requests in pieces, malformed and hostile bytes, clients that do not read.

use uhaha_tests::client::{encode, words};
use uhaha_tests::{Module, Node, Server, Value, bulk, int, ok, wait};

/// Sends bytes and returns all that comes until the server has closed the connection.
fn last_words(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.client();
    // The server may be done with the client before it has taken everything.
    let _ = client.try_send_raw(bytes);
    String::from_utf8(client.read_to_end()).unwrap()
}

#[test]
fn inline_commands_are_understood() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    client.send_raw(b"PING\r\nping\n\r\n\nSET \"a \\x41\\n\" 'it\\'s'\r\n");
    assert_eq!(client.receive(), Value::Simple("PONG".to_owned()));
    assert_eq!(client.receive(), Value::Simple("PONG".to_owned()));
    assert_eq!(client.receive(), ok());
    assert_eq!(client.call(&["GET", "a A\n"]), bulk("it's"));
    client.send_raw(b"  DBSIZE  \r\n*1\r\n$6\r\nDBSIZE\r\n");
    assert_eq!(client.receive(), int(1));
    assert_eq!(client.receive(), int(1));
}

#[test]
fn malformed_requests_get_redis_errors_and_the_connection_ends() {
    let server = Server::start(Module::ticket());
    let cases: [(&[u8], &str); 11] = [
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*9223372036854775807\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"PING \"unbalanced\r\n", "unbalanced quotes in request"),
        (b"*1\r\n$4\r\nPINGxx", "expected CR LF after an argument"),
    ];
    for (bytes, error) in cases {
        let request = [b"TICKET\r\n", bytes].concat();
        let reply = last_words(&server, &request);
        let (ticket, rest) = reply.split_once("\r\n").unwrap();
        assert!(ticket.starts_with(':'), "what came before it is answered: {reply:?}");
        assert_eq!(rest, format!("-ERR Protocol error: {error}\r\n"), "{:?}", bytes.escape_ascii().to_string());
    }
    assert_eq!(server.client().call(&["TICKET"]), int(cases.len() as i64 + 1));
}

#[test]
fn an_empty_request_is_nothing_at_all() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    client.send_raw(b"*0\r\n*-1\r\n\r\nTICKET\r\n");
    assert_eq!(client.receive(), int(1));
}

#[test]
fn quit_ends_the_connection_and_what_follows_it_is_not_run() {
    let server = Server::start(Module::ticket());
    assert_eq!(last_words(&server, b"TICKET\r\nQUIT\r\nTICKET\r\nPING\r\n"), ":1\r\n+OK\r\n");
    assert_eq!(server.client().call(&["TICKET"]), int(2));
}

#[test]
fn a_web_browser_is_sent_away() {
    let server = Server::start(Module::ticket());
    let reply = last_words(&server, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nTICKET\r\n");
    assert!(reply.starts_with("-ERR Protocol error: "), "{reply:?}");
    assert_eq!(server.client().call(&["TICKET"]), int(1));
}

#[test]
fn it_does_not_matter_how_a_request_is_cut() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    let value = "0123456789".repeat(20);
    let request = [encode(&["SET", "key", &value]), encode(&["GET", "key"]), b"PING\r\n".to_vec()].concat();
    for byte in &request {
        client.send_raw(std::slice::from_ref(byte));
    }
    assert_eq!([client.receive(), client.receive()], [ok(), bulk(&value)]);
    assert_eq!(client.receive(), Value::Simple("PONG".to_owned()));
    for cut in 1..encode(&["GET", "key"]).len() {
        let request = encode(&["GET", "key"]);
        client.send_raw(&request[..cut]);
        // Another connection's answer proves that the server has come by here with half a request.
        assert_eq!(server.client().call(&["PING"]), Value::Simple("PONG".to_owned()));
        client.send_raw(&request[cut..]);
        assert_eq!(client.receive(), bulk(&value), "cut at {cut}");
    }
}

#[test]
fn a_silent_client_holds_up_nobody() {
    let server = Server::start(Module::ticket());
    let mut silent: Vec<_> = (0..50).map(|_| server.client()).collect();
    let mut halfway = server.client();
    halfway.send_raw(b"*1\r\n$6\r\nTIC");
    for ticket in 1..=10 {
        assert_eq!(server.client().call(&["TICKET"]), int(ticket));
    }
    halfway.send_raw(b"KET\r\n");
    assert_eq!(halfway.receive(), int(11));
    assert_eq!(silent[49].call(&["TICKET"]), int(12), "silence is forgiven");
}

/// The server stops reading from one who does not read, so it keeps no heap of replies for them.
#[test]
fn a_client_that_never_reads_is_held_back_and_holds_up_nobody() {
    let server = Node::new(Module::kvdb()).args(&["--output-timeout", "200ms"]).start();
    let mut client = server.client();
    let value = "x".repeat(1 << 20);
    assert_eq!(client.call(&["SET", "large", &value]), ok());
    let mut greedy = server.client();
    let requests: Vec<u8> = (0..2000).flat_map(|_| encode(&["GET", "large"])).collect();
    // Two gigabytes of replies are asked for; how many requests are taken before the end does not matter.
    let _ = greedy.try_send_raw(&requests);
    assert_eq!(client.call(&["DBSIZE"]), int(1));
    wait::until("the greedy one to be disconnected", || {
        (client.call(&words("CLIENT LIST")).text().lines().count() == 1).then_some(())
    });
    let peak = client.call(&["INFO", "memory"]);
    let peak = peak.text().lines().find_map(|line| line.strip_prefix("used_memory_peak:")).unwrap();
    assert!(peak.parse::<u64>().unwrap() < 1 << 30, "{peak} bytes of memory at its peak");
}

#[test]
fn limits_are_answered_with_errors() {
    let limits = ["--max-argument-bytes", "1KiB", "--max-request-bytes", "4KiB", "--max-args", "8"];
    let more = ["--max-inline-bytes", "512", "--max-clients", "5"];
    let server = Node::new(Module::kvdb()).args(&limits).args(&more).start();
    let fits = "x".repeat(1024);
    assert_eq!(server.client().call(&["SET", "key", &fits]), ok());
    let long = "x".repeat(1025);
    let cases = [
        (encode(&["SET", "key", &long]), "invalid bulk length"),
        (encode(&["DEL", &fits, &fits, &fits, &fits]), "too big request"),
        (encode(&["DEL", "1", "2", "3", "4", "5", "6", "7", "8"]), "invalid multibulk length"),
        (format!("GET {}\r\n", "x".repeat(600)).into_bytes(), "too big inline request"),
        (vec![b'*'; 600], "too big mbulk count string"),
    ];
    for (request, error) in cases {
        assert_eq!(last_words(&server, &request), format!("-ERR Protocol error: {error}\r\n"));
    }
    // The connections of before may not be forgotten yet.
    let admitted = |_| {
        wait::until("a client to be admitted", || {
            let mut client = server.client();
            (client.try_call(&["PING"]) == Some(Value::Simple("PONG".to_owned()))).then_some(client)
        })
    };
    let clients: Vec<_> = (0..5).map(admitted).collect();
    server.client().receive().assert_error("ERR max number of clients reached");
    drop(clients);
    wait::until("a place to be free", || {
        let pong = server.client().try_call(&["PING"]);
        (pong == Some(Value::Simple("PONG".to_owned()))).then_some(())
    });
}

#[test]
fn an_idle_client_is_disconnected_if_asked_for() {
    let server = Node::new(Module::ticket()).args(&["--idle-timeout", "200ms"]).start();
    let mut client = server.client();
    assert_eq!(client.call(&["TICKET"]), int(1));
    client.assert_closed();
}

#[test]
fn a_client_that_stops_sending_still_gets_its_replies() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    client.send_raw(&b"TICKET\r\n".repeat(1000));
    client.finish();
    for ticket in 1..=1000 {
        assert_eq!(client.receive(), int(ticket));
    }
    client.assert_closed();
}
