//! Stand-in for the storage layer while it is built elsewhere.

pub mod snapshots;
