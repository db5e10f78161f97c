//! Data directories: those of earlier versions, damaged ones, and how a cluster repairs them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod repair;
mod upgrade;
