//! `Agreement`: how a cluster comes to its settings, and to other ones.
//!
//! Each node announces the settings that it was started with. The first leader proposes its own; later ones are proposed
//! once every voter wants the same. So a limit is changed by restarting the nodes one after the other, and the last of
//! them switches it, at one entry for all.
//!
//! While the engine in force is not this node's, it leads without proposing commands: they could not be applied.

use super::Error;
use super::presence::Presence;
use super::status::Member;
use crate::machine::Machine;
use crate::settings::{Change, Settings};
use crate::storage::log::LogStorage;
use crate::type_config::NodeId;
use openraft::EntryPayload;
use openraft::storage::RaftLogReader;
use std::time::{Duration, Instant};

/// Entries of the log that are looked at together.
const ENTRIES_MAX: u64 = 1024;
/// How often it is said again that nodes want other settings, and how soon something else is said about it.
const SAY_AGAIN: Duration = Duration::from_secs(600);
const SAY_NEWS: Duration = Duration::from_secs(5);

/// An error if the log has entries that this node's engine cannot apply, before it is asked to apply any.
pub(super) async fn check_log(log: &LogStorage, machine: &Machine) -> Result<(), Error> {
    let mut log = log.clone();
    let mut check = machine.log_check();
    let mut index = machine.status().applied.map_or(0, |log_id| log_id.index + 1);
    while !check.is_over() {
        let entries = log.try_get_log_entries(index..index + ENTRIES_MAX).await.map_err(Error::ReadLog)?;
        let Some(last) = entries.last() else { break };
        index = last.log_id.index + 1;
        for entry in &entries {
            if let EntryPayload::Normal(proposal) = &entry.payload {
                check.take(entry.log_id.index, proposal).map_err(Error::Apply)?;
            }
        }
    }
    Ok(())
}

pub(super) struct Agreement {
    machine: Machine,
    presence: Presence,
    node_id: NodeId,
    said: Option<(Instant, String)>,
}

/// What a leader may propose.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Commands, with settings if there is something to say about them.
    Commands(Option<Change>),
    /// Nothing: the engine in force is another one.
    Nothing,
}

impl Agreement {
    pub(super) fn new(machine: Machine, presence: Presence, node_id: NodeId) -> Agreement {
        Agreement { machine, presence, node_id, said: None }
    }

    /// What may be proposed next, with these voters.
    pub(super) fn next(&self, mut voters: impl Iterator<Item = NodeId>) -> Next {
        let (active, wanted) = (self.machine.settings(), self.machine.wanted_settings());
        match active {
            None => Next::Commands(Some(Change::First((**wanted).clone()))),
            Some(active) if active == *wanted => Next::Commands(None),
            Some(_) if voters.all(|voter| self.wanted_by(voter).as_ref() == Some(&**wanted)) => {
                Next::Commands(Some(Change::To((**wanted).clone())))
            }
            Some(active) if active.engine == wanted.engine => Next::Commands(None),
            Some(_) => Next::Nothing,
        }
    }

    /// What a node wants, if it says so.
    fn wanted_by(&self, node_id: NodeId) -> Option<Settings> {
        match node_id == self.node_id {
            true => Some((**self.machine.wanted_settings()).clone()),
            // Settings of a later version are none that this node could propose.
            false => self.presence.wants(node_id).and_then(|bytes| Settings::decode(&bytes).ok()),
        }
    }

    /// Says now and then which members want other settings than those in force.
    pub(super) fn report(&mut self, members: &[Member]) {
        let Some(active) = self.machine.settings() else { return };
        let wants = members.iter().filter_map(|member| {
            let wanted = self.wanted_by(member.node_id)?.difference(&active);
            (!wanted.is_empty()).then(|| format!("{}: {wanted}", member.node.name))
        });
        let wants = wants.collect::<Vec<_>>().join("; ");
        if wants.is_empty() {
            self.said = None;
            return;
        }
        let pause = |said: &String| if *said == wants { SAY_AGAIN } else { SAY_NEWS };
        if self.said.as_ref().is_none_or(|(at, said)| at.elapsed() >= pause(said)) {
            tracing::warn!(
                wants,
                "nodes want other settings than those in force, which stay until all voters want the same"
            );
            self.said = Some((Instant::now(), wants));
        }
    }
}
