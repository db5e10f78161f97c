//! Clients that mean harm, small: the replies, the memory, and that the server serves afterwards. `uhaha_tests::hostile`
//! has what they do; `cargo xtask hostile` runs them at full size.

use std::collections::BTreeSet;
use std::net::TcpStream;
use uhaha_tests::client::words;
use uhaha_tests::{Client, Cluster, Module, Node, Server, hostile, ok};

macro_rules! attacks {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                hostile::named($name).test();
            }
        )*

        #[test]
        fn no_attack_is_left_out() {
            let tested = BTreeSet::from([$($name),*]);
            assert_eq!(hostile::all().map(|attack| attack.name).collect::<BTreeSet<_>>(), tested);
        }
    };
}

attacks! {
    quit_and_ping: "QUIT and PING in one packet",
    counts_of_words: "arrays of 2^31, 2^63-1 and 2^63 words",
    lengths_of_arguments: "arguments of 2^63-1 and 2^63 bytes",
    nested_arrays: "arrays in arrays, a million deep",
    a_million_words: "commands of 1,048,576 words, and one more",
    endless_lines: "lines without an end",
    binary_names: "names of commands with NUL, CR LF and noise",
    other_protocols: "HTTP, TLS and noise on the plain port",
    silence: "silent connections",
    too_many: "more connections than there may be",
    come_and_go: "connections that come and go, half of them reset",
    half_closed: "half-closed connections, some within a command",
    hellos: "HELLO, again and again",
    kills: "CLIENT KILL, ten at a time",
    long_names: "names of 1,024 bytes, and CLIENT LIST of them all",
    a_million_ids: "CLIENT LIST ID with a million ids",
    deaf_subscribers: "subscribers to everything, who never read",
    no_first_byte: "first bytes that never come, with --idle-timeout 1s",
    byte_by_byte: "an argument of 64 MiB that comes byte by byte",
    unfinished: "arguments of 64 MiB that lack their last byte",
    slow_readers: "replies of 8 MiB, taken a byte at a time",
    deaf_readers: "pipelines whose replies are never read",
    deaf_writers: "writes in pipelines whose replies are never read",
    once_large: "clients that once sent and took much, and fell silent",
    guesses: "wrong passwords, kept as Argon2",
    large_strangers: "large requests before AUTH",
    strangers_pipelines: "pipelines of commands before AUTH",
    tls_noise: "noise that begins as TLS does, and plain text",
    handshakes_in_a_session: "handshakes and new keys within a session",
    tls_hello_and_silence: "ClientHello, then nothing",
    tls_hello_and_away: "ClientHello and away",
    peer_and_silence: "the marker of a node, then nothing",
    peer_noise: "introductions of wrong length, checksum, version and name",
    peer_and_away: "greetings of nodes, and away",
}

fn fill(server: &Server) -> Vec<TcpStream> {
    (0..40).map(|_| TcpStream::connect(server.address()).unwrap()).collect()
}

/// Nodes share the port with clients: who took all places would have cut a restarted node off from its cluster.
#[test]
fn a_node_comes_back_to_nodes_whose_places_are_all_taken() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--max-clients", "20"]);
    let leader = cluster.leader();
    let back = cluster.follower();
    cluster.kill(back);
    let full: Vec<_> = cluster.running().into_iter().map(|position| fill(cluster.server(position))).collect();
    cluster.server(leader).client().receive().assert_error("ERR max number of clients reached");
    cluster.restart(back);
    // It is for the leader to do, or for the next one: this node has no other way to either.
    assert_eq!(cluster.client(back).call(&["SET", "key", "value"]), ok());
    drop(full);
}

/// With the limit of most systems clients would have been refused at a tenth of `--max-clients`.
#[test]
fn the_limit_of_open_files_is_raised_for_clients() {
    let server = limited("ulimit -Sn 300", &["--max-clients", "600"]);
    assert_eq!(server.client().call(&words("CONFIG GET maxclients")).fields()["maxclients"], "600");
    let mut clients: Vec<Client> = (0..500).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.call(&["SET", "key", "value"]), ok()));
}

/// Clients with all descriptors would have kept the node from its own files.
#[test]
fn a_node_that_may_open_few_files_keeps_some_for_itself() {
    let server = limited("ulimit -n 300", &[]);
    server.wait_for_log("the process may open too few files for --max-clients");
    let mut client = server.client();
    assert_eq!(client.call(&words("CONFIG GET maxclients")).fields()["maxclients"], "44");
    let full = fill(&server);
    let more = fill(&server);
    assert_eq!(client.call(&["SET", "key", "value"]), ok());
    assert!(client.call(&words("RAFT SNAPSHOT NOW")).fields().contains_key("id"));
    drop((full, more));
    assert!(!server.log().contains("cannot accept"), "it never runs out of them");
}

fn limited(limit: &str, args: &[&str]) -> Server {
    let shell = ["sh", "-c", &format!("{limit}; exec \"$@\""), "sh"].map(str::to_owned);
    Node::new(Module::kvdb()).args(args).prefix(shell.to_vec()).start()
}
