//! What was typed: on the command line, in the environment, in a file.
//!
//! All three say the same things in the same words, so one parser reads them: what the file and the environment say is
//! put before the command line as if it had been typed there first, and of two the later wins. That gives the order
//! flags, environment, file, defaults without a merge of our own.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod layers;
mod tools;

pub use tools::{Export, Inspect, Replay};

use crate::config::units::{ByteSize, Count, Interval};
use crate::config::{self, Addresses, Config, NtpServers};
use crate::dispatch;
use crate::module::Module;
use crate::net::{Address, tls};
use crate::settings::{LOG_LINES_PER_SECOND, Limits};
use crate::telemetry::{Format, Level};
use clap::{ArgAction, Parser, ValueEnum};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const NODE: &str = "Node";
const GUEST: &str = "Guest";
const CLUSTER: &str = "Cluster";
const TIME: &str = "Time";
const DURABILITY: &str = "Durability and snapshots";
const SECURITY: &str = "Security";
const CLIENTS: &str = "Clients";
const LIMITS: &str = "Limits";
const LOGS: &str = "Logs and help";

/// Serves a WebAssembly component to every Redis client, with all its state in a replicated log.
#[derive(Parser)]
#[command(
    name = "uhaha-server",
    override_usage = USAGE,
    after_help = AFTER_HELP,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110,
)]
pub struct Args {
    /// The guest: a component, a core module, or one that the server carries: ticket, kvdb, timeseries.
    #[arg(short, long, value_name = "PATH|builtin:NAME", help_heading = GUEST)]
    pub(crate) module: Option<Module>,
    /// How often the guest's clock and random seed are renewed.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(200), help_heading = GUEST)]
    pub(crate) tick: Interval,
    /// Fuel of one command, about an instruction each; more ends it with -FUEL and without a trace.
    #[arg(long, value_name = "COUNT", default_value_t = Count(Limits::DEFAULT.fuel_max), help_heading = GUEST)]
    pub(crate) guest_fuel: Count,
    /// Fuel of one tick.
    #[arg(long, value_name = "COUNT", default_value_t = Count(Limits::DEFAULT.tick_fuel_max), help_heading = GUEST)]
    pub(crate) guest_tick_fuel: Count,
    /// Fuel of the guest's start; a guest that needs more is refused.
    #[arg(long, value_name = "COUNT", default_value_t = Count(Limits::DEFAULT.start_fuel_max), help_heading = GUEST)]
    pub(crate) guest_start_fuel: Count,
    /// Largest memory of the guest; more ends a command with -OOM and without a trace.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Limits::DEFAULT.memory_bytes_max), help_heading = GUEST)]
    pub(crate) guest_memory: ByteSize,
    /// Most elements of a table of the guest.
    #[arg(long, value_name = "COUNT", default_value_t = Count(Limits::DEFAULT.table_elements_max), help_heading = GUEST)]
    pub(crate) guest_table: Count,
    /// Most core instances, tables and memories of a component, of each.
    #[arg(long, value_name = "COUNT", default_value_t = Count(Limits::DEFAULT.instances_max), help_heading = GUEST)]
    pub(crate) guest_instances: Count,
    /// Largest reply of one command; more ends it with -TOOBIG and without a trace.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Limits::DEFAULT.reply_bytes_max), help_heading = GUEST)]
    pub(crate) guest_reply: ByteSize,
    /// Largest sum of the replies to one log entry; what is over ends with -TOOBIG.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(Limits::DEFAULT.replies_bytes_max), help_heading = GUEST)]
    pub(crate) guest_replies: ByteSize,
    /// Most lines in a second that the guest may log; the rest is dropped and counted.
    #[arg(long, value_name = "COUNT", default_value_t = Count(u64::from(LOG_LINES_PER_SECOND)), help_heading = GUEST)]
    pub(crate) guest_log_lines: Count,

    /// Where to listen; :PORT is every interface. Several with commas between them.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:11001", help_heading = NODE)]
    pub(crate) addr: Addresses,
    /// The name of this node, unique in its cluster; without it 1, or the host's name with --bootstrap-expect.
    #[arg(short = 'n', long, value_name = "NAME", help_heading = NODE)]
    pub(crate) id: Option<String>,
    /// Where data lives, in DIR/GUEST/ID.
    #[arg(short, long, value_name = "DIR", default_value = "data", help_heading = NODE)]
    pub(crate) dir: PathBuf,
    /// The address that clients and other nodes are told, if it is not the one listened on.
    #[arg(long, value_name = "HOST:PORT", help_heading = NODE)]
    pub(crate) advertise: Option<Address>,
    /// Reads options from a TOML file: the long names without dashes in front, such as max-clients = 100.
    #[arg(long, value_name = "FILE", help_heading = NODE)]
    pub(crate) config: Option<PathBuf>,
    /// Threads that serve clients; without it, one less than there are cores, for the log and the guest have theirs.
    #[arg(long, value_name = "COUNT", help_heading = NODE)]
    pub(crate) threads: Option<Count>,
    /// Starts, waits until the node is ready, and stops: creates the data directory, or checks it.
    #[arg(long, help_heading = NODE)]
    pub(crate) init_run_quit: bool,
    /// How long running commands may take when the node is told to stop.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(10_000), help_heading = NODE)]
    pub(crate) drain_timeout: Interval,

    /// Joins the cluster that these nodes belong to; any of them will do. Ignored by a node that is a member already.
    #[arg(short, long, value_name = "HOST:PORT", help_heading = CLUSTER)]
    pub(crate) join: Option<Addresses>,
    /// Joins without a vote: the node has everything, and counts for no majority.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) nonvoter: bool,
    /// Begins a cluster with so many nodes, all started with this and a --join that names each of them; 1 to 9. Joins
    /// if there is a cluster already.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=9), help_heading = CLUSTER)]
    pub(crate) bootstrap_expect: Option<u8>,
    /// Goes on alone with the data that this node has, when the majority of its cluster is lost for good. Once: another
    /// start with it changes nothing.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) force_new_cluster: bool,
    /// How often the leader tells the others that it lives.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(100), help_heading = CLUSTER)]
    pub(crate) heartbeat: Interval,
    /// Least time without a leader after which a node wants to lead; the most is twice as long.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(500), help_heading = CLUSTER)]
    pub(crate) election_timeout: Interval,
    /// How a client of another node gets to the leader.
    #[arg(long, value_enum, value_name = "HOW", default_value_t, help_heading = CLUSTER)]
    pub(crate) redirect: Redirect,
    /// The same as --redirect try.
    #[arg(long, help_heading = CLUSTER)]
    pub(crate) try_errors: bool,
    /// How long commands are held while no leader can be reached.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(5000), help_heading = CLUSTER)]
    pub(crate) leader_wait: Interval,

    /// The clock is this machine's (the default).
    #[arg(long, help_heading = TIME)]
    pub(crate) localtime: bool,
    /// The clock follows these NTP servers, for a machine whose own clock nobody keeps right. Better three than one, for
    /// one that is wrong is then found out.
    #[arg(long, value_name = "HOST[:PORT],…", help_heading = TIME)]
    pub(crate) ntp: Option<NtpServers>,
    /// How often each of them is asked; public ones want no less than a minute.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(60_000), help_heading = TIME)]
    pub(crate) ntp_interval: Interval,
    /// How far a node's clock may be from those of a quorum before the leader warns.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(500), help_heading = TIME)]
    pub(crate) max_clock_skew: Interval,

    /// Acknowledges writes before they are on disk: faster, and the last of them are lost with the machine's power.
    #[arg(long, overrides_with = "sync", help_heading = DURABILITY)]
    pub(crate) nosync: bool,
    /// Acknowledges writes once they are on disk (the default).
    #[arg(long, overrides_with = "nosync", help_heading = DURABILITY)]
    pub(crate) sync: bool,
    /// Answers reads from this node's state even when it may be behind the leader's.
    #[arg(long, overrides_with = "noopenreads", help_heading = DURABILITY)]
    pub(crate) openreads: bool,
    /// Answers reads with everything acknowledged before (the default).
    #[arg(long, overrides_with = "openreads", help_heading = DURABILITY)]
    pub(crate) noopenreads: bool,
    /// How far such reads, and those after READONLY, may be behind; older ones are the leader's. 0 sets no limit.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(10_000), help_heading = DURABILITY)]
    pub(crate) max_staleness: Interval,
    /// Lets the leader answer reads without asking the others each time. For all nodes or none; needs steady clocks.
    #[arg(long, help_heading = DURABILITY)]
    pub(crate) lease_reads: bool,
    /// Starts a new single-node cluster from a snapshot file; ignored when the data directory exists.
    #[arg(long, value_name = "FILE", help_heading = DURABILITY)]
    pub(crate) restore: Option<PathBuf>,
    /// Starts a new single-node cluster from a file of uhaha-server export, also with another version of the guest;
    /// ignored when the data directory exists.
    #[arg(long, value_name = "FILE", help_heading = DURABILITY)]
    pub(crate) import: Option<PathBuf>,
    /// What the write-ahead log takes on disk. A larger one makes rarer, longer writes of what it has gathered.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(1 << 20), help_heading = DURABILITY)]
    pub(crate) wal_bytes: ByteSize,
    /// Takes a snapshot after so many log entries.
    #[arg(long, value_name = "COUNT", default_value_t = Count(1_000_000), help_heading = DURABILITY)]
    pub(crate) snapshot_log_entries: Count,
    /// Takes a snapshot after so many bytes of log.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(256 << 20), help_heading = DURABILITY)]
    pub(crate) snapshot_log_bytes: ByteSize,
    /// How many snapshots are kept.
    #[arg(long, value_name = "COUNT", default_value_t = Count(3), help_heading = DURABILITY)]
    pub(crate) snapshot_keep: Count,
    /// How often all nodes compare their whole state, while there are writes; 0 does so with snapshots only.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(10_000), help_heading = DURABILITY)]
    pub(crate) digest_interval: Interval,
    /// Most that one RAFT SNAPSHOT READ returns.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(64 << 20), help_heading = DURABILITY)]
    pub(crate) snapshot_read_bytes: ByteSize,

    /// The password of the user default. Others can see the command line: better --auth-file or UHAHA_AUTH.
    #[arg(long, value_name = "PASSWORD", help_heading = SECURITY)]
    pub(crate) auth: Option<String>,
    /// Reads that password from a file, again whenever it changes.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) auth_file: Option<PathBuf>,
    /// Users with passwords and rights, in the form of Redis' ACL files.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) acl_file: Option<PathBuf>,
    /// Reads a password from stdin and prints its hash for the file of users.
    #[arg(long, help_heading = SECURITY)]
    hash_password: bool,
    /// What nodes must know to be let in by each other; without it, one that follows from --auth.
    #[arg(long, value_name = "SECRET", help_heading = SECURITY)]
    pub(crate) peer_secret: Option<String>,
    /// Reads that secret from a file, again whenever it changes.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) peer_secret_file: Option<PathBuf>,
    /// The certificate to show to clients and nodes, PEM; with it, nothing but TLS is spoken.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Authorities that the certificates of other nodes and of clients must lead to; without it, all nodes must have
    /// the same certificate.
    #[arg(long, value_name = "FILE", help_heading = SECURITY)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Whether clients and other nodes must show a certificate.
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t, help_heading = SECURITY)]
    pub(crate) tls_auth_clients: AuthClients,

    /// Most clients at a time.
    #[arg(long, value_name = "COUNT", default_value_t = Count(10_000), help_heading = CLIENTS)]
    pub(crate) max_clients: Count,
    /// Disconnects a client that sends nothing for this long; 0 never does.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(0), help_heading = CLIENTS)]
    pub(crate) idle_timeout: Interval,
    /// Disconnects a client that takes none of its waiting replies for this long.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(60_000), help_heading = CLIENTS)]
    pub(crate) output_timeout: Interval,
    /// How often the system asks a silent connection whether it still lives.
    #[arg(long, value_name = "DURATION", default_value_t = Interval::from_millis(300_000), help_heading = CLIENTS)]
    pub(crate) keepalive: Interval,

    /// Largest command with all its arguments.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(128 << 20), help_heading = LIMITS)]
    pub(crate) max_request_bytes: ByteSize,
    /// Largest argument.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(64 << 20), help_heading = LIMITS)]
    pub(crate) max_argument_bytes: ByteSize,
    /// Most words of one command.
    #[arg(long, value_name = "COUNT", default_value_t = Count(1 << 20), help_heading = LIMITS)]
    pub(crate) max_args: Count,
    /// Longest command that is typed as a line.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(64 << 10), help_heading = LIMITS)]
    pub(crate) max_inline_bytes: ByteSize,
    /// Most memory that requests and replies of all clients take together; over it the clients with the most are
    /// disconnected.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(1 << 30), help_heading = LIMITS)]
    pub(crate) clients_memory: ByteSize,
    /// Most commands of one client that run together.
    #[arg(long, value_name = "COUNT", default_value_t = Count(4096), help_heading = LIMITS)]
    pub(crate) max_pipeline: Count,
    /// Most commands in one log entry.
    #[arg(long, value_name = "COUNT", default_value_t = Count(4096), help_heading = LIMITS)]
    pub(crate) batch_commands: Count,
    /// A log entry gets no more commands once it has this many bytes.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(4 << 20), help_heading = LIMITS)]
    pub(crate) batch_bytes: ByteSize,
    /// Most commands that wait for the log; one more is answered -BUSY.
    #[arg(long, value_name = "COUNT", default_value_t = Count(262_144), help_heading = LIMITS)]
    pub(crate) queue_commands: Count,
    /// Most bytes of commands that wait for the log.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(512 << 20), help_heading = LIMITS)]
    pub(crate) queue_bytes: ByteSize,

    /// From what on events are logged; verb is debug.
    #[arg(short, long, value_enum, value_name = "LEVEL", default_value_t, hide_possible_values = false, help_heading = LOGS)]
    pub(crate) level: Level,
    /// The form of the log, which goes to stderr.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, help_heading = LOGS)]
    pub(crate) log_format: Format,
    /// Prints the version.
    #[arg(short = 'v', short_alias = 'V', long, help_heading = LOGS)]
    version: bool,
    /// Prints this help.
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = LOGS)]
    help: Option<bool>,

    #[arg(long, hide = true)]
    pub(crate) backend: Option<String>,
    #[arg(short, long, hide = true, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) test_node: Option<u8>,
}

/// What a node that does not lead does with a command.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Redirect {
    /// Has the leader run it, and passes the reply on.
    #[default]
    Forward,
    /// Answers MOVED 0 host:port, which cluster clients follow.
    Moved,
    /// Answers TRY host:port.
    Try,
}

impl From<Redirect> for dispatch::Redirect {
    fn from(redirect: Redirect) -> dispatch::Redirect {
        match redirect {
            Redirect::Forward => dispatch::Redirect::Forward,
            Redirect::Moved => dispatch::Redirect::Moved,
            Redirect::Try => dispatch::Redirect::Try,
        }
    }
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum AuthClients {
    #[default]
    No,
    /// One that is shown must be right.
    Optional,
    Yes,
}

impl From<AuthClients> for tls::AuthClients {
    fn from(auth: AuthClients) -> tls::AuthClients {
        match auth {
            AuthClients::No => tls::AuthClients::No,
            AuthClients::Optional => tls::AuthClients::Optional,
            AuthClients::Yes => tls::AuthClients::Yes,
        }
    }
}

const USAGE: &str = "\
uhaha-server --module <PATH|builtin:NAME> [OPTIONS]
       uhaha-server inspect <PATH|builtin:NAME> [OPTIONS]
       uhaha-server replay --data <DIR> [OPTIONS]
       uhaha-server export --data <DIR> --to <FILE> [OPTIONS]";

const AFTER_HELP: &str = "\
Instead of serving, each with a --help of its own:
  inspect  Tells what a module is made of and how it would be served, or why it would be refused
  replay   Applies the log of a node that is not running again, and tells what came of it
  export   Has the guest of a node that is not running write its state to a file, for --import

Every option can also be set as an environment variable, --max-clients as UHAHA_MAX_CLIENTS, or in the file of --config.
A flag wins over the environment, the environment over the file.
Sizes: 512, 64KiB, 1.5GiB (or KB, MB, GB of 1000). Durations: 200ms, 5s, 1h 30m. Counts: 1000, 1_000_000.

Examples:
  Hand out tickets on port 11001, then try redis-cli -p 11001 TICKET
      uhaha-server --module builtin:ticket
  Serve a guest of your own on every interface, with a password
      UHAHA_AUTH=secret uhaha-server -m guest.wasm -a :11001 --advertise db1.example.net:11001
  Make it three nodes: on two more machines, or in two more terminals with ports of their own
      uhaha-server -m guest.wasm -n 2 -a 127.0.0.1:11002 -j 127.0.0.1:11001
  Two addresses, data elsewhere, logs for a machine to read
      uhaha-server -m guest.wasm -a 127.0.0.1:11001,[::1]:11001 -d /var/lib/uhaha --log-format json

Exit codes: 0 stopped as told, 1 failed, 2 wrong usage or configuration.";

/// Why the process ends before a node starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} (see --help)")]
    Usage(String),
    #[error("{variable}: {message}")]
    Environment { variable: String, message: String },
    #[error("cannot read the configuration file {path}: {message}")]
    ReadFile { path: String, message: String },
    #[error("{path}: {message}")]
    File { path: String, message: String },
    #[error(transparent)]
    Config(#[from] config::Error),
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// The hash of a password on stdin is to be printed.
    HashPassword,
    Inspect(Inspect),
    Replay(Replay),
    Export(Export),
    /// To be printed to stdout, then exit 0.
    Print(String),
    Run(Box<Config>),
}

/// Reads the command line, whose first word is the program's name, and the environment.
pub fn parse(
    words: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Task, Error> {
    let words: Vec<OsString> = words.into_iter().skip(1).collect();
    let environment = environment.into_iter().collect();
    match words.split_first() {
        Some((first, rest)) if first == "inspect" => return tools::inspect(rest, environment),
        Some((first, rest)) if first == "replay" => return tools::replay(rest, environment),
        Some((first, rest)) if first == "export" => return tools::export(rest, environment),
        _ => {}
    }
    // Alone first: a mistake of its own is reported as such, and it may name the file.
    let typed = match parse_words(&words) {
        Ok(typed) => typed,
        Err(error) => return help_or(&error),
    };
    if typed.version {
        return Ok(Task::Print(format!("{}\n", version())));
    }
    if typed.hash_password {
        return Ok(Task::HashPassword);
    }
    let Layered { args, unknown } = layered(typed.config, environment, words)?;
    let mut config = Config::new(args)?;
    config.warnings.extend(unknown.iter().map(|name| format!("the environment variable {name} is not an option")));
    Ok(Task::Run(Box::new(config)))
}

/// What all layers say together.
struct Layered {
    args: Args,
    /// Variables that look like ours and are not.
    unknown: Vec<String>,
}

/// Puts the file, which the command line or the environment may name, and the environment before what was typed.
fn layered(
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    typed: Vec<OsString>,
) -> Result<Layered, Error> {
    let mut environment = layers::from_environment(environment)?;
    let unknown = std::mem::take(&mut environment.unknown);
    let file = match file.or_else(|| environment.config.clone()) {
        Some(path) => layers::from_file(&path)?,
        None => layers::Layer::default(),
    };
    let all = file.under(environment).words().chain(typed).collect::<Vec<_>>();
    let args = parse_words(&all).map_err(|error| Error::Usage(one_line(&error)))?;
    Ok(Layered { args, unknown })
}

/// What was asked for, if it was help.
fn help_or(error: &clap::Error) -> Result<Task, Error> {
    match error.kind() {
        clap::error::ErrorKind::DisplayHelp => Ok(Task::Print(error.render().to_string())),
        _ => Err(Error::Usage(one_line(error))),
    }
}

/// `uhaha-server version X`, with the commit where the build knew it.
pub fn version() -> String {
    let name = env!("CARGO_PKG_NAME");
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("UHAHA_GIT_SHA") {
        Some(sha) => format!("{name} version {version} ({sha})"),
        None => format!("{name} version {version}"),
    }
}

impl Error {
    /// Prints the error as one line and gives the exit code of wrong usage or configuration.
    pub fn report(&self) -> ExitCode {
        // When stderr is gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{}: {self}", env!("CARGO_PKG_NAME"));
        ExitCode::from(2)
    }
}

fn parse_words(words: &[OsString]) -> Result<Args, clap::Error> {
    Args::try_parse_from(std::iter::once(OsString::from(env!("CARGO_PKG_NAME"))).chain(words.iter().cloned()))
}

/// The first paragraph of what clap would print, and its tip.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(tip) = paragraphs.next().and_then(|next| next.strip_prefix("tip: ")) {
        line.push_str(": ");
        line.push_str(tip);
    }
    line
}

#[cfg(test)]
#[path = "cli/tests.rs"]
mod tests;
