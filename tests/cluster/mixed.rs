//! Pipelines of writes with reads among them.

use std::thread;
use uhaha_tests::client::Client;
use uhaha_tests::guarantees::states_are_equal;
use uhaha_tests::{Cluster, Module, bulk, ok};

const PAIRS: usize = 20;

/// Each read sees the write before it and not the one after, on every node, while other clients write.
#[test]
fn each_read_sees_the_write_before_it() {
    let cluster = Cluster::start(Module::kvdb(), 3);
    thread::scope(|scope| {
        for position in 0..3 {
            for client in [cluster.client(position), cluster.client(position)] {
                scope.spawn(move || set_and_get(client, position));
            }
        }
    });
    let mut writer = cluster.client(cluster.leader());
    states_are_equal(&cluster, || drop(writer.call(&["SET", "a", "1"])));
}

fn set_and_get(mut client: Client, position: usize) {
    let id = client.call(&["CLIENT", "ID"]).integer();
    let key = format!("key-{position}-{id}");
    // Whoever has read nothing yet may want much.
    client.call(&["GET", &key]);
    for round in 0..40 {
        let values: Vec<String> = (0..PAIRS).map(|pair| format!("{round}-{pair}")).collect();
        let pair =
            |value: &String| [vec!["SET".to_owned(), key.clone(), value.clone()], vec!["GET".to_owned(), key.clone()]];
        let replies = client.pipeline(&values.iter().flat_map(pair).collect::<Vec<_>>());
        for (replies, value) in replies.chunks(2).zip(&values) {
            assert_eq!(replies, [ok(), bulk(value)]);
        }
    }
}

/// The nodes that pass the reads over must cut their work at the same places, also where some of it is undone.
#[test]
fn what_fails_among_them_leaves_no_trace_anywhere() {
    let cluster = Cluster::start_with(Module::hostile(), 3, &["--guest-fuel", "1000000"]);
    let mut client = cluster.client(cluster.follower());
    let mut counter = 0;
    client.call(&["GET"]);
    for _ in 0..20 {
        let commands = ["INCR", "DIRTY", "TRAP", "GET", "INCR", "SPIN", "GET", "INCR", "GET"];
        let replies = client.pipeline(&commands.map(|command| vec![command]));
        assert_eq!(replies[0].integer(), counter + 1);
        replies[2].assert_error("TRAP TRAP at index ");
        let seen = [&replies[3], &replies[6], &replies[8]].map(|reply| reply.array()[0].integer());
        assert_eq!(seen, [counter + 1, counter + 2, counter + 3]);
        counter += 3;
    }
    states_are_equal(&cluster, || drop(client.call(&["INCR"])));
}
