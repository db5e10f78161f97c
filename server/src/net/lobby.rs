//! Where connections wait that came when all places were taken: one of them may be a node, and a cluster must not fall
//! apart because there are many clients.
//!
//! A visitor leaves as a node that has proven who it is, or is sent away: a client at its first byte, who says nothing
//! at the deadline, and the one that waits longest when there are too many. A node proves itself in two round trips, so
//! to keep it out somebody would have to fill the lobby anew in that time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most visitors at a time.
pub(super) const VISITORS_MAX: usize = 64;
/// Who has said nothing by then is no node.
pub(super) const VISIT_MAX: Duration = Duration::from_secs(1);

/// A handle; clones share one lobby.
#[derive(Clone, Debug, Default)]
pub(super) struct Lobby {
    /// In the order in which they came.
    visitors: Arc<Mutex<Visitors>>,
}

#[derive(Debug, Default)]
struct Visitors {
    next: u64,
    waiting: VecDeque<(u64, CancellationToken)>,
}

/// A connection in the lobby, until it is dropped.
#[derive(Debug)]
pub struct Visitor {
    lobby: Lobby,
    number: u64,
    sent_away: CancellationToken,
}

impl Lobby {
    pub(super) fn enter(&self) -> Visitor {
        let sent_away = CancellationToken::new();
        let mut visitors = self.lock();
        let number = visitors.next;
        visitors.next += 1;
        visitors.waiting.push_back((number, sent_away.clone()));
        if visitors.waiting.len() > VISITORS_MAX
            && let Some((_, longest)) = visitors.waiting.pop_front()
        {
            longest.cancel();
        }
        drop(visitors);
        Visitor { lobby: self.clone(), number, sent_away }
    }

    fn lock(&self) -> MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    /// What comes of `talk`; `None` if the visitor is sent away first.
    pub(super) async fn unless_sent_away<T>(&self, talk: impl Future<Output = T>) -> Option<T> {
        self.sent_away.run_until_cancelled(talk).await
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.lobby.lock().waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_waits_longest_makes_room() {
        let lobby = Lobby::default();
        let mut visitors: VecDeque<Visitor> = (0..VISITORS_MAX).map(|_| lobby.enter()).collect();
        drop(visitors.remove(1));
        visitors.push_back(lobby.enter());
        assert!(visitors.iter().all(|visitor| !visitor.sent_away.is_cancelled()));
        visitors.push_back(lobby.enter());
        let sent_away: Vec<bool> = visitors.iter().map(|visitor| visitor.sent_away.is_cancelled()).collect();
        assert!(sent_away[0] && !sent_away[1..].contains(&true));
        assert!(visitors[0].unless_sent_away(std::future::pending::<()>()).await.is_none());
    }
}
