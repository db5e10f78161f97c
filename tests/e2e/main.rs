//! End-to-end tests: the real binary, real sockets, one file a behaviour.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod connection;
mod export;
mod guest_faults;
mod hostile;
mod inspect;
mod kill;
mod pipelines;
mod protocol;
mod redis_server;
mod replay;
mod replay_command;
mod restart;
mod settings;
mod single_node;
mod snapshots;
mod time;
