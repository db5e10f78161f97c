//! A dispatcher for tests, here and of the session above, over a stand-in for the layers below.

use super::backend::Backend;
use super::error::err;
use super::{Dispatcher, Options};
use crate::command::Command;
use crate::guest::spec::{Argument, ArgumentType, CommandSpec, Description, Kind, ModuleInfo};
use crate::replies::{Answered, Replies};
use crate::reply::ErrorReply;
use crate::resp3::{PutToken, Token};
use crate::settings::{Limits, Settings};
use crate::storage::snapshots::SnapshotInfo;
use crate::type_config::Node;
use crate::undelivered::Undelivered;
use crate::{machine, raft, time};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) struct Fixture {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) cluster: Arc<Fake>,
    pub(crate) undelivered: Undelivered,
    pub(crate) shutdown: CancellationToken,
}

/// Reads that are answered together.
pub(crate) const READS_MAX: usize = 50;
const UNDELIVERED_BYTES_MAX: usize = 1 << 20;

pub(crate) fn fixture(options: Options) -> Fixture {
    let cluster = Arc::new(Fake::default());
    let shutdown = CancellationToken::new();
    let undelivered = Undelivered::new(UNDELIVERED_BYTES_MAX);
    let backend = Backend::Fake(Arc::clone(&cluster));
    let dispatcher = Dispatcher::over(options, backend, undelivered.clone(), shutdown.clone(), shutdown.clone());
    Fixture { dispatcher: Arc::new(dispatcher.unwrap()), cluster, undelivered, shutdown }
}

/// One node with a small kvdb, which remembers the batches that it got.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    map: BTreeMap<Bytes, Bytes>,
    batches: Vec<String>,
    fails: Option<fn() -> raft::Error>,
    has_no_leader: bool,
    follows: bool,
    leaders: watch::Sender<Option<(u64, Node)>>,
}

impl Fake {
    /// `w3` for a proposal of three writes, `m3` for one with reads among them, `r1` for a read of one, `b0` for a barrier.
    pub(crate) fn batches(&self) -> Vec<String> {
        self.lock().batches.clone()
    }

    pub(crate) fn fail(&self, error: Option<fn() -> raft::Error>) {
        self.lock().fails = error;
    }

    /// Makes it a follower of node 2, or of nobody.
    pub(crate) fn follow(&self, has_leader: bool) {
        let mut state = self.lock();
        state.follows = true;
        state.has_no_leader = !has_leader;
        if has_leader {
            state.leaders.send_replace(Some((2, node(2))));
        }
    }

    pub(super) fn propose(&self, commands: &[Command]) -> Result<Replies, raft::Error> {
        let kind = if commands.iter().any(Command::is_read) { 'm' } else { 'w' };
        self.run(kind, commands)
    }

    pub(super) fn run(&self, kind: char, commands: &[Command]) -> Result<Replies, raft::Error> {
        let mut state = self.lock();
        state.batches.push(format!("{kind}{}", commands.len()));
        if let Some(error) = &state.fails {
            return Err(error());
        }
        let (mut out, mut ends) = (BytesMut::new(), Vec::new());
        for command in commands {
            answer(&mut out, &mut state.map, command);
            ends.push(out.len() as u32);
        }
        Ok(Replies::new(out.freeze(), ends))
    }

    /// Only some commands at a time.
    pub(super) fn answer(&self, kind: char, mut commands: Vec<Command>) -> Result<Answered, raft::Error> {
        let rest = commands.split_off(commands.len().min(READS_MAX));
        Ok(Answered { replies: self.run(kind, &commands)?, rest })
    }

    pub(super) fn leader(&self) -> Option<Node> {
        self.members().into_iter().find(|member| member.leader).map(|member| member.node)
    }

    pub(super) fn is_leader(&self) -> bool {
        !self.lock().follows
    }

    pub(super) fn status(&self) -> raft::Status {
        let members = self.members();
        raft::Status {
            node_id: 1,
            node: node(1),
            role: if self.is_leader() { raft::Role::Leader } else { raft::Role::Follower },
            voter: true,
            leader: members.iter().find(|member| member.leader).map(|member| member.node_id),
            term: 1,
            first_log_index: None,
            last_log: None,
            log_bytes: 0,
            committed: None,
            applied: None,
            apply_pending: 0,
            now: Fake::machine().now,
            snapshot: None,
            purged: None,
            membership: None,
            members,
            last_quorum_contact: None,
        }
    }

    pub(super) fn view(&self) -> raft::View {
        let leader = if self.lock().follows { 2 } else { 1 };
        let settled = !self.lock().has_no_leader;
        let online = |node_id| node_id == 1 || settled;
        let visible = |member: raft::Member| raft::Visible { online: online(member.node_id), applied: Some(7), member };
        let members = self.members().into_iter().map(visible).collect();
        raft::View { node_id: 1, term: 1, leader, settled, members }
    }

    pub(super) fn leaders(&self) -> watch::Receiver<Option<(u64, Node)>> {
        let leaders = &self.lock().leaders;
        leaders.send_if_modified(|leader| {
            leader.get_or_insert((1, node(1)));
            false
        });
        leaders.subscribe()
    }

    pub(super) fn members(&self) -> Vec<raft::Member> {
        let state = self.lock();
        let member = |node_id, leader| raft::Member { node_id, node: node(node_id), leader, voter: true };
        match state.follows {
            false => vec![member(1, true)],
            true => vec![member(1, false), member(2, !state.has_no_leader)],
        }
    }

    pub(super) fn machine() -> machine::Status {
        let limits = Limits { fuel_max: 5, ..Limits::DEFAULT };
        let settings = Some(Arc::new(Settings { limits, ..Fake::wanted_settings() }));
        machine::Status {
            now: 1_700_000_003_500_000_000,
            boot: 1_700_000_000_000_000_000,
            settings,
            ..Default::default()
        }
    }

    pub(super) fn wanted_settings() -> Settings {
        Settings { module: "m".to_owned(), engine: "e".to_owned(), limits: Limits::DEFAULT }
    }

    pub(super) fn clock_status() -> raft::ClockStatus {
        let server = time::ServerStatus {
            name: "ntp1".parse().unwrap(),
            state: time::ServerState::Used,
            offset: -2_000,
            delay: Duration::from_micros(30),
            stratum: 2,
        };
        let clock = time::Status {
            source: time::Source::Ntp,
            now: 1_700_000_003_500_000_000,
            synchronized: Some(true),
            error: Some(Duration::from_millis(5)),
            offset: 7_000,
            servers: vec![server],
        };
        raft::ClockStatus { clock, skew: None, skew_max: Duration::from_millis(500), others: Vec::new() }
    }

    pub(super) fn snapshot() -> SnapshotInfo {
        SnapshotInfo { id: "1-7".into(), term: 1, index: 7, created_ms: 1_700_000_000_000, bytes: 9, parent: None }
    }

    pub(super) fn find(id: &str) -> Result<SnapshotInfo, ErrorReply> {
        Some(Fake::snapshot()).filter(|found| found.id == id).ok_or_else(|| err("no such snapshot"))
    }

    pub(super) fn read(offset: u64, limit: u64) -> Bytes {
        let bytes = Bytes::from_static(b"snapshot!");
        let start = (offset as usize).min(bytes.len());
        bytes.slice(start..start.saturating_add(limit as usize).min(bytes.len()))
    }

    pub(super) fn description() -> Description {
        let argument = |name: &str, argument_type, optional, multiple, token: &str| Argument {
            name: name.into(),
            argument_type,
            optional,
            multiple,
            token: token.into(),
        };
        let command = |name: &str, kind, arity, arguments| CommandSpec {
            name: name.into(),
            kind,
            arity,
            summary: format!("{name} of the stand-in"),
            group: "kvdb".into(),
            arguments,
        };
        let key = |multiple| argument("key", ArgumentType::Key, false, multiple, "");
        let value = argument("value", ArgumentType::Text, false, false, "");
        let seconds = argument("seconds", ArgumentType::Integer, true, false, "EX");
        let commands = vec![
            command("SET", Kind::Write, -3, vec![key(false), value, seconds]),
            command("GET", Kind::Read, 2, vec![key(false)]),
            command("DEL", Kind::Write, -2, vec![key(true)]),
            command("INFOMAP", Kind::Read, 1, vec![]),
            command("BIG", Kind::Read, 1, vec![]),
        ];
        Description { name: "kvdb".into(), version: "0.1.0".into(), state_version: 0, commands }
    }

    pub(super) fn module() -> ModuleInfo {
        ModuleInfo {
            description: Arc::new(Fake::description()),
            hash: "abc".into(),
            bytes: 9,
            batch: true,
            tick: false,
            portable: false,
            engine: "def".into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn node(node_id: u64) -> Node {
    Node { name: node_id.to_string(), address: format!("127.0.0.1:1100{node_id}") }
}

fn answer(out: &mut BytesMut, map: &mut BTreeMap<Bytes, Bytes>, command: &Command) {
    let args = command.args();
    match command.name().to_ascii_uppercase().as_slice() {
        b"SET" => {
            map.insert(args[0].clone(), args[1].clone());
            out.put_token(Token::Simple(b"OK"));
        }
        b"GET" => match map.get(&args[0]) {
            Some(value) => out.put_token(Token::Bulk(value)),
            None => out.put_token(Token::Null),
        },
        b"INFOMAP" => {
            out.put_token(Token::Map(1));
            out.put_token(Token::Bulk(b"a"));
            out.put_token(Token::Boolean(true));
        }
        b"BIG" => out.put_token(Token::Bulk(&vec![b'x'; 1 << 20])),
        _ => out.put_token(Token::Error(b"ERR not in the stand-in")),
    }
}
