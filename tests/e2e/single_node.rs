//! One node serves each example as its README shows, in RESP2 and RESP3. Also run with guests built anew.

use std::time::{SystemTime, UNIX_EPOCH};
use uhaha_tests::client::words;
use uhaha_tests::{Client, Module, Server, Value, bulk, int, ok, wait};

#[test]
fn tickets_rise_by_one() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    for ticket in 1..=3 {
        assert_eq!(client.call(&["TICKET"]), int(ticket));
    }
    assert_eq!(server.client3().call(&["ticket"]), int(4), "another connection, another protocol, another case");
    client.call(&["TICKET", "please"]).assert_error("ERR wrong number of arguments");
    client.call(&["PENCIL"]).assert_error("ERR unknown command 'PENCIL'");
    assert_eq!(client.call(&["TICKET"]), int(5), "what was refused took no ticket");
}

/// Keys come in no order that means anything, as in Redis.
fn sorted(reply: &Value) -> Vec<&str> {
    let mut texts = reply.texts();
    texts.sort_unstable();
    texts
}

#[test]
fn kvdb_keeps_keys() {
    let server = Server::start(Module::kvdb());
    for mut client in [server.client(), server.client3()] {
        assert_eq!(client.call(&["GET", "greeting"]), Value::Null);
        assert_eq!(client.call(&["SET", "greeting", "hello"]), ok());
        assert_eq!(client.call(&["GET", "greeting"]), bulk("hello"));
        let binary: &[u8] = b"\r\n\0\xff$5\r\n";
        assert_eq!(client.call(&[b"SET", binary, binary]), ok());
        assert_eq!(client.call(&[b"GET", binary]).bytes(), binary);
        assert_eq!(client.call(&["SET", "empty", ""]), ok());
        assert_eq!(client.call(&["GET", "empty"]), bulk(""));
        assert_eq!(client.call(&["DBSIZE"]), int(3));
        assert_eq!(sorted(&client.call(&["KEYS", "*e*"])), ["empty", "greeting"]);
        assert_eq!(client.call(&["KEYS", "nothing*"]), Value::Array(vec![]));
        assert_eq!(client.call(&["DEL", "greeting", "empty", "missing", "empty"]), int(2));
        assert_eq!(client.call(&[b"DEL", binary]), int(1));
        assert_eq!(client.call(&["DBSIZE"]), int(0));
        client.call(&["SET", "greeting"]).assert_error("ERR wrong number of arguments for 'set' command");
        client.call(&["SET", "greeting", "hello", "EX", "soon"]).assert_error("ERR ");
        client.call(&["SET", "greeting", "hello", "EX", "0"]).assert_error("ERR invalid expire time");
        assert_eq!(client.call(&["DBSIZE"]), int(0));
    }
}

#[test]
fn kvdb_forgets_expired_keys() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    assert_eq!(client.call(&words("SET forever 1")), ok());
    assert_eq!(client.call(&words("SET brief 1 EX 0.3")), ok());
    assert_eq!(client.call(&words("SET long 1 EX 1000")), ok());
    assert_eq!(client.call(&["DBSIZE"]), int(3));
    wait::until("the key to expire", || (client.call(&["GET", "brief"]) == Value::Null).then_some(()));
    assert_eq!(client.call(&["DBSIZE"]), int(2));
    assert_eq!(sorted(&client.call(&["KEYS", "*"])), ["forever", "long"]);
}

#[test]
fn a_large_value_comes_back_whole() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    let value: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(client.call(&[b"SET", &b"large"[..], &value]), ok());
    assert!(client.call(&["GET", "large"]).bytes() == &value[..]);
}

fn series(client: &mut Client, command: &str) -> Vec<String> {
    client.call(&words(command)).texts().into_iter().map(str::to_owned).collect()
}

#[test]
fn timeseries_finds_points_by_time() {
    let server = Server::start(Module::timeseries());
    let hour = 3_600_000_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (first, second) = (now - 3 * hour, now - 2 * hour);
    let mut client = server.client();
    assert_eq!(client.call(&words("RETAIN")), bulk("168h0m0s"));
    assert_eq!(client.call(&words("RETAIN 48h")), ok());
    assert_eq!(client.call(&words("RETAIN")), bulk("48h0m0s"));
    assert_eq!(client.call(&words(&format!("WRITE cpu {second} load=2"))), ok());
    assert_eq!(client.call(&words(&format!("WRITE cpu {first} load=1"))), ok());
    assert_eq!(client.call(&words("WRITE cpu now load=3")), ok());
    let both = [format!("cpu {first} load=1"), format!("cpu {second} load=2")];
    assert_eq!(series(&mut client, "QUERY cpu -4h -1h all"), both);
    assert_eq!(series(&mut client, &format!("QUERY cpu {first} now 1")), both[..1]);
    assert_eq!(series(&mut client, "QUERY cpu -5m now all").len(), 1);
    assert_eq!(series(&mut client, "QUERY mem 0 now all").len(), 0);
    client.call(&words("WRITE cpu yesterday load=0")).assert_error("ERR ");
    for mut client in [client, server.client3()] {
        let stats = client.call(&["STATS"]);
        let fields = stats.fields();
        assert_eq!((fields["num_points"], fields["num_measurements"], fields["total_sets"]), ("3", "1", "3"));
    }
}

#[test]
fn timeseries_drops_what_is_too_old() {
    let server = Server::start(Module::timeseries());
    let mut client = server.client3();
    assert_eq!(client.call(&words("RETAIN 1h")), ok());
    assert_eq!(client.call(&words("WRITE cpu -2h load=1")), ok());
    assert_eq!(client.call(&words("WRITE cpu now load=2")), ok());
    wait::until("the old point to go", || (client.call(&["STATS"]).fields()["num_points"] == "1").then_some(()));
    assert_eq!(client.call(&["STATS"]).fields()["total_dels"], "1");
}

/// A map is a map in RESP3 and an array of names and values in RESP2; null has two spellings.
#[test]
fn each_protocol_has_its_own_form() {
    let server = Server::start(Module::timeseries());
    let (mut old, mut new) = (server.client(), server.client3());
    assert!(matches!(old.call(&["STATS"]), Value::Array(flat) if flat.len() == 10));
    assert!(matches!(new.call(&["STATS"]), Value::Map(pairs) if pairs.len() == 5));
    let kvdb = Server::start(Module::kvdb());
    for (hello, null) in [("", "$-1\r\n"), ("HELLO 3\r\n", "_\r\n")] {
        let mut client = kvdb.client();
        client.send_raw(format!("{hello}GET nothing\r\nQUIT\r\n").as_bytes());
        let bytes = client.read_to_end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.ends_with(&format!("{null}+OK\r\n")), "{text:?}");
    }
}
