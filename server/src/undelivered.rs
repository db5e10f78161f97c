//! `Undelivered`: the memory of replies that are on their way to those who count them.
//!
//! Replies are made by a thread that does nothing else, and taken by sessions that share the processors with everybody.
//! What is made and not taken is counted here, and so is what a client held that is being disconnected. While it is too
//! much nothing more is run, so that all of it stays within bounds however slowly it is taken.

use bytes::Bytes;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A handle; clones share one count.
#[derive(Clone)]
pub struct Undelivered {
    shared: Arc<Shared>,
}

struct Shared {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Told when there is room again.
    room: Notify,
}

/// Some bytes of the count, until it is dropped.
pub struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Undelivered {
    pub fn new(bytes_max: usize) -> Undelivered {
        Undelivered { shared: Arc::new(Shared { bytes: AtomicUsize::new(0), bytes_max, room: Notify::new() }) }
    }

    /// Counts bytes. What is there already is counted whether there is room or not.
    pub fn hold(&self, bytes: usize) -> Held {
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        Held { shared: Arc::clone(&self.shared), bytes }
    }

    /// Bytes that are counted as long as somebody has them.
    pub fn counted(&self, bytes: Bytes) -> Bytes {
        let _held = self.hold(bytes.len());
        Bytes::from_owner(Counted { bytes, _held })
    }

    pub fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Returns when more may be made.
    pub async fn room(&self) {
        while !self.has_room() {
            let mut told = pin!(self.shared.room.notified());
            told.as_mut().enable();
            // What was given up before this one listened is not told.
            if !self.has_room() {
                told.await;
            }
        }
    }
}

struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) <= self.bytes_max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if before > self.shared.bytes_max && before - self.bytes <= self.shared.bytes_max {
            self.shared.room.notify_waiters();
        }
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undelivered({} of {})", self.shared.bytes.load(Ordering::Relaxed), self.shared.bytes_max)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn there_is_room_again_once_enough_is_taken() {
        let undelivered = Undelivered::new(10);
        let (first, second) = (undelivered.hold(10), undelivered.hold(5));
        let room = tokio::spawn({
            let undelivered = undelivered.clone();
            async move { undelivered.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!room.is_finished() && undelivered.room().now_or_never().is_none());
        let third = undelivered.hold(7);
        drop(second);
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        drop(first);
        room.await.unwrap();
        drop(third);
        assert_eq!(format!("{undelivered:?}"), "Undelivered(0 of 10)");
        let bytes = undelivered.counted(Bytes::from_static(b"counted bytes"));
        let part = bytes.slice(3..5);
        drop(bytes);
        assert!(!undelivered.has_room() && part == "nt");
        drop(part);
        assert!(undelivered.has_room());
    }
}
