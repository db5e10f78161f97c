//! The threads that serve connections.

use crate::guest;
use std::io;
use tokio::runtime::{Builder, Runtime};

/// So many threads. Short reads run where their clients are served, so each has the stack that a guest may need.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(guest::THREAD_STACK_BYTES)
        .on_thread_start(guest::declare_guest_thread)
        .enable_all()
        .build()
}
