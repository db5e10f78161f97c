//! Replies of one connection come in the order of its commands, and each command sees those before it.

use uhaha_tests::client::words;
use uhaha_tests::{Module, Server, Value, bulk, int, ok};

const COMMANDS: i64 = 10_000;

#[test]
fn ten_thousand_writes_in_one_pipeline_keep_their_order() {
    let server = Server::start(Module::ticket());
    let commands: Vec<Vec<&str>> = (0..COMMANDS).map(|_| vec!["TICKET"]).collect();
    let replies = server.client().pipeline(&commands);
    let expected: Vec<Value> = (1..=COMMANDS).map(int).collect();
    assert!(replies == expected, "tickets come in order");
}

#[test]
fn a_read_sees_the_writes_before_it_and_none_after() {
    let server = Server::start(Module::kvdb());
    let mut commands = Vec::new();
    let mut expected = Vec::new();
    for round in 0..500 {
        let value = round.to_string();
        commands.push(vec!["SET".to_owned(), "key".to_owned(), value.clone()]);
        expected.push(ok());
        commands.push(vec!["GET".to_owned(), "key".to_owned()]);
        expected.push(bulk(&value));
        commands.push(vec!["ECHO".to_owned(), value.clone()]);
        expected.push(bulk(&value));
        if round % 50 == 0 {
            commands.push(vec!["DEL".to_owned(), "key".to_owned()]);
            expected.push(int(1));
            commands.push(vec!["GET".to_owned(), "key".to_owned()]);
            expected.push(Value::Null);
        }
    }
    for mut client in [server.client(), server.client3()] {
        assert_eq!(client.pipeline(&commands), expected);
    }
}

#[test]
fn a_refused_command_stands_in_its_place() {
    let server = Server::start(Module::ticket());
    let pipeline = ["TICKET", "NOPE", "TICKET", "TICKET 1", "PING", "TICKET", "CLIENT WHAT", "TICKET"];
    let commands: Vec<Vec<&str>> = pipeline.iter().map(|command| words(command)).collect();
    let replies = server.client().pipeline(&commands);
    let tickets = [0, 2, 5, 7].map(|at| replies[at].integer());
    assert_eq!(tickets, [1, 2, 3, 4]);
    replies[1].assert_error("ERR unknown command 'NOPE'");
    replies[3].assert_error("ERR wrong number of arguments for 'ticket' command");
    assert_eq!(replies[4], Value::Simple("PONG".to_owned()));
    replies[6].assert_error("ERR unknown subcommand 'WHAT'");
}

#[test]
fn many_connections_share_one_order() {
    let server = Server::start(Module::ticket());
    let commands: Vec<Vec<&str>> = (0..1000).map(|_| vec!["TICKET"]).collect();
    let mut tickets: Vec<i64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| server.client().pipeline(&commands))).collect();
        let replies = clients.into_iter().flat_map(|client| {
            let own: Vec<i64> = client.join().unwrap().iter().map(Value::integer).collect();
            assert!(own.is_sorted_by(|a, b| a < b), "the tickets of one connection rise");
            own
        });
        replies.collect()
    });
    tickets.sort_unstable();
    assert!(tickets.into_iter().eq(1..=8000), "each ticket was handed out once");
}
