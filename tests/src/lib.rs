//! The harness of the tests: real server processes (`server`), several of them as one (`cluster`), a client that sees
//! every byte (`client`), waiting for states (`wait`), the guests to serve (`guests`), NTP servers (`ntp`), networks
//! that are cut (`network`) and connections that go wrong (`proxy`), and whether what clients saw is linearizable
//! (`linearizability`), or may be what a node has (`own_state`); clients that mean harm (`hostile`) and one that means
//! none (`bystander`). And data directories: those of earlier versions (`fixtures`), and what becomes of damaged ones
//! (`flips`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells about it on the terminal"
)]

pub mod bystander;
pub mod client;
pub mod cluster;
pub mod fixtures;
pub mod flips;
pub mod guarantees;
pub mod guests;
pub mod hostile;
pub mod linearizability;
pub mod network;
pub mod ntp;
pub mod own_state;
pub mod process;
pub mod proxy;
pub mod server;
pub mod tls;
pub mod wait;

pub use client::{Client, Value, bulk, int, ok};
pub use cluster::Cluster;
pub use guests::Module;
pub use server::{Node, Server};

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in the workspace").to_owned()
}
