//! Real clusters of real processes on this machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bootstrap;
mod catch_up;
mod digests;
mod failover;
mod force;
mod hostile;
mod load;
mod membership;
mod mixed;
mod partition;
mod plain_guests;
mod readonly;
mod reads;
mod security;
mod settings;
mod time;
mod views;
