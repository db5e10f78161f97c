//! What nodes have on their disks: read when a node has ended, by the server's own code.

use crate::os::{self, HostId};
use crate::trace;
use crate::verdict::report;
use std::collections::{BTreeMap, BTreeSet};
use uhaha_server::storage;

/// The logs of all nodes, as far as they were seen.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// The term and the content of what was committed.
    committed: BTreeMap<u64, (u64, u64)>,
    /// The content of every entry.
    entries: BTreeMap<(u64, u64), u64>,
    /// Nodes that have served: before that, a log may be half made.
    served: BTreeSet<HostId>,
    pub(crate) read: u64,
}

impl Logs {
    pub(crate) fn note_served(&mut self, host: HostId) {
        self.served.insert(host);
    }

    pub(crate) fn has_served(&self, host: HostId) -> bool {
        self.served.contains(&host)
    }

    /// A log whose disk has lost bits may be one that cannot be read, until the node serves with it again.
    pub(crate) fn forget(&mut self, host: HostId) {
        self.served.remove(&host);
    }

    /// Compares what a node without a process has with what was seen before.
    pub(crate) fn look(&mut self, host: HostId) {
        // The files are read as they are, and no time passes.
        let contents = os::enter(|os| {
            let root = os.disks.root(host);
            let path = storage::find(&root).ok()?.join("log.redb");
            Some(storage::log::read(&path).map_err(|error| uhaha_server::fault::chain(&error)))
        });
        let contents = match contents {
            None if self.served.contains(&host) => return report("readable logs", &format!("{} has none", name(host))),
            None => return,
            Some(Ok(contents)) => contents,
            Some(Err(error)) if self.served.contains(&host) => {
                return report("readable logs", &format!("{}: {error}", name(host)));
            }
            Some(Err(_)) => return,
        };
        self.read += 1;
        let committed = contents.committed.map_or(0, |log_id| log_id.index);
        for entry in &contents.entries {
            let (index, term) = (entry.log_id.index, **entry.log_id.committed_leader_id());
            let mut record = Vec::new();
            if let Err(error) = storage::schema::put_record(&mut record, entry) {
                return report("readable logs", &format!("{}: entry {index}: {error}", name(host)));
            }
            let content = trace::digest(&record);
            if *self.entries.entry((index, term)).or_insert(content) != content {
                report("log matching", &format!("{}: entry {index} of term {term} differs from another's", name(host)));
            }
            if index <= committed && *self.committed.entry(index).or_insert((term, content)) != (term, content) {
                report("committed entries", &format!("{}: entry {index} was committed as another one", name(host)));
            }
        }
    }
}

fn name(host: HostId) -> String {
    os::enter(|os| os.hosts[host].name.clone())
}
