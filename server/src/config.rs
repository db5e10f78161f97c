//! What the arguments mean: `Config`, checked as a whole before anything is opened.
//!
//! `node` derives each layer's `Options` from it; no other layer sees it. Its fields are plain values, with the unit in
//! the name or in the type.

pub mod units;

use crate::cli::Args;
use crate::dispatch::Redirect;
use crate::module::Module;
use crate::net::Address;
use crate::net::tls::{self, AuthClients};
use crate::settings::{Limits, REPLIES_BYTES_CEILING};
use crate::telemetry;
use crate::time::{ServerName, WrongServer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// More than anybody needs to find out one that is wrong.
const NTP_SERVERS_MAX: usize = 16;
/// A commit that is larger than half of it does not go through it.
const WAL_BYTES_MIN: u64 = 16 << 10;
const WAL_BYTES_MAX: u64 = 1 << 30;

/// Everything that can be chosen at start.
#[derive(Clone, Debug)]
pub struct Config {
    pub module: Module,
    pub tick: Duration,
    /// NTP servers; empty for the system's clock.
    pub ntp: Vec<ServerName>,
    pub ntp_interval: Duration,
    /// How far the clocks of a cluster may be apart before the leader warns.
    pub clock_skew_max: Duration,
    /// What this node wants the cluster's guest to be held to.
    pub guest_limits: Limits,
    /// In a second.
    pub guest_log_lines: u32,

    pub addresses: Vec<Address>,
    /// What the operator calls this node.
    pub node_name: String,
    pub dir: PathBuf,
    pub advertise: Option<Address>,
    /// Nodes of the cluster that a new node joins; empty for one that begins a cluster.
    pub join: Vec<Address>,
    /// Whether a node that joins has no vote.
    pub nonvoter: bool,
    /// Whether a node with data goes on alone, without a quorum of its cluster.
    pub force_new_cluster: bool,
    /// How many nodes without a cluster make one together; with one, a node does so alone or joins.
    pub bootstrap_expect: usize,
    /// What the nodes of a cluster prove to each other to know; without one, what follows from `auth`.
    pub peer_secret: Option<Secret>,
    pub heartbeat: Duration,
    /// The least time without a leader after which a node wants to lead; the most is twice as long.
    pub election_timeout: Duration,
    /// How long commands are held while no leader can be reached.
    pub leader_wait: Duration,
    /// How many threads serve clients.
    pub threads: usize,

    /// Whether the log is synced to disk before a write is acknowledged.
    pub sync: bool,
    /// Whether reads are answered by this node's own state unless a client wants otherwise.
    pub open_reads: bool,
    /// How old that state may be; `None` for no limit.
    pub staleness_max: Option<Duration>,
    pub lease_reads: bool,
    pub restore: Option<PathBuf>,
    pub import: Option<PathBuf>,
    /// Stop once the node is ready.
    pub init_run_quit: bool,
    pub snapshot_log_entries: u64,
    pub snapshot_log_bytes: u64,
    pub wal_bytes: u32,
    pub snapshot_keep: usize,
    /// How often all nodes compare their whole state; `None` if only with snapshots.
    pub digest_interval: Option<Duration>,
    pub snapshot_read_bytes: u64,

    pub batch_commands: usize,
    pub batch_bytes: usize,
    pub queue_commands: usize,
    pub queue_bytes: usize,

    /// The password of the user `default`.
    pub auth: Option<Secret>,
    pub acl_file: Option<PathBuf>,
    pub tls: Option<tls::Files>,
    pub redirect: Redirect,
    pub clients: usize,
    pub clients_memory: usize,
    pub idle_timeout: Option<Duration>,
    pub output_timeout: Duration,
    pub keepalive: Duration,
    pub request_bytes: usize,
    pub argument_bytes: usize,
    pub args: usize,
    pub inline_bytes: usize,
    pub pipeline_commands: usize,
    /// How long running commands may take when the node stops.
    pub drain_timeout: Duration,

    pub log_level: telemetry::Level,
    pub log_format: telemetry::Format,
    /// What should be said once logging works.
    pub warnings: Vec<String>,
}

/// Why the arguments make no configuration. One line each, naming the option.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("--module is missing: give a WebAssembly file, or builtin:ticket, builtin:kvdb or builtin:timeseries")]
    NoModule,
    #[error("--{0} must not be {1}")]
    Value(&'static str, &'static str),
    #[error("--{0} ({1}) must not be larger than --{2} ({3})")]
    Order(&'static str, String, &'static str, String),
    #[error("--id {0:?} must be 1 to 64 letters, digits, '-', '_' or '.', and not begin with '.'")]
    NodeName(String),
    #[error("--advertise {0} must name a host and a port that clients can reach")]
    Advertise(Address),
    #[error("--backend {0:?} is not known: the log is kept in redb")]
    Backend(String),
    #[error("--{0} and --{0}-file exclude each other")]
    TwoSecrets(&'static str),
    #[error("--tls-ca and --tls-auth-clients mean nothing without --tls-cert")]
    TlsWithoutCert,
    #[error("--heartbeat ({0}) must be at most half of --election-timeout ({1})")]
    Heartbeat(String, String),
    #[error("--restore and --join exclude each other: a cluster is restored on its first node")]
    RestoreAndJoin,
    #[error("--import and --{0} exclude each other: an import begins a new cluster")]
    ImportAnd(&'static str),
    #[error("--localtime and --ntp exclude each other: the clock is the system's, or follows NTP servers")]
    LocaltimeAndNtp,
    #[error("--force-new-cluster and --restore exclude each other: one needs data in --dir, the other none")]
    ForceAndRestore,
    #[error("--bootstrap-expect needs --join with the addresses of all nodes that the cluster begins with")]
    ExpectWithoutJoin,
    #[error("--bootstrap-expect and --nonvoter exclude each other: a cluster begins with voters")]
    ExpectAndNonvoter,
    #[error("--tls-cert and --tls-key go together")]
    HalfTls,
}

impl Config {
    pub fn new(args: Args) -> Result<Config, Error> {
        check_excluding(&args)?;
        let mut addresses = args.addr.0;
        let mut node_name = match args.id {
            Some(name) => name,
            // The commands of all nodes are to be the same.
            None if args.bootstrap_expect.is_some() => host_name(),
            None => "1".to_owned(),
        };
        let mut join = args.join.map_or_else(Vec::new, |addresses| addresses.0);
        if let Some(number) = args.test_node {
            let first = addresses.first().map(|address| with_last_digit(address, 1));
            if number != 1 && join.is_empty() {
                join.extend(first);
            }
            addresses.iter_mut().for_each(|address| *address = with_last_digit(address, number));
            node_name = number.to_string();
        }
        check_node_name(&node_name)?;
        if let Some(advertise) = &args.advertise
            && (advertise.is_everywhere() || advertise.port() == 0)
        {
            return Err(Error::Advertise(advertise.clone()));
        }
        let config = Config {
            module: args.module.ok_or(Error::NoModule)?,
            tick: args.tick.0,
            ntp: args.ntp.map_or_else(Vec::new, |servers| servers.0),
            ntp_interval: args.ntp_interval.0,
            clock_skew_max: args.max_clock_skew.0,
            guest_limits: Limits {
                fuel_max: args.guest_fuel.0,
                tick_fuel_max: args.guest_tick_fuel.0,
                start_fuel_max: args.guest_start_fuel.0,
                memory_bytes_max: args.guest_memory.0,
                table_elements_max: args.guest_table.0,
                instances_max: args.guest_instances.0,
                reply_bytes_max: args.guest_reply.0,
                replies_bytes_max: args.guest_replies.0,
            },
            guest_log_lines: u32::try_from(args.guest_log_lines.0).unwrap_or(u32::MAX),
            addresses,
            node_name,
            dir: args.dir,
            advertise: args.advertise,
            join,
            nonvoter: args.nonvoter,
            force_new_cluster: args.force_new_cluster,
            bootstrap_expect: usize::from(args.bootstrap_expect.unwrap_or(1)),
            peer_secret: secret("peer-secret", args.peer_secret, args.peer_secret_file)?,
            heartbeat: args.heartbeat.0,
            election_timeout: args.election_timeout.0,
            leader_wait: args.leader_wait.0,
            threads: args.threads.map_or_else(default_threads, units::Count::as_usize),
            sync: !args.nosync,
            open_reads: args.openreads,
            staleness_max: args.max_staleness.unless_zero(),
            lease_reads: args.lease_reads,
            restore: args.restore,
            import: args.import,
            init_run_quit: args.init_run_quit,
            snapshot_log_entries: args.snapshot_log_entries.0,
            snapshot_log_bytes: args.snapshot_log_bytes.0,
            wal_bytes: wal_bytes(args.wal_bytes)?,
            snapshot_keep: args.snapshot_keep.as_usize(),
            digest_interval: args.digest_interval.unless_zero(),
            snapshot_read_bytes: args.snapshot_read_bytes.0,
            batch_commands: args.batch_commands.as_usize(),
            batch_bytes: args.batch_bytes.as_usize(),
            queue_commands: args.queue_commands.as_usize(),
            queue_bytes: args.queue_bytes.as_usize(),
            auth: secret("auth", args.auth, args.auth_file)?,
            acl_file: args.acl_file,
            tls: tls_files(args.tls_cert, args.tls_key, args.tls_ca, args.tls_auth_clients.into())?,
            redirect: if args.try_errors { Redirect::Try } else { args.redirect.into() },
            clients: args.max_clients.as_usize(),
            clients_memory: args.clients_memory.as_usize(),
            idle_timeout: args.idle_timeout.unless_zero(),
            output_timeout: args.output_timeout.0,
            keepalive: args.keepalive.0,
            request_bytes: args.max_request_bytes.as_usize(),
            argument_bytes: args.max_argument_bytes.as_usize(),
            args: args.max_args.as_usize(),
            inline_bytes: args.max_inline_bytes.as_usize(),
            pipeline_commands: args.max_pipeline.as_usize(),
            drain_timeout: args.drain_timeout.0,
            log_level: args.level,
            log_format: args.log_format,
            warnings: Vec::new(),
        };
        config.check_limits()?;
        Ok(config)
    }

    fn check_limits(&self) -> Result<(), Error> {
        let positive = [
            ("threads", self.threads as u64),
            ("tick", self.tick.as_nanos() as u64),
            ("ntp-interval", self.ntp_interval.as_millis() as u64),
            ("max-clock-skew", self.clock_skew_max.as_nanos() as u64),
            ("heartbeat", self.heartbeat.as_millis() as u64),
            ("election-timeout", self.election_timeout.as_millis() as u64),
            ("snapshot-log-entries", self.snapshot_log_entries),
            ("snapshot-log-bytes", self.snapshot_log_bytes),
            ("snapshot-keep", self.snapshot_keep as u64),
            ("snapshot-read-bytes", self.snapshot_read_bytes),
            ("batch-commands", self.batch_commands as u64),
            ("batch-bytes", self.batch_bytes as u64),
            ("queue-commands", self.queue_commands as u64),
            ("queue-bytes", self.queue_bytes as u64),
            ("max-clients", self.clients as u64),
            ("output-timeout", self.output_timeout.as_nanos() as u64),
            ("keepalive", self.keepalive.as_secs()),
            ("max-request-bytes", self.request_bytes as u64),
            ("max-argument-bytes", self.argument_bytes as u64),
            ("max-args", self.args as u64),
            ("max-inline-bytes", self.inline_bytes as u64),
            ("max-pipeline", self.pipeline_commands as u64),
        ];
        for (name, value) in positive.into_iter().chain(self.guest_limits.named()) {
            if value == 0 {
                return Err(Error::Value(name, "0"));
            }
        }
        // One command must fit wherever commands go, or it could be read but never run. A number of 32 bits counts
        // the bytes of an argument in the log.
        let (reply, replies) = (self.guest_limits.reply_bytes_max, self.guest_limits.replies_bytes_max);
        let fits = [
            ("max-argument-bytes", self.argument_bytes as u64, "max-request-bytes", self.request_bytes as u64),
            ("max-request-bytes", self.request_bytes as u64, "queue-bytes", self.queue_bytes as u64),
            ("max-request-bytes", self.request_bytes as u64, "clients-memory", self.clients_memory as u64),
            ("guest-reply", reply, "guest-replies", replies),
        ];
        for (small_name, small, large_name, large) in fits {
            if small > large {
                let shown = |bytes: u64| units::ByteSize(bytes).to_string();
                return Err(Error::Order(small_name, shown(small), large_name, shown(large)));
            }
        }
        if self.heartbeat * 2 > self.election_timeout {
            let shown = |duration: Duration| units::Interval(duration).to_string();
            return Err(Error::Heartbeat(shown(self.heartbeat), shown(self.election_timeout)));
        }
        if self.threads > 1024 {
            return Err(Error::Value("threads", "more than 1024"));
        }
        if self.ntp.len() > NTP_SERVERS_MAX {
            return Err(Error::Value("ntp", "more than 16 servers"));
        }
        if replies > REPLIES_BYTES_CEILING {
            return Err(Error::Value("guest-replies", "more than 1GiB"));
        }
        if self.request_bytes > 1 << 30 {
            return Err(Error::Value("max-request-bytes", "more than 1GiB"));
        }
        Ok(())
    }
}

fn wal_bytes(size: units::ByteSize) -> Result<u32, Error> {
    match size.0 {
        0..WAL_BYTES_MIN => Err(Error::Value("wal-bytes", "less than 16KiB")),
        WAL_BYTES_MIN..=WAL_BYTES_MAX => Ok(size.0 as u32),
        _ => Err(Error::Value("wal-bytes", "more than 1GiB")),
    }
}

/// The log's writer and the guest together take up to a core; on two cores, one thread for all clients was up to a
/// third faster than two.
fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

fn check_excluding(args: &Args) -> Result<(), Error> {
    if args.restore.is_some() && args.join.is_some() {
        return Err(Error::RestoreAndJoin);
    }
    let others = [
        ("restore", args.restore.is_some()),
        ("join", args.join.is_some()),
        ("force-new-cluster", args.force_new_cluster),
    ];
    if let Some((other, _)) = others.into_iter().find(|(_, given)| *given && args.import.is_some()) {
        return Err(Error::ImportAnd(other));
    }
    if args.localtime && args.ntp.is_some() {
        return Err(Error::LocaltimeAndNtp);
    }
    if args.bootstrap_expect.is_some_and(|nodes| nodes > 1) && args.join.is_none() {
        return Err(Error::ExpectWithoutJoin);
    }
    if args.force_new_cluster && args.restore.is_some() {
        return Err(Error::ForceAndRestore);
    }
    if args.bootstrap_expect.is_some() && args.nonvoter {
        return Err(Error::ExpectAndNonvoter);
    }
    match &args.backend {
        Some(backend) if backend != "redb" => Err(Error::Backend(backend.clone())),
        _ => Ok(()),
    }
}

/// What nobody but those concerned may know. It stands on the command line or in a file, of which only the file can
/// change while the node runs.
#[derive(Clone)]
pub enum Secret {
    Text(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("Text(..)"),
            Secret::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

fn secret(name: &'static str, text: Option<String>, file: Option<PathBuf>) -> Result<Option<Secret>, Error> {
    // Empty is none, as in Redis.
    match (text.filter(|text| !text.is_empty()), file) {
        (Some(_), Some(_)) => Err(Error::TwoSecrets(name)),
        (Some(text), None) => Ok(Some(Secret::Text(text))),
        (None, Some(file)) => Ok(Some(Secret::File(file))),
        (None, None) => Ok(None),
    }
}

fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    auth_clients: AuthClients,
) -> Result<Option<tls::Files>, Error> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(tls::Files { cert, key, ca, auth_clients })),
        (None, None) if ca.is_some() || auth_clients != AuthClients::No => Err(Error::TlsWithoutCert),
        (None, None) => Ok(None),
        _ => Err(Error::HalfTls),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// It names a directory, so nothing that a file system could take for a path.
fn check_node_name(name: &str) -> Result<(), Error> {
    let fits = (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits { Ok(()) } else { Err(Error::NodeName(name.to_owned())) }
}

fn with_last_digit(address: &Address, digit: u8) -> Address {
    Address::new(address.host(), (address.port() / 10).saturating_mul(10).saturating_add(u16::from(digit)))
}

/// Several addresses, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Address>);

impl FromStr for Addresses {
    type Err = crate::net::Error;

    fn from_str(text: &str) -> Result<Addresses, crate::net::Error> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Addresses)
    }
}

/// Several NTP servers, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtpServers(pub Vec<ServerName>);

impl FromStr for NtpServers {
    type Err = WrongServer;

    fn from_str(text: &str) -> Result<NtpServers, WrongServer> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(NtpServers)
    }
}
