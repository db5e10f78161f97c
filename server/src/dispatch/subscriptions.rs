//! `Subscriptions`: what one client wants to be told without asking, which is Sentinel's events alone.
//!
//! There is no queue: a client that is slow to take an event finds the newest state when it looks again, and misses
//! only leaders that are none any more.

use super::glob;
use crate::reply::Reply;
use crate::type_config::{Node, NodeId};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::future::pending;
use tokio::sync::watch;

/// The one name under which Sentinel clients find this cluster.
pub(super) const MASTER: &str = "uhaha";
/// Where a new leader is announced, and where the old one as its replica: some clients listen to one, some to the other.
const SWITCH: &[u8] = b"+switch-master";
const REPLICA: &[u8] = b"+slave";
/// Most channels and patterns of one client, together.
pub(super) const SUBSCRIPTIONS_MAX: usize = 64;

type Leaders = watch::Receiver<Option<(NodeId, Node)>>;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) channels: BTreeSet<Bytes>,
    pub(super) patterns: BTreeSet<Bytes>,
    leaders: Option<Leaders>,
    /// The address that the client knows.
    master: Option<String>,
}

impl Subscriptions {
    pub(super) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Begins to look at who leads, if there is something to tell it to.
    pub(super) fn follow(&mut self, leaders: impl FnOnce() -> Leaders) {
        if self.count() == 0 {
            *self = Subscriptions::default();
        } else if self.leaders.is_none() {
            let mut leaders = leaders();
            self.master = leaders.borrow_and_update().as_ref().map(|(_, node)| node.address.clone());
            self.leaders = Some(leaders);
        }
    }

    /// The messages of the next event that the client wants, one for each subscription that fits.
    pub(super) async fn next(&mut self) -> Vec<Reply> {
        let Some(leaders) = &mut self.leaders else { return pending().await };
        loop {
            if leaders.changed().await.is_err() {
                // The node stops, which ends the session too.
                return pending().await;
            }
            let Some(new) = leaders.borrow_and_update().as_ref().map(|(_, node)| node.address.clone()) else {
                continue;
            };
            let Some(old) = self.master.replace(new.clone()).filter(|old| *old != new) else { continue };
            let (old_at, new_at) = (host_port(&old), host_port(&new));
            let switch = format!("{MASTER} {old_at} {new_at}");
            let replica = format!("slave {old} {old_at} @ {MASTER} {new_at}");
            let mut messages = messages(&self.channels, &self.patterns, SWITCH, &switch);
            messages.extend(self::messages(&self.channels, &self.patterns, REPLICA, &replica));
            if !messages.is_empty() {
                return messages;
            }
        }
    }
}

/// Host and port as an event has them, with a blank between.
fn host_port(address: &str) -> String {
    let (host, port) = super::host_and_port(address);
    format!("{host} {port}")
}

fn messages(channels: &BTreeSet<Bytes>, patterns: &BTreeSet<Bytes>, channel: &[u8], event: &str) -> Vec<Reply> {
    let text = |bytes: &[u8]| Reply::Bulk(Bytes::copy_from_slice(bytes));
    let direct = channels.iter().filter(|own| *own == channel).map(|_| {
        let parts = vec![Reply::bulk("message"), text(channel), Reply::bulk(event)];
        Reply::Push(parts)
    });
    let by_pattern = patterns.iter().filter(|pattern| glob::matches(pattern, channel)).map(|pattern| {
        let parts = vec![Reply::bulk("pmessage"), text(pattern), text(channel), Reply::bulk(event)];
        Reply::Push(parts)
    });
    direct.chain(by_pattern).collect()
}
