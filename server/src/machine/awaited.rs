//! Replies that this node waits for from its own log, because it forwarded their commands.
//!
//! Whoever proposed them may be gone before it can answer. What was committed is applied here all the same, and gives
//! the same replies.

use super::Shared;
use crate::replies::Replies;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Who waits for which request. Bounded by the commands that clients of this node have under way.
#[derive(Default)]
pub(super) struct Awaited(Mutex<HashMap<u64, oneshot::Sender<Replies>>>);

impl Awaited {
    /// Gives the replies of a request to whoever waits for them.
    pub(super) fn give(&self, request: u64, replies: &Replies, first: u32, count: u32) {
        if let Some(waiting) = self.lock().remove(&request) {
            let first = first as usize;
            // Who waited may have been answered by the leader at the same moment.
            let _ = waiting.send(replies.part(first..first + count as usize));
        }
    }

    /// Whether somebody waits for the replies of a request.
    pub(super) fn awaits(&self, request: u64) -> bool {
        self.lock().contains_key(&request)
    }

    /// The request was applied, and what it replied here is not to be told.
    pub(super) fn forget_one(&self, request: u64) {
        self.lock().remove(&request);
    }

    /// Some entries were skipped: nobody will ever know what they replied.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Replies>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The promise of a request's replies; dropped, nobody waits for them any more.
pub struct Awaiting {
    shared: Arc<Shared>,
    request: u64,
    replies: oneshot::Receiver<Replies>,
}

impl Awaiting {
    pub(super) fn new(shared: &Arc<Shared>, request: u64) -> Awaiting {
        let (sender, replies) = oneshot::channel();
        shared.awaited.lock().insert(request, sender);
        Awaiting { shared: Arc::clone(shared), request, replies }
    }

    /// The replies, once they are there; `None` if that will never be.
    pub async fn replies(&mut self) -> Option<Replies> {
        (&mut self.replies).await.ok()
    }

    /// The replies if they are there: to be asked when all that could give them has been applied.
    pub fn given(&mut self) -> Given {
        match self.replies.try_recv() {
            Ok(replies) => Given::Replies(replies),
            Err(oneshot::error::TryRecvError::Empty) => Given::Nothing,
            Err(oneshot::error::TryRecvError::Closed) => Given::Unknown,
        }
    }
}

/// What applying the log has given so far.
pub enum Given {
    Replies(Replies),
    Nothing,
    /// Entries were skipped.
    Unknown,
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.shared.awaited.lock().remove(&self.request);
    }
}
