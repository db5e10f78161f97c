//! What keeps a node from living on as a shell: when openraft or one of our tasks ends by itself, the node stops.

use super::Raft;
use crate::fault::{Alarm, Fault};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::Fatal;
use tokio_util::task::TaskTracker;

/// Runs a task whose panic stops the node, for nobody would answer what waits for it.
pub(super) fn task(
    tasks: &TaskTracker,
    name: &'static str,
    alarm: Alarm,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let running = tasks.spawn(task);
    tokio::spawn(async move {
        if let Err(error) = running.await
            && error.is_panic()
        {
            alarm.raise(&Fault::because(format!("the task {name} panicked"), error));
        }
    });
}

/// Watches openraft's core, which ends at the first error of the disk.
pub(super) fn core(raft: &Raft, alarm: Alarm) {
    let raft = raft.clone();
    let mut metrics = raft.metrics();
    tokio::spawn(async move {
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            match state {
                Err(Fatal::Stopped) => return,
                Err(fatal) => return alarm.raise(&Fault::because("raft cannot go on", fatal)),
                Ok(()) => {}
            }
            if metrics.changed().await.is_err() {
                // After a panic there is no last state, but an answer.
                if let Err(fatal @ Fatal::Panicked) = raft.with_raft_state(|_| ()).await {
                    alarm.raise(&Fault::because("raft cannot go on", fatal));
                }
                return;
            }
        }
    });
}
