//! `evidence`: what is written down about a difference, for people.

use super::Cluster;
use crate::digest::{Difference, Digests};
use crate::type_config::{Node, NodeId};
use std::fmt::Write;

/// What another voter has after the entry in question; nothing if it did not answer or has forgotten.
pub(super) struct Answer {
    pub(super) node_id: NodeId,
    pub(super) node: Node,
    pub(super) digests: Option<Digests>,
}

/// On one line, for the log.
pub(super) fn answers_text(answers: &[Answer]) -> String {
    let one = |answer: &Answer| match answer.digests {
        Some(digests) => format!("{} has {digests}", answer.node),
        None => format!("{} does not say", answer.node),
    };
    answers.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// `tail` are the last entries.
pub(super) fn text(cluster: &Cluster, difference: &Difference, answers: &[Answer], tail: &str) -> String {
    let guest = cluster.shared.machine.guest();
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    let (index, ours, theirs) = (difference.index(), difference.ours, difference.theirs);
    let what = if difference.is_of_replies() { "replies" } else { "states" };
    let mut text = format!(
        "uhaha-server evidence 1\n\
         written at {now} by node {node}\n\
         after the entry {index} the {what} differ\n\
         this node has {ours}\n\
         another had {theirs}\n",
        node = cluster.shared.node,
    );
    for answer in answers {
        // Writing to a string cannot fail.
        let _ = match answer.digests {
            Some(digests) => writeln!(text, "node {} ({}) has {digests}", answer.node, answer.node_id),
            None => writeln!(text, "node {} ({}) does not say", answer.node, answer.node_id),
        };
    }
    let _ = write!(
        text,
        "server {version}\nmodule {module}\nengine {engine}\n\nThe last entries that this node applied, with its replies:\n{tail}",
        version = env!("CARGO_PKG_VERSION"),
        module = guest.hash(),
        engine = guest.fingerprint(),
    );
    text
}
