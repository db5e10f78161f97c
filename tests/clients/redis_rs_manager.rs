//! redis-rs with one connection that it opens again, as the chapter "Client libraries" has it.

use crate::follow::{Draw, follow_in_process, snippet};
use uhaha_tests::Cluster;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::time::Duration;

async fn connect(url: &str) -> redis::RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    redis::Client::open(url)?.get_connection_manager_with_config(config).await
}

async fn ticket(client: &mut ConnectionManager) -> redis::RedisResult<i64> {
    redis::cmd("TICKET").query_async(client).await
}

struct Client(ConnectionManager);

impl Draw for Client {
    async fn draw(&mut self) -> Result<i64, String> {
        ticket(&mut self.0).await.map_err(|error| error.to_string())
    }
}

async fn open(cluster: &Cluster) -> Client {
    Client(connect(&format!("redis://{}", cluster.address(0))).await.unwrap())
}

#[test]
fn the_page_has_this_code() {
    assert!(include_str!("redis_rs_manager.rs").contains(&snippet("redis-rs.rs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_rs_connection_manager() {
    let errors = follow_in_process("redis-rs", "forward", open).await;
    assert_eq!(errors, Vec::<String>::new());
}
