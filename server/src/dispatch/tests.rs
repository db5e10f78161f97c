mod sentinel;

use super::testing::{Fixture, fixture};
use super::*;
use crate::redis::{encode, encode_value};
use bytes::{Bytes, BytesMut};

/// One client of a server, talked to in inline form and answered in RESP.
struct Talk {
    fixture: Fixture,
    client: Client,
}

fn command(line: &str) -> Command {
    Command::new(line.split(' ').map(|word| Bytes::from(word.to_owned())).collect()).unwrap()
}

impl Talk {
    fn new(options: Options) -> Talk {
        let fixture = fixture(options);
        let client = fixture.dispatcher.connect(([127, 0, 0, 1], 50_000).into(), ([127, 0, 0, 1], 11_001).into());
        Talk { client: client.unwrap(), fixture }
    }

    async fn run(&mut self, line: &str) -> Result<Replies, Reply> {
        let command = command(line);
        let dispatcher = Arc::clone(&self.fixture.dispatcher);
        match dispatcher.route(&self.client, &command) {
            Route::Refuse(error) => Err(Reply::Error(error)),
            Route::Write => dispatcher.write(&mut self.client, vec![command]).await.map_err(Reply::Error),
            Route::Read => {
                dispatcher.read(&mut self.client, vec![command]).await.map(|read| read.replies).map_err(Reply::Error)
            }
            Route::Local(local) => Err(dispatcher.answer(local, &mut self.client, &command).await),
        }
    }

    /// A reply of the server itself.
    async fn ask(&mut self, line: &str) -> Reply {
        self.run(line).await.unwrap_err()
    }

    async fn text(&mut self, line: &str) -> String {
        let mut out = BytesMut::new();
        match self.run(line).await {
            Ok(replies) => replies.iter().for_each(|value| encode_value(&mut out, Resp::V2, value)),
            Err(reply) => encode(&mut out, Resp::V2, &reply),
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    async fn expect(&mut self, table: &[(&str, &str)]) {
        for (line, expected) in table {
            assert_eq!(self.text(line).await.trim_end(), *expected, "{line}");
        }
    }
}

fn plain() -> Talk {
    Talk::new(Options::default())
}

fn locked() -> Talk {
    let users = Users::default();
    users.set(Some("pw"), None).unwrap();
    Talk::new(Options { users, ..Options::default() })
}

#[tokio::test]
async fn errors_are_worded_as_redis_words_them() {
    let mut talk = plain();
    talk.expect(&[
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b'"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
        ("CLIENT GETNAME a", "-ERR wrong number of arguments for 'client|getname' command"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
        ("SELECT 0", "+OK"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        ("SELECT 99", "-ERR DB index is out of range"),
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'"),
        ("AUTH default y", "+OK"),
        ("AUTH a b c", "-ERR syntax error"),
        ("CLIENT KILL 1.1.1.1:1", "-ERR No such client"),
        ("CLIENT KILL ID x", "-ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 99", ":0"),
        ("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'"),
        ("CLIENT LIST ID x", "-ERR Invalid client ID"),
        ("CLIENT REPLY x", "-ERR syntax error"),
        ("CLIENT NO-EVICT on", "+OK"),
        ("CLIENT NO-EVICT x", "-ERR syntax error"),
        ("CLIENT UNPAUSE", "+OK"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
        ("CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP."),
        ("COMMAND GETKEYS nope x", "-ERR Invalid command specified"),
        ("COMMAND GETKEYS ping x", "-ERR The command has no key arguments"),
        ("COMMAND GETKEYS get", "-ERR Invalid number of arguments specified for command"),
        ("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command"),
        ("COMMAND INFO nope", "*1\r\n$-1"),
        ("COMMAND DOCS nope", "*0"),
        ("COMMAND LIST FILTERBY x y", "-ERR syntax error"),
    ])
    .await;
    assert!(talk.text("AUTH x").await.starts_with("-ERR AUTH <password> called without any password configured"));
}

#[tokio::test]
async fn a_stranger_can_authenticate_and_nothing_else() {
    let mut talk = locked();
    talk.expect(&[
        ("PING", "-NOAUTH Authentication required."),
        ("FOO", "-NOAUTH Authentication required."),
        ("SHUTDOWN", "-NOAUTH Authentication required."),
        ("CLIENT ID", "-NOAUTH Authentication required."),
        ("AUTH nope", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH other pw", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("HELLO 3 AUTH default nope", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("PING", "-NOAUTH Authentication required."),
    ])
    .await;
    assert!(talk.text("HELLO 3").await.starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(talk.client.resp(), Resp::V2);
    talk.expect(&[("AUTH pw", "+OK"), ("PING", "+PONG"), ("RESET", "+RESET")]).await;
    talk.expect(&[("PING", "-NOAUTH Authentication required."), ("AUTH default pw", "+OK"), ("PING", "+PONG")]).await;
    let mut talk = locked();
    assert!(talk.text("HELLO 3 AUTH default pw SETNAME me").await.starts_with("*14\r\n$6\r\nserver"));
    assert_eq!(talk.client.resp(), Resp::V3);
    talk.expect(&[("CLIENT GETNAME", "$2\r\nme")]).await;
    assert!(!talk.fixture.shutdown.is_cancelled());
}

#[tokio::test]
async fn guest_commands_go_to_the_log_or_to_the_machine() {
    let mut talk = plain();
    talk.expect(&[("set a 1", "+OK"), ("GeT a", "$1\r\n1"), ("GET b", "$-1")]).await;
    assert_eq!(talk.fixture.cluster.batches(), ["w1", "r1", "r1"]);
}

#[tokio::test]
async fn what_the_cluster_refuses_is_answered_by_rule() {
    let mut talk = plain();
    talk.fixture.cluster.fail(Some(|| raft::Error::Unknown));
    assert!(talk.text("SET a 1").await.starts_with("-UNKNOWN "));
    assert!(talk.text("BARRIER").await.starts_with("-UNKNOWN "));
    talk.fixture.cluster.fail(Some(|| raft::Error::SnapshotInProgress));
    assert_eq!(talk.text("RAFT SNAPSHOT NOW").await, "-ERR a snapshot is in progress\r\n");
    talk.fixture.cluster.fail(None);
    talk.expect(&[("BARRIER", "+OK")]).await;
}

#[tokio::test]
async fn limits_are_shown_as_they_are_in_force_and_as_they_are_wanted() {
    let mut talk = plain();
    let Reply::Map(fields) = talk.ask("MACHINE limits").await else { panic!("a map") };
    let field = |name: &str| fields.iter().find(|(found, _)| *found == Reply::bulk(name)).map(|(_, value)| value);
    assert_eq!(field("guest-fuel"), Some(&Reply::bulk("5")));
    assert_eq!(field("wanted-guest-fuel"), Some(&Reply::bulk("10000000000")));
    assert_eq!(field("engine"), Some(&Reply::bulk("e")));
    assert_eq!(field("guest-log-lines"), Some(&Reply::bulk("1000")));
    let info = talk.text("INFO machine").await;
    assert!(info.contains("machine_engine:e\r\nmachine_settings_agreed:0\r\n"), "{info}");
}

#[tokio::test]
async fn the_machines_clock_is_shown_for_programs_and_people() {
    let mut talk = plain();
    talk.expect(&[
        ("VERSION", "$18\r\nkvdb version 0.1.0"),
        (
            "MACHINE",
            "*6\r\n$8\r\nboottime\r\n$19\r\n1700000000000000000\r\n$3\r\nnow\r\n$19\r\n1700000003500000000\r\n\
             $6\r\nuptime\r\n$10\r\n3500000000",
        ),
        (
            "MACHINE human",
            "*6\r\n$8\r\nboottime\r\n$30\r\n2023-11-14T22:13:20.000000000Z\r\n$3\r\nnow\r\n\
             $30\r\n2023-11-14T22:13:23.500000000Z\r\n$6\r\nuptime\r\n$8\r\n3s 500ms",
        ),
        ("MACHINE x", "-ERR syntax error"),
        ("MACHINE LASTTRAP", "$-1"),
        ("MACHINE LASTTRAP x", "-ERR syntax error"),
        ("TIME", "*2\r\n$10\r\n1700000003\r\n$6\r\n500000"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0"),
    ])
    .await;
}

#[tokio::test]
async fn module_tells_which_guest_is_run() {
    let mut talk = plain();
    let fields = "$4\r\nname\r\n$4\r\nkvdb\r\n$7\r\nversion\r\n$5\r\n0.1.0\r\n$4\r\nhash\r\n$3\r\nabc\r\n$4\r\nsize\r\n\
                  $1\r\n9\r\n$8\r\ncommands\r\n$1\r\n5\r\n$5\r\nbatch\r\n$4\r\ntrue\r\n$4\r\ntick\r\n$5\r\nfalse\r\n\
                  $8\r\nportable\r\n$5\r\nfalse\r\n$13\r\nstate_version\r\n$1\r\n0\r\n$6\r\nengine\r\n$3\r\ndef";
    let info = format!("*20\r\n{fields}");
    let list = format!("*1\r\n*22\r\n{fields}\r\n$6\r\nactive\r\n$4\r\ntrue");
    talk.expect(&[
        ("MODULE INFO", &info),
        ("module list", &list),
        ("MODULE LOAD x", "-ERR unknown subcommand 'LOAD'. Try MODULE HELP."),
        ("MODULE INFO x", "-ERR wrong number of arguments for 'module|info' command"),
    ])
    .await;
}

#[tokio::test]
async fn raft_shows_the_node_its_members_and_snapshots() {
    let mut talk = plain();
    let described = "*10\r\n$2\r\nid\r\n$3\r\n1-7\r\n$5\r\nindex\r\n$1\r\n7\r\n$4\r\nsize\r\n$1\r\n9\r\n\
                     $4\r\nterm\r\n$1\r\n1\r\n$9\r\ntimestamp\r\n$30\r\n2023-11-14T22:13:20.000000000Z";
    let listed = format!("*1\r\n{described}");
    talk.expect(&[
        ("RAFT LEADER", "$15\r\n127.0.0.1:11001"),
        ("RAFT INFO state voter", "*4\r\n$5\r\nstate\r\n$6\r\nleader\r\n$5\r\nvoter\r\n$4\r\ntrue"),
        ("RAFT INFO *_pending", "*2\r\n$11\r\nfsm_pending\r\n$1\r\n0"),
        ("RAFT INFO nope", "*0"),
        (
            "RAFT SERVER LIST",
            "*1\r\n*8\r\n$2\r\nid\r\n$1\r\n1\r\n$7\r\naddress\r\n$15\r\n127.0.0.1:11001\r\n\
             $6\r\nleader\r\n$4\r\ntrue\r\n$5\r\nvoter\r\n$4\r\ntrue",
        ),
        ("RAFT SERVER REMOVE 1", ":1"),
        ("RAFT SERVER ADD 2 a:1 nonvoter", ":1"),
        ("RAFT SERVER ADD 2 a:1 king", "-ERR syntax error"),
        ("RAFT TRANSFER 2", "+OK"),
        ("RAFT TRANSFER 2 3", "-ERR syntax error"),
        ("RAFT SERVER ADD 2", "-ERR syntax error"),
        ("RAFT SERVER", "-ERR wrong number of arguments for 'raft|server' command"),
        ("RAFT NOPE", "-ERR unknown subcommand 'NOPE'. Try RAFT HELP."),
        ("RAFT SNAPSHOT NOW", described),
        ("RAFT SNAPSHOT LIST", &listed),
        ("RAFT SNAPSHOT FILE 1-7", "$19\r\n/data/snapshots/1-7"),
        ("RAFT SNAPSHOT READ 1-7", "$9\r\nsnapshot!"),
        ("RAFT SNAPSHOT READ 1-7 RANGE 4 3", "$3\r\nsho"),
        ("RAFT SNAPSHOT READ 1-7 RANGE 4", "-ERR syntax error"),
        ("RAFT SNAPSHOT READ 1-7 RANGE -1 3", "-ERR syntax error"),
        ("RAFT SNAPSHOT READ ../x", "-ERR no such snapshot"),
    ])
    .await;
    let mut talk = Talk::new(Options { snapshot_read_bytes_max: 4, ..Options::default() });
    talk.expect(&[
        ("RAFT SNAPSHOT READ 1-7", "-ERR the snapshot has 9 bytes; read it by RANGE, at most 4 at a time"),
        ("RAFT SNAPSHOT READ 1-7 RANGE 0 99", "$4\r\nsnap"),
    ])
    .await;
}

#[tokio::test]
async fn cluster_clients_see_one_shard() {
    let mut talk = plain();
    let id = "6b86b273ff34fce19d6b804eff5a3f5747ada4ea";
    let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:11001\r\n$40\r\n{id}\r\n*0");
    let nodes = format!("{id} 127.0.0.1:11001@11001 myself,master - 0 0 1 connected 0-16383\n");
    assert_eq!(talk.ask("CLUSTER NODES").await, Reply::Verbatim(nodes));
    let my_id = format!("$40\r\n{id}");
    talk.expect(&[
        ("CLUSTER SLOTS", &slots),
        ("CLUSTER MYID", &my_id),
        ("CLUSTER KEYSLOT foo", ":12182"),
        ("CLUSTER COUNTKEYSINSLOT 5", ":0"),
        ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot"),
        ("READONLY", "+OK"),
    ])
    .await;
    assert!(talk.text("CLUSTER INFO").await.contains("cluster_state:ok\r\n"));
    assert!(talk.text("CLUSTER SHARDS").await.starts_with("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n"));
}

#[tokio::test]
async fn a_follower_shows_who_leads_and_who_has_failed() {
    let mut talk = plain();
    talk.fixture.cluster.follow(true);
    talk.expect(&[
        ("ROLE", "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:11002\r\n$9\r\nconnected\r\n:0"),
        ("RAFT LEADER", "$15\r\n127.0.0.1:11002"),
    ])
    .await;
    let one = "6b86b273ff34fce19d6b804eff5a3f5747ada4ea";
    let two = "d4735e3a265e16eee03f59718b9b5d03019c07d8";
    let nodes = |first: &str, second: &str| Reply::Verbatim(format!("{first}\n{second}\n"));
    assert_eq!(
        talk.ask("CLUSTER NODES").await,
        nodes(
            &format!("{two} 127.0.0.1:11002@11002 master - 0 0 1 connected 0-16383"),
            &format!("{one} 127.0.0.1:11001@11001 myself,slave {two} 0 0 1 connected"),
        )
    );
    talk.fixture.cluster.follow(false);
    assert_eq!(
        talk.ask("CLUSTER NODES").await,
        nodes(
            &format!("{two} 127.0.0.1:11002@11002 master,fail - 0 0 1 disconnected 0-16383"),
            &format!("{one} 127.0.0.1:11001@11001 myself,slave {two} 0 0 1 connected"),
        )
    );
    talk.expect(&[("RAFT LEADER", "$0\r\n")].map(|(line, expected)| (line, expected.trim_end()))).await;
    assert!(talk.text("CLUSTER INFO").await.contains("cluster_state:fail\r\n"));
    assert!(talk.text("INFO replication").await.contains("role:slave\r\n"));
}

#[tokio::test]
async fn command_describes_the_guests_commands_as_redis_describes_its_own() {
    let mut talk = plain();
    let get = "*10\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@read\r\n*0\r\n\
               *1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n\
               $12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n\
               $9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n\
               *6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0";
    let get = format!("*1\r\n{get}");
    talk.expect(&[
        ("COMMAND INFO get", &get),
        ("COMMAND GETKEYS set a 1", "*1\r\n$1\r\na"),
        ("COMMAND GETKEYS DEL a b c", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc"),
        ("COMMAND LIST FILTERBY PATTERN [gs]et", "*2\r\n$3\r\nset\r\n$3\r\nget"),
        ("COMMAND LIST FILTERBY ACLCAT read", "*3\r\n$3\r\nget\r\n$7\r\ninfomap\r\n$3\r\nbig"),
        ("COMMAND LIST FILTERBY MODULE x", "*0"),
    ])
    .await;
    let docs = talk.text("COMMAND DOCS set").await;
    assert!(docs.starts_with("*2\r\n$3\r\nset\r\n*8\r\n$7\r\nsummary\r\n$19\r\nSET of the stand-in\r\n"), "{docs}");
    assert!(docs.contains("$5\r\ntoken\r\n$2\r\nEX\r\n$5\r\nflags\r\n*1\r\n+optional\r\n"), "{docs}");
    let count = talk.text("COMMAND COUNT").await;
    let all = talk.text("COMMAND").await;
    assert_eq!(count[1..], all[1..count.len()], "COMMAND COUNT counts what COMMAND lists");
}

#[tokio::test]
async fn clients_are_listed_named_and_killed() {
    let mut talk = plain();
    talk.expect(&[
        ("CLIENT ID", ":1"),
        ("CLIENT GETNAME", "$-1"),
        ("CLIENT SETNAME me", "+OK"),
        ("CLIENT SETNAME \u{e9}", "-ERR Client names cannot contain spaces, newlines or special characters."),
        ("CLIENT SETINFO lib-name redis-py", "+OK"),
        ("CLIENT SETINFO LIB-VER 5.0", "+OK"),
        ("CLIENT SETINFO nope 5.0", "-ERR Unrecognized option 'nope'"),
        ("CLIENT GETNAME", "$2\r\nme"),
    ])
    .await;
    let other = talk.fixture.dispatcher.connect(([127, 0, 0, 1], 50_001).into(), ([127, 0, 0, 1], 11_001).into());
    let other = other.unwrap();
    let list = talk.text("CLIENT LIST").await;
    assert!(list.contains("id=1 addr=127.0.0.1:50000 laddr=127.0.0.1:11001 fd=-1 name=me "), "{list}");
    assert!(list.contains(" cmd=client ") && list.contains(" lib-name=redis-py lib-ver=5.0\n"), "{list}");
    assert!(list.contains("\nid=2 addr=127.0.0.1:50001 "), "{list}");
    talk.expect(&[("CLIENT KILL ID 1", ":0"), ("CLIENT KILL TYPE master", ":0"), ("CLIENT KILL MAXAGE 99", ":0")])
        .await;
    assert!(!other.killed().is_cancelled() && !talk.client.is_closing());
    talk.expect(&[("CLIENT KILL ADDR 127.0.0.1:50001", ":1")]).await;
    assert!(other.killed().is_cancelled() && other.ended().is_cancelled());
    drop(other);
    talk.expect(&[("CLIENT KILL 127.0.0.1:50001", "-ERR No such client"), ("CLIENT KILL SKIPME no", ":1")]).await;
    assert!(talk.client.is_closing());
}

#[tokio::test]
async fn there_can_be_too_many_clients() {
    let fixture = fixture(Options { clients_max: 1, ..Options::default() });
    let connect = || fixture.dispatcher.connect(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let first = connect().unwrap();
    assert_eq!(connect().unwrap_err().to_string(), "ERR max number of clients reached");
    drop(first);
    assert!(connect().is_ok());
}

#[tokio::test]
async fn config_get_answers_patterns_and_nothing_is_set() {
    let mut talk = plain();
    talk.expect(
        &[
            ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n"),
            (
                "CONFIG GET appendonly maxcl*",
                "*4\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n$10\r\nmaxclients\r\n$5\r\n10000",
            ),
            ("CONFIG GET requirepass", "*0"),
        ]
        .map(|(line, expected)| (line, expected.trim_end())),
    )
    .await;
    assert!(talk.text("CONFIG SET save x").await.starts_with("-ERR the configuration cannot be changed"));
}

#[tokio::test]
async fn info_has_redis_sections_and_our_own() {
    let mut talk = plain();
    let all = talk.text("INFO").await;
    for part in [
        "# Server\r\nredis_version:7.2.0\r\n",
        "\r\n\r\n# Clients\r\nconnected_clients:1\r\n",
        "# Memory\r\nused_memory:",
        "loading:0\r\n",
        "# Replication\r\nrole:master\r\n",
        "# Raft\r\n",
        "machine_name:kvdb\r\n",
        "# Time\r\ntime_source:ntp\r\ntime_now:1700000003500000000\r\ntime_synchronized:yes\r\ntime_error_us:5000\r\n",
        "time_server0:name=ntp1:123,state=used,ahead_us=-2,delay_us=30,stratum=2\r\n",
    ] {
        assert!(all.contains(part), "{part:?} in {all}");
    }
    let one = talk.text("INFO replication stats").await;
    assert!(one.contains("# Stats") && one.contains("# Replication") && !one.contains("# Server"), "{one}");
    assert_eq!(talk.text("INFO nope").await, "$0\r\n\r\n");
}

#[tokio::test]
async fn every_family_has_help_and_every_builtin_answers_something() {
    let mut talk = plain();
    for family in ["CLIENT", "COMMAND", "CONFIG", "RAFT", "CLUSTER", "SENTINEL"] {
        let help = talk.text(&format!("{family} HELP")).await;
        assert!(
            help.contains(&format!("+{family} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")),
            "{help}"
        );
    }
    assert!(talk.text("RAFT HELP").await.contains("\r\n+INFO [pattern [pattern ...]]\r\n"));
    assert!(talk.text("CLIENT HELP").await.contains("\r\n+REPLY <ON | OFF | SKIP>\r\n"));
}

/// Arguments that no client sends on purpose, to every row of the table and every subcommand.
#[tokio::test]
async fn no_argument_makes_a_builtin_panic() {
    let odd: [&[u8]; 7] = [b"", b"\xff\0", b"-1", b"99999999999999999999", b"*", b"ID", b"\r\n"];
    let talk = plain();
    let dispatcher = Arc::clone(&talk.fixture.dispatcher);
    let mut client = talk.client;
    let names: Vec<Vec<String>> = (dispatcher.table.rows().iter())
        .flat_map(|row| row.subcommands.iter().chain([row]))
        .map(|row| row.name.split('|').map(str::to_owned).collect())
        .collect();
    for name in names {
        for first in odd {
            for count in 0..5 {
                let words = name.iter().map(|word| Bytes::from(word.clone()));
                let args = std::iter::once(first).chain(odd).take(count).map(Bytes::from_static);
                let command = Command::new(words.chain(args).collect()).unwrap();
                if let Route::Local(local) = dispatcher.route(&client, &command) {
                    dispatcher.answer(local, &mut client, &command).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn shutdown_says_nothing_and_stops_the_node() {
    let mut talk = plain();
    talk.expect(&[("SHUTDOWN LATER", "-ERR syntax error")]).await;
    assert!(!talk.fixture.shutdown.is_cancelled());
    talk.ask("SHUTDOWN").await;
    assert!(talk.fixture.shutdown.is_cancelled() && talk.client.is_closing() && !talk.client.takes_reply());
}

#[tokio::test]
async fn shutdown_with_save_takes_a_snapshot_first_or_does_not_stop() {
    let mut talk = plain();
    talk.fixture.cluster.fail(Some(|| raft::Error::SnapshotFailed));
    let failed = "-ERR the snapshot was not taken, the node's log says why";
    talk.expect(&[("SHUTDOWN SAVE NOSAVE", "-ERR syntax error"), ("SHUTDOWN SAVE", failed)]).await;
    assert!(!talk.fixture.shutdown.is_cancelled() && !talk.client.is_closing());
    talk.ask("SHUTDOWN SAVE FORCE").await;
    assert!(talk.fixture.shutdown.is_cancelled());

    for error in [None, Some((|| raft::Error::NothingToSnapshot) as fn() -> raft::Error)] {
        let mut talk = plain();
        talk.fixture.cluster.fail(error);
        talk.ask("SHUTDOWN NOW SAVE").await;
        assert_eq!(talk.fixture.cluster.batches(), ["s0"]);
        assert!(talk.fixture.shutdown.is_cancelled() && !talk.client.takes_reply());
    }
}
