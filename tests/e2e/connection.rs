//! What client libraries ask of a connection and of the server: HELLO, CLIENT, COMMAND, INFO, CONFIG, CLUSTER, AUTH.

use uhaha_tests::client::words;
use uhaha_tests::{Module, Node, Server, Value, bulk, int, ok, wait};

#[test]
fn hello_chooses_the_protocol_and_tells_about_the_server() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    let Value::Array(flat) = client.call(&["HELLO"]) else { panic!("a flat map") };
    assert_eq!(flat[0], bulk("server"));
    let Value::Map(pairs) = client.hello(3) else { panic!("a map") };
    let field = |name: &str| pairs.iter().find(|(key, _)| *key == bulk(name)).map(|(_, value)| value.clone());
    assert_eq!(field("proto"), Some(int(3)));
    assert_eq!(field("role"), Some(bulk("master")));
    assert_eq!(client.call(&["CLIENT", "ID"]), field("id").unwrap());
    client.call(&["HELLO", "4"]).assert_error("NOPROTO ");
    client.call(&["HELLO", "three"]).assert_error("ERR ");
    assert!(matches!(client.hello(2), Value::Array(_)));
    client.call(&words("HELLO 2 SETNAME alice")).array();
    assert_eq!(client.call(&words("CLIENT GETNAME")), bulk("alice"));
}

#[test]
fn a_connection_is_told_about_itself() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    assert_eq!(client.call(&["PING"]), Value::Simple("PONG".to_owned()));
    assert_eq!(client.call(&["PING", "hi"]), bulk("hi"));
    assert_eq!(client.call(&["ECHO", "hi"]), bulk("hi"));
    assert_eq!(client.call(&["SELECT", "0"]), ok());
    client.call(&["SELECT", "1"]).assert_error("ERR DB index is out of range");
    assert_eq!(client.call(&words("CLIENT GETNAME")), Value::Null);
    assert_eq!(client.call(&words("CLIENT SETNAME worker-1")), ok());
    assert_eq!(client.call(&words("CLIENT GETNAME")), bulk("worker-1"));
    client.call(&["CLIENT", "SETNAME", "a b"]).assert_error("ERR Client names cannot contain spaces");
    assert_eq!(client.call(&words("CLIENT SETINFO LIB-NAME tests")), ok());
    assert_eq!(client.call(&words("CLIENT NO-EVICT ON")), ok());
    let info = client.call(&words("CLIENT INFO")).text().to_owned();
    assert!(info.contains("name=worker-1") && info.contains("lib-name=tests"), "{info}");
    assert_eq!(client.call(&["RESET"]), Value::Simple("RESET".to_owned()));
    assert_eq!(client.call(&words("CLIENT GETNAME")), Value::Null);
}

#[test]
fn a_client_can_be_listed_and_killed() {
    let server = Server::start(Module::ticket());
    let (mut victim, mut other) = (server.client(), server.client());
    assert_eq!(victim.call(&words("CLIENT SETNAME victim")), ok());
    let id = victim.call(&words("CLIENT ID")).integer().to_string();
    let list = other.call(&words("CLIENT LIST")).text().to_owned();
    assert!(list.lines().any(|line| line.contains("name=victim") && line.contains(&format!("id={id} "))), "{list}");
    assert_eq!(other.call(&["CLIENT", "KILL", "ID", &id]), int(1));
    victim.assert_closed();
    assert_eq!(other.call(&["CLIENT", "KILL", "ID", &id]), int(0));
    wait::until("the killed one to leave the list", || {
        (!other.call(&words("CLIENT LIST")).text().contains("name=victim")).then_some(())
    });
}

#[test]
fn client_reply_silences_replies() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    client.send(&words("CLIENT REPLY OFF"));
    client.send(&["TICKET"]);
    client.send(&words("CLIENT REPLY ON"));
    assert_eq!(client.receive(), ok());
    client.send(&words("CLIENT REPLY SKIP"));
    client.send(&["TICKET"]);
    assert_eq!(client.call(&["TICKET"]), int(3));
}

#[test]
fn command_describes_the_guests_commands_like_its_own() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    let count = client.call(&words("COMMAND COUNT")).integer();
    assert_eq!(client.call(&["COMMAND"]).array().len() as i64, count);
    let list = client.call(&words("COMMAND LIST"));
    for name in ["set", "get", "del", "dbsize", "ping", "raft", "hello"] {
        assert!(list.texts().contains(&name), "{name}");
    }
    let info = client.call(&words("COMMAND INFO set nothing"));
    let set = info.array()[0].array();
    assert_eq!(set[0], bulk("set"));
    assert_eq!(set[1], int(-3));
    assert!(set[2].texts().contains(&"write"));
    assert_eq!(set[3..6], [int(1), int(1), int(1)], "where its key is");
    assert_eq!(info.array()[1], Value::Null);
    let docs = client.call(&words("COMMAND DOCS get"));
    assert_eq!(docs.array()[0], bulk("get"));
    assert!(docs.array()[1].array().contains(&bulk("Returns the value of a key")), "{docs:?}");
    assert_eq!(client.call(&words("COMMAND GETKEYS SET a 1 EX 10")).texts(), ["a"]);
    assert_eq!(client.call(&words("COMMAND GETKEYS DEL a b")).texts(), ["a", "b"]);
    client.call(&words("COMMAND GETKEYS PING")).assert_error("ERR The command has no key arguments");
}

#[test]
fn info_has_sections_like_those_of_redis() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    client.call(&["TICKET"]);
    let info = client.call(&["INFO"]).text().to_owned();
    for line in ["# Server", "redis_version:", "# Replication", "role:master", "loading:0", "machine_name:ticket"] {
        assert!(info.contains(line), "{line} is not in {info}");
    }
    assert!(info.lines().any(|line| line == format!("process_id:{}", server.id())), "{info}");
    let clients = client.call(&["INFO", "clients"]).text().to_owned();
    assert!(clients.starts_with("# Clients") && !clients.contains("# Server"), "{clients}");
}

#[test]
fn config_shows_what_benchmarks_ask() {
    let server = Server::start(Module::ticket());
    for mut client in [server.client(), server.client3()] {
        assert_eq!(client.call(&words("CONFIG GET save")).fields().into_iter().collect::<Vec<_>>(), [("save", "")]);
        let reply = client.call(&words("CONFIG GET append*"));
        let fields = reply.fields();
        assert_eq!((fields["appendonly"], fields["appendfsync"]), ("yes", "always"));
        assert!(client.call(&words("CONFIG GET nothing")).fields().is_empty());
        client.call(&words("CONFIG SET save 1")).assert_error("ERR ");
    }
}

#[test]
fn the_machine_tells_its_time_and_version() {
    let server = Server::start(Module::ticket());
    let mut client = server.client();
    let version = client.call(&["VERSION"]).text().to_owned();
    assert!(version.starts_with("ticket version "), "{version}");
    assert_eq!(client.call(&["BARRIER"]), ok());
    let now = |client: &mut uhaha_tests::Client| {
        let reply = client.call(&["MACHINE"]);
        let fields = reply.fields();
        let field = |name: &str| fields[name].parse::<u64>().unwrap();
        assert_eq!(field("now") - field("boottime"), field("uptime"));
        field("now")
    };
    let before = now(&mut client);
    client.call(&["TICKET"]);
    assert!(now(&mut client) > before);
    let human = client.call(&["MACHINE", "HUMAN"]);
    assert!(human.fields()["now"].ends_with('Z'), "{human:?}");
    client.call(&["MACHINE", "LEARNING"]).assert_error("ERR syntax error");
    let time = client.call(&["TIME"]);
    assert!(time.texts()[0].parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn raft_and_cluster_show_one_node() {
    let server = Node::new(Module::ticket()).args(&["--id", "alpha"]).start();
    let mut client = server.client();
    let address = server.address().to_string();
    assert_eq!(client.call(&words("RAFT LEADER")), bulk(&address));
    client.call(&["TICKET"]);
    let info = client.call(&words("RAFT INFO"));
    let fields = info.fields();
    assert_eq!((fields["id"], fields["voter"], fields["num_peers"]), ("alpha", "true", "0"));
    assert!(fields["state"].eq_ignore_ascii_case("leader"), "{fields:?}");
    assert_eq!(fields["applied_index"], fields["last_log_index"]);
    let some = client.call(&words("RAFT INFO *_index term"));
    assert!(some.fields().contains_key("term") && !some.fields().contains_key("state"));
    let list = client.call(&words("RAFT SERVER LIST"));
    let row = list.array()[0].fields();
    assert_eq!((row["id"], row["address"], row["leader"], row["voter"]), ("alpha", &*address, "true", "true"));
    client.call(&words("RAFT NONSENSE")).assert_error("ERR unknown subcommand 'NONSENSE'");
    assert!(client.call(&words("RAFT HELP")).array().len() > 5);
    let info = client.call(&words("CLUSTER INFO")).text().to_owned();
    assert!(info.contains("cluster_state:ok"), "{info}");
    let slots = client.call(&words("CLUSTER SLOTS"));
    let range = slots.array()[0].array();
    assert_eq!(range[..2], [int(0), int(16383)]);
    assert_eq!(range[2].array()[1].integer(), i64::from(server.address().port()));
    let nodes = client.call(&words("CLUSTER NODES")).text().to_owned();
    assert!(nodes.contains("myself,master") && nodes.contains(&address), "{nodes}");
    assert_eq!(client.call(&words("CLUSTER KEYSLOT foo")), int(12182));
    assert_eq!(client.call(&["ROLE"]).array()[0], bulk("master"));
}

#[test]
fn without_the_password_nothing_is_told() {
    let node = Node::new(Module::ticket()).env("UHAHA_AUTH", "open sesame");
    let server = node.start();
    let mut client = server.client();
    for command in ["TICKET", "PING", "INFO", "RAFT LEADER", "COMMAND", "CONFIG GET *", "NOPE"] {
        client.call(&words(command)).assert_error("NOAUTH Authentication required.");
    }
    client.call(&["HELLO", "3"]).assert_error("NOAUTH ");
    client.call(&["AUTH", "sesame"]).assert_error("WRONGPASS ");
    client.call(&["AUTH", "root", "open sesame"]).assert_error("WRONGPASS ");
    client.call(&["TICKET"]).assert_error("NOAUTH ");
    assert_eq!(client.call(&["AUTH", "open sesame"]), ok());
    assert_eq!(client.call(&["TICKET"]), int(1));
    assert_eq!(client.call(&["RESET"]), Value::Simple("RESET".to_owned()));
    client.call(&["TICKET"]).assert_error("NOAUTH ");
    client.call(&["HELLO", "2", "AUTH", "default", "open sesame"]).array();
    assert_eq!(client.call(&["TICKET"]), int(2));
    assert!(!server.log().contains("sesame"), "a password is never logged");
}

/// A stranger may pipeline AUTH with what needs it.
#[test]
fn what_follows_auth_in_one_packet_runs() {
    let server = Node::new(Module::ticket()).args(&["--auth", "secret"]).start();
    let commands = [words("TICKET"), words("AUTH secret"), words("TICKET")];
    let replies = server.client().pipeline(&commands);
    replies[0].assert_error("NOAUTH ");
    assert_eq!(replies[1..], [ok(), int(1)]);
    server.client().call(&words("AUTH secret secret2")).assert_error("WRONGPASS ");
    Server::start(Module::ticket()).client().call(&words("AUTH secret")).assert_error("ERR AUTH <password> called");
}
