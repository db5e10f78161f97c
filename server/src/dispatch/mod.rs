//! From a `Command` to the one place that can answer it.
//!
//! `Dispatcher::route` checks who asks, what is asked and with how many words, and says where the command goes: to the
//! log, to the machine for reading, or to a built-in. The session above gathers what goes the same way and calls
//! `write`, `read` or `answer`; it owns the `Client`, whose state built-ins may change.

pub mod acl;
mod backend;
mod builtin;
mod client;
mod clients;
mod error;
mod glob;
mod stats;
mod subscriptions;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use acl::Users;
pub use client::{Client, Resp};
pub use table::Error;

use crate::command::Command;
use crate::guest::spec::{Description, Kind};
use crate::machine::Machine;
use crate::raft::{self, Cluster, Weight};
use crate::replies::{Answered, Replies};
use crate::reply::{ErrorCode, ErrorReply, Reply};
use crate::storage::snapshots::Snapshots;
use crate::undelivered::Undelivered;
use acl::User;
use backend::Backend;
use builtin::{Builtin, Call, Run};
use client::Known;
use clients::Clients;
use stats::Stats;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use table::{Row, Table, Target};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub struct Options {
    /// Who may call what.
    pub users: Users,
    /// Most clients at a time; one more is told so and disconnected.
    pub clients_max: usize,
    /// Most memory of the requests and replies of all clients; over it those with the most are disconnected.
    pub clients_memory_bytes_max: usize,
    pub redirect: Redirect,
    /// Whether reads are answered by this node's own state unless a client wants otherwise.
    pub open_reads: bool,
    /// How old that state may be; `None` for no limit.
    pub staleness_max: Option<Duration>,
    /// Largest piece of a snapshot that one `RAFT SNAPSHOT READ` returns.
    pub snapshot_read_bytes_max: u64,
    /// Whether the log is synced before a write is acknowledged; shown in `INFO`.
    pub sync: bool,
    /// Shown by `CONFIG GET timeout`.
    pub idle_timeout: Option<Duration>,
    /// Shown by `CONFIG GET proto-max-bulk-len`.
    pub argument_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            users: Users::default(),
            clients_max: 10_000,
            clients_memory_bytes_max: 1 << 30,
            redirect: Redirect::Forward,
            open_reads: false,
            staleness_max: None,
            snapshot_read_bytes_max: 64 << 20,
            sync: true,
            idle_timeout: None,
            argument_bytes_max: 64 << 20,
        }
    }
}

/// So many times must writes and reads change over for them to go through the log together.
const MIXED_CHANGES_MIN: usize = 3;
/// More commands than this, with reads among them, keep the machine for too long.
const MIXED_COMMANDS_MAX: usize = 256;

/// How a client of a node that does not lead gets to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    /// Not at all: the node asks the leader on the client's behalf.
    #[default]
    Forward,
    /// `MOVED 0 host:port`, which cluster clients follow.
    Moved,
    /// `TRY host:port`, uhaha's own.
    Try,
}

/// Where a command goes.
#[derive(Debug)]
pub enum Route {
    /// Nowhere: this is the reply.
    Refuse(ErrorReply),
    /// To the log, by `Dispatcher::write`.
    Write,
    /// To the machine, by `Dispatcher::read`.
    Read,
    /// To the server itself, by `Dispatcher::answer`, once all before it are answered.
    Local(Local),
}

/// A built-in that is found and may be run.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    builtin: &'static Builtin,
    /// Words that name it: two for a subcommand.
    names: usize,
}

#[derive(Debug)]
pub struct Dispatcher {
    options: Options,
    table: Table,
    backend: Backend,
    clients: Arc<Clients>,
    stats: Stats,
    /// Cancelled by `SHUTDOWN`: the node does the rest.
    shutdown: CancellationToken,
}

impl Dispatcher {
    /// Refuses a guest whose commands clash with ours. The command `SHUTDOWN` cancels `shutdown`; the node cancels `end`
    /// when sessions must end.
    pub fn new(
        options: Options,
        cluster: Arc<Cluster>,
        machine: Arc<Machine>,
        snapshots: Arc<Snapshots>,
        shutdown: CancellationToken,
        end: CancellationToken,
    ) -> Result<Dispatcher, Error> {
        let undelivered = cluster.undelivered().clone();
        Dispatcher::over(options, Backend::Node { cluster, machine, snapshots }, undelivered, shutdown, end)
    }

    fn over(
        options: Options,
        backend: Backend,
        undelivered: Undelivered,
        shutdown: CancellationToken,
        end: CancellationToken,
    ) -> Result<Dispatcher, Error> {
        let table = Table::new(&backend.description())?;
        let clients = Arc::new(Clients::new(options.clients_max, options.clients_memory_bytes_max, undelivered, end));
        Ok(Dispatcher { options, table, backend, clients, stats: Stats::default(), shutdown })
    }

    /// Registers a client until it is dropped, or says why it cannot be served.
    pub fn connect(&self, peer: SocketAddr, local: SocketAddr) -> Result<Client, ErrorReply> {
        match self.clients.add(peer, local) {
            Some(mut client) => {
                self.stats.connected();
                self.sign_in(&mut client, self.options.users.stranger());
                client.read_here(self.options.open_reads);
                Ok(client)
            }
            None => {
                self.stats.rejected();
                Err(error::err("max number of clients reached"))
            }
        }
    }

    /// To be called once for all commands that a client has sent together: the counters are shared by all threads.
    pub fn note_active(&self, client: &mut Client, commands: usize) {
        self.keep_up(client);
        self.clients.note_active(client.entry());
        self.stats.commands(commands);
    }

    pub fn route(&self, client: &Client, command: &Command) -> Route {
        let route = self.find(client, command);
        if let Route::Refuse(_) = route {
            self.stats.refused();
        }
        route
    }

    fn find(&self, client: &Client, command: &Command) -> Route {
        let found = self.table.find_again(client.entry().last_row(), command.name());
        let for_strangers = found.is_some_and(|(_, row)| row.is_for_strangers());
        // A stranger does not even learn which commands there are.
        if !client.is_authenticated() && !for_strangers {
            return Route::Refuse(ErrorReply {
                code: ErrorCode::NoAuth,
                message: "Authentication required.".to_owned(),
            });
        }
        let Some((at, row)) = found else {
            return Route::Refuse(error::unknown_command(command.words()));
        };
        client.entry().note_row(at);
        if client.is_subscribed() && client.resp() == Resp::V2 && !row.is_for_subscribers() {
            return Route::Refuse(error::while_subscribed(&row.name));
        }
        if !for_strangers && !self.may(client, at, row, command) {
            return Route::Refuse(ErrorReply {
                code: ErrorCode::NoPerm,
                message: format!("User {} has no permissions to run the '{}' command", client.user_name(), row.name),
            });
        }
        if !row.arity_fits(command.words().len()) {
            return Route::Refuse(error::wrong_arity(&row.name));
        }
        match row.target {
            Target::Guest(Kind::Write) => Route::Write,
            Target::Guest(Kind::Read) => Route::Read,
            Target::Guest(Kind::Intermediate) => {
                Route::Refuse(error::err("this server does not run intermediate commands"))
            }
            Target::Builtin(builtin) => match builtin.run {
                Run::FamilyOr(..) if command.args().is_empty() => Route::Local(Local { builtin, names: 1 }),
                Run::Family(_) | Run::FamilyOr(..) => self.member(row, command),
                _ => Route::Local(Local { builtin, names: 1 }),
            },
        }
    }

    /// Gives a client the rights of a user, or of nobody.
    fn sign_in(&self, client: &mut Client, user: Option<Arc<User>>) {
        let known = user.map(|user| Known { rights: user.rights(&self.table), user });
        client.set_user(known, self.options.users.generation());
    }

    /// The users may have changed since the client signed in.
    fn keep_up(&self, client: &mut Client) {
        let users = &self.options.users;
        if client.generation() == users.generation() {
            return;
        }
        let user = client.is_authenticated().then(|| users.find(client.user_name())).flatten();
        self.sign_in(client, user.or_else(|| users.stranger()));
    }

    fn may(&self, client: &Client, at: u32, row: &Row, command: &Command) -> bool {
        let Some(rights) = client.rights() else { return false };
        let subcommand = command.args().first().filter(|_| !row.subcommands.is_empty());
        match subcommand.and_then(|name| row.subcommand(name)) {
            Some(subcommand) => rights.may_sub(&subcommand.name),
            None => rights.may(at),
        }
    }

    /// The subcommand of a family. A family's arity is -2, so there is a second word.
    fn member(&self, family: &Row, command: &Command) -> Route {
        let Some(name) = command.args().first() else {
            return Route::Refuse(error::wrong_arity(&family.name));
        };
        match family.subcommand(name) {
            None => Route::Refuse(error::unknown_subcommand(name, &family.name.to_ascii_uppercase())),
            Some(row) if !row.arity_fits(command.words().len()) => Route::Refuse(error::wrong_arity(&row.name)),
            Some(Row { target: Target::Builtin(builtin), .. }) => Route::Local(Local { builtin, names: 2 }),
            Some(_) => Route::Refuse(error::wrong_arity(&family.name)),
        }
    }

    /// Runs a built-in.
    pub async fn answer(&self, local: Local, client: &mut Client, command: &Command) -> Reply {
        let args = command.words().get(local.names..).unwrap_or_default();
        let call = Call { dispatcher: self, client, args };
        let answer = match local.builtin.run {
            Run::Now(run) | Run::FamilyOr(_, run) => run(call),
            Run::Later(run) => run(call).await,
            Run::Family(_) => Err(error::wrong_arity(local.builtin.name)),
        };
        answer.unwrap_or_else(Reply::Error)
    }

    /// How many of the commands of the guest that a client has sent are run together next, at least one: reads, writes, or
    /// writes with reads among them, which then go through the log. Otherwise each run of the one would wait for the run of
    /// the other before it; but where few change over, or replies may be large, that is less work, and whoever reads from
    /// its own node wants no other's state.
    pub fn together(&self, client: &Client, commands: &[Command]) -> usize {
        let changes_over = |pair: &[Command]| pair[0].is_read() != pair[1].is_read();
        let Some(last) = commands.windows(2).position(changes_over) else { return commands.len() };
        let mixed = commands.len().min(MIXED_COMMANDS_MAX);
        let changes = commands[..mixed].windows(2).filter(|pair| changes_over(pair)).count();
        let go_mixed = changes >= MIXED_CHANGES_MIN && client.weight() == Weight::Light && !client.reads_here();
        if go_mixed { mixed } else { last + 1 }
    }

    /// Runs writes, and reads among them, in order through the log: one reply each, or one error for all.
    pub async fn write(&self, client: &mut Client, commands: Vec<Command>) -> Result<Replies, ErrorReply> {
        let count = commands.len();
        let has_reads = commands.iter().any(Command::is_read);
        let replies = self.outcome(count, self.backend.propose(commands).await)?;
        client.note_seen(replies.index());
        if has_reads {
            client.note_replies(replies.bytes());
        }
        Ok(replies)
    }

    /// Runs reads in order on one state, or the first of them if their replies are large: one reply each, or one error
    /// for all.
    pub async fn read(&self, client: &mut Client, commands: Vec<Command>) -> Result<Answered, ErrorReply> {
        let count = commands.len();
        let weight = client.weight();
        // As in Redis, who leads takes no notice of READONLY: a cluster client may still have it on from when this node
        // followed, and would miss what other nodes acknowledge before it is applied here.
        let here = client.reads_here() && (self.options.open_reads || !self.backend.is_leader());
        let read = match here {
            true => self.backend.read_here(commands, weight, client.seen_index(), self.options.staleness_max).await,
            false => self.backend.read(commands, weight).await,
        };
        let answered = self.outcome(count, read)?;
        client.note_seen(answered.replies.index());
        client.note_replies(answered.replies.bytes());
        Ok(answered)
    }

    fn outcome<T>(&self, count: usize, outcome: Result<T, raft::Error>) -> Result<T, ErrorReply> {
        outcome.map_err(|error| {
            self.stats.failed(count);
            error::from_raft(&error, self.options.redirect)
        })
    }
}

/// Refuses a guest whose commands clash with ours, as `Dispatcher::new` does.
pub fn check_commands(description: &Description) -> Result<(), Error> {
    Table::new(description).map(drop)
}

/// Of `host:port`, the host without the brackets of IPv6.
fn host_and_port(address: &str) -> (String, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().unwrap_or(0))
}
