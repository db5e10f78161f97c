//! Reads of a node's own state, `SENTINEL`, and what is announced to those who subscribe.

use super::*;

#[tokio::test]
async fn a_connection_chooses_where_it_reads() {
    let mut talk = plain();
    talk.fixture.cluster.follow(true);
    talk.expect(&[("GET a", "$-1"), ("READONLY", "+OK"), ("GET a", "$-1"), ("READWRITE", "+OK"), ("GET a", "$-1")])
        .await;
    assert_eq!(talk.fixture.cluster.batches(), ["r1", "h1", "r1"]);
    let mut talk = Talk::new(Options { open_reads: true, ..Options::default() });
    talk.expect(&[("GET a", "$-1"), ("READWRITE", "+OK"), ("GET a", "$-1"), ("RESET", "+RESET"), ("GET a", "$-1")])
        .await;
    assert_eq!(talk.fixture.cluster.batches(), ["h1", "r1", "h1"]);
}

/// A cluster client that knew the node as a replica may not have turned it off.
#[tokio::test]
async fn a_leader_takes_no_notice_of_readonly() {
    let mut talk = plain();
    talk.expect(&[("READONLY", "+OK"), ("GET a", "$-1")]).await;
    assert_eq!(talk.fixture.cluster.batches(), ["r1"]);
}

#[tokio::test]
async fn sentinel_clients_find_the_leader() {
    let mut talk = plain();
    talk.expect(&[
        ("SENTINEL GET-MASTER-ADDR-BY-NAME uhaha", "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n11001"),
        ("SENTINEL get-master-addr-by-name other", "*-1"),
        ("SENTINEL MASTER other", "-ERR No such master with that name"),
        ("SENTINEL REPLICAS uhaha", "*0"),
        ("SENTINEL SENTINELS uhaha", "*0"),
        ("SENTINEL CKQUORUM uhaha", "+OK 1 usable Sentinels. Quorum and failover authorization can be reached"),
        ("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 11001 0 *", "*3\r\n:0\r\n$1\r\n*\r\n:0"),
    ])
    .await;
    talk.fixture.cluster.follow(true);
    talk.expect(&[
        ("SENTINEL GET-MASTER-ADDR-BY-NAME uhaha", "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n11002"),
        ("SENTINEL CKQUORUM uhaha", "+OK 2 usable Sentinels. Quorum and failover authorization can be reached"),
    ])
    .await;
    let masters = talk.text("SENTINEL MASTERS").await;
    assert!(masters.contains("\r\nflags\r\n$6\r\nmaster\r\n"), "{masters}");
    assert!(talk.text("SENTINEL SLAVES uhaha").await.contains("\r\nslave\r\n"));
    talk.fixture.cluster.follow(false);
    let masters = talk.text("SENTINEL MASTERS").await;
    assert!(masters.contains("master,s_down,o_down"), "{masters}");
    assert!(talk.text("SENTINEL CKQUORUM uhaha").await.starts_with("-NOQUORUM 1 usable"));
    talk.expect(&[("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 11002 0 *", "*3\r\n:1\r\n$1\r\n*\r\n:0")]).await;
}

#[tokio::test]
async fn a_new_leader_is_announced_to_those_who_subscribe() {
    let mut talk = plain();
    talk.expect(&[
        ("SUBSCRIBE news +switch-master", "-ERR nothing is published to 'news': there are only the channels of Sentinel, such as +switch-master\r\n*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1"),
        ("PSUBSCRIBE *-master", "*3\r\n$10\r\npsubscribe\r\n$8\r\n*-master\r\n:2"),
        ("GET a", "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"),
        ("PING", "*2\r\n$4\r\npong\r\n$0"),
    ])
    .await;
    talk.fixture.cluster.follow(true);
    let event = "uhaha 127.0.0.1 11001 127.0.0.1 11002";
    let message = ["message", "+switch-master", event].map(Reply::bulk).to_vec();
    let by_pattern = ["pmessage", "*-master", "+switch-master", event].map(Reply::bulk).to_vec();
    assert_eq!(talk.client.pushed().await, [Reply::Push(message), Reply::Push(by_pattern)]);
    talk.expect(&[
        ("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$14\r\n+switch-master\r\n:1"),
        ("PUNSUBSCRIBE *-master", "*3\r\n$12\r\npunsubscribe\r\n$8\r\n*-master\r\n:0"),
        ("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0"),
        ("PING", "+PONG"),
    ])
    .await;
    assert!(!talk.client.is_subscribed());
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let mut talk = plain();
    for number in 0..64 {
        talk.text(&format!("SUBSCRIBE +{number}")).await;
    }
    talk.expect(&[("PSUBSCRIBE *", "-ERR a client has at most 64 subscriptions")]).await;
    talk.expect(&[("RESET", "+RESET"), ("PING", "+PONG")]).await;
    assert!(talk.text(&format!("PSUBSCRIBE {}", "*".repeat(257))).await.starts_with("-ERR a channel or pattern"));
}
