//! What happens to clusters now and then. The first node lives through all of it: what it has at the end is what a node
//! has after so long.

use crate::shown;
use std::time::Duration;
use uhaha_tests::{Cluster, Value};

#[derive(Debug)]
pub(crate) struct Events {
    every: Duration,
    next: Duration,
    all: Vec<(Duration, String)>,
}

impl Events {
    pub(crate) fn new(every: Duration) -> Events {
        Events { every, next: every, all: Vec::new() }
    }

    pub(crate) fn all(&self) -> &[(Duration, String)] {
        &self.all
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.all.last().map(|(at, what)| format!("{what} at {}", shown(*at)))
    }

    pub(crate) fn happen_if_due(&mut self, cluster: &mut Cluster, now: Duration) {
        if now < self.next {
            return;
        }
        self.next += self.every;
        let turn = self.all.len();
        // Of the others, one after the other.
        let other = if cluster.len() > 1 { 1 + turn / 4 % (cluster.len() - 1) } else { 0 };
        let what = match turn % 4 {
            _ if cluster.len() == 1 => snapshot(cluster, 0),
            0 => snapshot(cluster, other),
            1 => transfer(cluster),
            2 => {
                cluster.stop(other);
                cluster.restart(other);
                format!("node {} is restarted", other + 1)
            }
            _ => {
                cluster.kill(other);
                cluster.restart(other);
                format!("node {} is killed and started", other + 1)
            }
        };
        self.all.push((now, what));
    }
}

/// There may be one under way, or nothing new for one.
fn snapshot(cluster: &Cluster, position: usize) -> String {
    let reply = cluster.client(position).call(&["RAFT", "SNAPSHOT", "NOW"]);
    let declined = if matches!(reply, Value::Error(_)) { ", declined" } else { "" };
    format!("node {} takes a snapshot{declined}", position + 1)
}

/// The leader may have changed since it was asked for.
fn transfer(cluster: &Cluster) -> String {
    let leader = cluster.leader();
    cluster.client(leader).call(&["RAFT", "TRANSFER"]);
    format!("node {} hands leadership over", leader + 1)
}
