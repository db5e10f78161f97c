//! Stock clients drive the server: redis-cli, redis-py and redis-rs run one scenario, each in RESP2 and RESP3; and all
//! libraries in reach follow a leader that changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod follow;
mod redis_cli;
mod redis_py;
mod redis_rs;
mod redis_rs_cluster;
mod redis_rs_manager;
mod scenario;
