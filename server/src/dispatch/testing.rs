//! A dispatcher for tests, here and of the session above. The only tests' place that builds the layers below.

use super::{Dispatcher, Options};
use crate::machine::{Machine, description};
use crate::raft::Cluster;
use crate::storage::snapshots::Snapshots;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) struct Fixture {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn fixture(options: Options) -> Fixture {
    let cluster = Arc::new(Cluster::default());
    let machine = Arc::new(Machine::with(description()));
    let shutdown = CancellationToken::new();
    let dispatcher =
        Dispatcher::new(options, Arc::clone(&cluster), machine, Arc::new(Snapshots::default()), shutdown.clone());
    Fixture { dispatcher: Arc::new(dispatcher.unwrap()), cluster, shutdown }
}
