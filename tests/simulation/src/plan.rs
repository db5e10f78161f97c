//! What a seed chooses before anything runs.

use crate::arguments::Arguments;
use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    Ticket,
    Kvdb,
    /// A counter whose other commands trap.
    Rash,
}

impl Guest {
    pub(crate) const ALL: [Guest; 3] = [Guest::Ticket, Guest::Kvdb, Guest::Rash];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Guest::Ticket => "ticket",
            Guest::Kvdb => "kvdb",
            Guest::Rash => "rash",
        }
    }

    pub(crate) fn module(self) -> String {
        match self {
            Guest::Ticket | Guest::Kvdb => format!("builtin:{}", self.name()),
            Guest::Rash => uhaha_tests::Module::rash().0,
        }
    }
}

/// One thing that is broken on purpose, which a check must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nodes acknowledge what they have not synced: `--nosync`.
    NoSync,
    /// Syncs of files do nothing, as on a disk that lies.
    FileSync,
    /// Syncs of directories do nothing.
    DirectorySync,
    /// Reads are answered by whatever a node has: `--openreads`, without a bound.
    OpenReads,
    /// Nodes count on leases although their clocks run at different speeds.
    Lease,
}

impl Mutation {
    pub(crate) fn named(name: &str) -> Option<Mutation> {
        match name {
            "nosync" => Some(Mutation::NoSync),
            "file-sync" => Some(Mutation::FileSync),
            "directory-sync" => Some(Mutation::DirectorySync),
            "open-reads" => Some(Mutation::OpenReads),
            "lease" => Some(Mutation::Lease),
            _ => None,
        }
    }
}

/// The shape of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mutation: Option<Mutation>,
    pub(crate) guest: Guest,
    pub(crate) founders: usize,
    /// Nodes that may join later.
    pub(crate) spare: usize,
    pub(crate) clients: usize,
    /// Of a node's runtime.
    pub(crate) threads: usize,
    pub(crate) faults_ns: u64,
    pub(crate) sync_ns: (u64, u64),
    /// How long a client waits between two commands, at most.
    pub(crate) think_ns: u64,
    snapshot_log_entries: u64,
    wal_bytes: u64,
    lease_reads: bool,
    forwards: bool,
    digest_interval_ms: u64,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments) -> Plan {
        let Arguments { seed, seconds, mutation, .. } = *arguments;
        let mut rng = Rng::new(seed, "plan");
        let seconds_of_seed = rng.between(10, 40);
        let sync_least = rng.magnitude(20_000, 2_000_000);
        let guest = *rng.pick(&Guest::ALL);
        let lease_reads = rng.one_in(2);
        Plan {
            mutation,
            guest: match mutation {
                // Only the database has reads.
                Some(Mutation::OpenReads | Mutation::Lease) => Guest::Kvdb,
                _ => arguments.guest.unwrap_or(guest),
            },
            founders: *rng.pick(&[3, 3, 3, 5]),
            spare: rng.below(3) as usize,
            clients: rng.between(2, 5) as usize,
            threads: *rng.pick(&[1, 2]),
            faults_ns: seconds.unwrap_or(seconds_of_seed) * 1_000_000_000,
            sync_ns: (sync_least, sync_least * rng.between(1, 8)),
            think_ns: rng.magnitude(40_000_000, 800_000_000),
            snapshot_log_entries: rng.magnitude(20, 2_000),
            wal_bytes: rng.magnitude(16 << 10, 1 << 20),
            lease_reads: lease_reads || arguments.leases || mutation == Some(Mutation::Lease),
            forwards: rng.one_in(2),
            digest_interval_ms: rng.magnitude(200, 10_000),
        }
    }

    /// How fast or slow a clock may run: a lease counts on clocks that are nearly right.
    pub(crate) fn drift_ppm_max(&self) -> u64 {
        match self.mutation {
            Some(Mutation::Lease) => 800_000,
            _ if self.lease_reads => 200,
            _ => 200_000,
        }
    }

    /// Options that all nodes have.
    pub(crate) fn node_options(&self) -> Vec<String> {
        let mut words: Vec<String> = vec!["--threads".into(), self.threads.to_string()];
        words.extend(["--snapshot-log-entries".into(), self.snapshot_log_entries.to_string()]);
        words.extend(["--wal-bytes".into(), self.wal_bytes.to_string()]);
        words.extend(["--digest-interval".into(), format!("{}ms", self.digest_interval_ms)]);
        words.extend(["--redirect".into(), if self.forwards { "forward" } else { "moved" }.into()]);
        match self.mutation {
            Some(Mutation::NoSync) => words.push("--nosync".into()),
            Some(Mutation::OpenReads) => words.extend(["--openreads".into(), "--max-staleness".into(), "0".into()]),
            _ => {}
        }
        if self.lease_reads {
            words.push("--lease-reads".into());
        }
        words
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.faults_ns / 1_000_000_000;
        write!(f, "{} on {} nodes", self.guest.name(), self.founders)?;
        write!(f, " and {} to join, {} clients, {seconds} s of faults", self.spare, self.clients)?;
        write!(f, "; {}", self.node_options().join(" "))
    }
}
