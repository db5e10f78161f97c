//! What is seen of the cluster at one time.

use crate::load::Load;
use std::path::Path;
use std::time::Duration;
use uhaha_tests::process::Process;
use uhaha_tests::server::files;
use uhaha_tests::{Client, Cluster};

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Since the last sample.
    pub(crate) commands_per_second: f64,
    pub(crate) failed: u64,
    pub(crate) p99: Duration,
    pub(crate) nodes: Vec<Seen>,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) disk: u64,
    /// Entries that the log still has.
    pub(crate) entries: u64,
}

pub(crate) struct Sampler<'a> {
    load: &'a Load,
    latencies: Box<dyn Fn() -> Vec<Duration>>,
    last: (Duration, u64, u64),
}

impl Sampler<'_> {
    pub(crate) fn new(load: &Load) -> Sampler<'_> {
        Sampler { load, latencies: Box::new(load.latencies()), last: (Duration::ZERO, 0, 0) }
    }

    pub(crate) fn take(&mut self, cluster: &Cluster, at: Duration) -> Sample {
        let (done, failed) = self.load.counts();
        let (last_at, last_done, last_failed) = std::mem::replace(&mut self.last, (at, done, failed));
        let mut latencies = (self.latencies)();
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        Sample {
            at,
            commands_per_second: (done - last_done) as f64 / (at - last_at).as_secs_f64(),
            failed: failed - last_failed,
            p99,
            nodes: (0..cluster.len()).map(|position| Seen::of(cluster, position)).collect(),
        }
    }
}

impl Seen {
    fn of(cluster: &Cluster, position: usize) -> Seen {
        let process = Process(cluster.server(position).id());
        Seen {
            resident: process.resident(),
            descriptors: process.descriptors(),
            threads: process.threads(),
            disk: disk(cluster.node_of(position).dir()),
            entries: entries(cluster, position),
        }
    }
}

fn entries(cluster: &Cluster, position: usize) -> u64 {
    let info = Client::connect(cluster.address(position)).call(&["RAFT", "INFO", "last_log_index", "purged_index"]);
    let fields = info.fields();
    let number = |name: &str| fields[name].parse::<u64>().expect("a number");
    number("last_log_index") - number("purged_index")
}

/// Of all files below, in bytes that are taken; a file may go while it is looked at.
fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(dir).iter().filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
}
