//! redis-rs, blocking and asynchronous.

use crate::scenario::{assert_reply, steps};
use redis::{Cmd, Value};
use uhaha_tests::{Module, Server};

const PROTOCOLS: [&str; 2] = ["resp2", "resp3"];

fn client(server: &Server, protocol: &str) -> redis::Client {
    redis::Client::open(format!("redis://{}/?protocol={protocol}", server.address())).unwrap()
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}

fn shown(reply: Result<Value, redis::RedisError>) -> String {
    match reply {
        Ok(Value::Nil) => "(nil)".to_owned(),
        Ok(Value::Int(number)) => format!("(integer) {number}"),
        Ok(Value::Okay) => "OK".to_owned(),
        Ok(Value::SimpleString(text)) => text,
        Ok(Value::BulkString(bytes)) => String::from_utf8(bytes).unwrap(),
        Ok(Value::Array(values)) => values.into_iter().map(|value| shown(Ok(value))).collect::<Vec<_>>().join(" "),
        Ok(other) => panic!("the scenario has no such reply: {other:?}"),
        Err(error) => format!("(error) {error}"),
    }
}

#[test]
fn blocking_redis_rs_runs_the_scenario() {
    for protocol in PROTOCOLS {
        let server = Server::start(Module::kvdb());
        let mut connection = client(&server, protocol).get_connection().unwrap();
        for (words, expected) in steps() {
            let reply = shown(command(&words).query(&mut connection));
            assert_reply(&format!("redis-rs, {protocol}"), &words, expected, &reply);
        }
    }
}

#[tokio::test]
async fn asynchronous_redis_rs_runs_the_scenario() {
    for protocol in PROTOCOLS {
        let server = Server::start(Module::kvdb());
        let mut connection = client(&server, protocol).get_multiplexed_async_connection().await.unwrap();
        for (words, expected) in steps() {
            let reply = shown(command(&words).query_async(&mut connection).await);
            assert_reply(&format!("redis-rs, asynchronous, {protocol}"), &words, expected, &reply);
        }
    }
}

#[test]
fn redis_rs_pipelines() {
    for protocol in PROTOCOLS {
        let server = Server::start(Module::ticket());
        let mut connection = client(&server, protocol).get_connection().unwrap();
        let mut pipeline = redis::pipe();
        for _ in 0..1000 {
            pipeline.cmd("TICKET");
        }
        let tickets: Vec<i64> = pipeline.query(&mut connection).unwrap();
        assert!(tickets.into_iter().eq(1..=1000));
    }
}
