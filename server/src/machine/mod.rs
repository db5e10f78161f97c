//! Stand-in for the machine layer while it is built elsewhere: its face and nothing behind it.

use crate::guest::spec::Description;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub now: u64,
    pub boot: u64,
    pub applied_index: u64,
    pub state_bytes: u64,
    pub traps: u64,
}

#[derive(Debug)]
pub struct Machine {
    description: Arc<Description>,
}

impl Machine {
    pub fn status(&self) -> Status {
        Status::default()
    }

    pub fn description(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }
}
