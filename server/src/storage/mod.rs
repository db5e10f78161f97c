//! What is on disk.

pub mod snapshots;
