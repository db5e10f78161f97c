//! redis-rs as a cluster client, as the chapter "Client libraries" has it.

use crate::follow::{Draw, follow_in_process, snippet};
use uhaha_tests::Cluster;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use std::time::Duration;

async fn connect(urls: Vec<String>) -> redis::RedisResult<ClusterConnection> {
    let client = ClusterClient::builder(urls).response_timeout(Duration::from_secs(10)).build()?;
    client.get_async_connection().await
}

async fn ticket(client: &mut ClusterConnection) -> redis::RedisResult<i64> {
    redis::cmd("TICKET").query_async(client).await
}

struct Client(ClusterConnection);

impl Draw for Client {
    async fn draw(&mut self) -> Result<i64, String> {
        ticket(&mut self.0).await.map_err(|error| error.to_string())
    }
}

async fn open(cluster: &Cluster) -> Client {
    let urls = (0..3).map(|position| format!("redis://{}", cluster.address(position))).collect();
    Client(connect(urls).await.unwrap())
}

#[test]
fn the_page_has_this_code() {
    assert!(include_str!("redis_rs_cluster.rs").contains(&snippet("redis-rs-cluster.rs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_rs_cluster() {
    for redirect in ["forward", "moved"] {
        follow_in_process("redis-rs, cluster", redirect, open).await;
    }
}
