//! Connections between hosts: what is on its way, how long that takes, and what is lost.
//!
//! Each side of a connection sends segments in order. One that cannot pass (the way is cut, the host has no power, it is
//! lost) is sent again later, as TCP does, and those behind it wait; connections overtake each other freely.

use super::Os;
use super::descriptors::{Kind, ObjectId};
use super::scheduler::HostId;
use crate::rng::Rng;
use crate::trace;
use libc::c_int;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;

const MILLI: u64 = 1_000_000;
/// What one side may have sent that the other's program has not taken.
const WINDOW_BYTES: usize = 256 << 10;
const SEGMENT_BYTES: usize = 64 << 10;
const RETRY_NS: u64 = 200 * MILLI;
/// How long a connection is asked for before it fails.
const CONNECT_NS: u64 = 8_000 * MILLI;
/// How often a silent connection is asked whether it still lives, if its program wants to know.
const PROBE_NS: u64 = 1_000 * MILLI;
const PORTS_FROM: u16 = 32_768;

/// Which end of a connection; the client's is 0.
pub(super) type Side = usize;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Deliver {
        connection: usize,
        side: Side,
    },
    Probe {
        connection: usize,
        side: Side,
    },
    /// Whoever still connects waits no longer.
    GiveUp {
        connection: usize,
    },
}

#[derive(Debug)]
enum Content {
    Open,
    Accepted,
    Bytes(Vec<u8>),
    End,
    Reset,
}

#[derive(Debug)]
struct Segment {
    content: Content,
    due: u64,
}

#[derive(Debug)]
struct End {
    host: HostId,
    object: Option<ObjectId>,
    local: SocketAddrV4,
    received: VecDeque<u8>,
    /// The other side sends no more.
    ended: bool,
    error: Option<c_int>,
    open: bool,
    /// This side sends no more.
    finished: bool,
    sending: VecDeque<Segment>,
    sending_bytes: usize,
    last_due: u64,
    is_delivering: bool,
    /// Since when nothing has passed.
    silent_since: Option<u64>,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
}

#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddrV4,
    accepted: VecDeque<ObjectId>,
}

/// How an end of a connection looks to its program.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) ended: bool,
    pub(super) failed: bool,
}

#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    connections: BTreeMap<usize, Connection>,
    connections_ever: usize,
    listeners: BTreeMap<SocketAddrV4, ObjectId>,
    next_port: u16,
    /// Ways from one host to another on which nothing passes.
    cut: BTreeSet<(HostId, HostId)>,
    pub(crate) latency_ns: (u64, u64),
    /// One segment in so many is lost at first; none if 0.
    pub(crate) lost_one_in: u64,
    pub(crate) segments: u64,
    pub(crate) lost: u64,
    pub(crate) resets: u64,
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    pub(super) fn has_connection(&self) -> bool {
        !self.accepted.is_empty()
    }
}

impl Network {
    pub(super) fn new(seed: u64) -> Network {
        let mut rng = Rng::new(seed, "network");
        let least = rng.magnitude(MILLI / 20, 2 * MILLI);
        Network {
            latency_ns: (least, least * rng.between(1, 6)),
            rng,
            connections: BTreeMap::new(),
            connections_ever: 0,
            listeners: BTreeMap::new(),
            next_port: PORTS_FROM,
            cut: BTreeSet::new(),
            lost_one_in: 0,
            segments: 0,
            lost: 0,
            resets: 0,
        }
    }

    pub(crate) fn cut(&mut self, from: HostId, to: HostId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.lost_one_in = 0;
    }

    pub(super) fn state(&self, connection: usize, side: Side) -> State {
        let Some(connection) = self.connections.get(&connection) else {
            return State { readable: true, writable: true, ended: true, failed: true };
        };
        let (end, other) = (&connection.ends[side], &connection.ends[1 - side]);
        let failed = end.error.is_some();
        State {
            readable: failed || end.open && (!end.received.is_empty() || end.ended),
            writable: failed || end.open && end.sending_bytes + other.received.len() < WINDOW_BYTES,
            ended: failed || end.ended,
            failed,
        }
    }

    fn end(&mut self, connection: usize, side: Side) -> Option<&mut End> {
        self.connections.get_mut(&connection).map(|connection| &mut connection.ends[side])
    }

    pub(super) fn addresses(&self, connection: usize, side: Side) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let connection = self.connections.get(&connection)?;
        Some((connection.ends[side].local, connection.ends[1 - side].local))
    }

    /// The error of an end, which is told once.
    pub(super) fn take_error(&mut self, connection: usize, side: Side) -> c_int {
        self.end(connection, side).and_then(|end| end.error).unwrap_or(0)
    }

    pub(super) fn is_open(&self, connection: usize, side: Side) -> bool {
        self.connections.get(&connection).is_some_and(|connection| connection.ends[side].open)
    }

    pub(super) fn is_bound(&self, address: SocketAddrV4) -> bool {
        self.listeners.contains_key(&address)
    }
}

impl End {
    fn new(host: HostId, object: Option<ObjectId>, local: SocketAddrV4) -> End {
        End {
            host,
            object,
            local,
            received: VecDeque::new(),
            ended: false,
            error: None,
            open: false,
            finished: false,
            sending: VecDeque::new(),
            sending_bytes: 0,
            last_due: 0,
            is_delivering: false,
            silent_since: None,
        }
    }
}

impl Os {
    pub(super) fn listen(&mut self, id: ObjectId, address: SocketAddrV4) {
        if let Some(object) = self.descriptors.get_mut(id) {
            object.kind = Kind::Listener(Listener { address, accepted: VecDeque::new() });
            self.network.listeners.insert(address, id);
        }
    }

    pub(super) fn accept(&mut self, id: ObjectId) -> Option<ObjectId> {
        match self.descriptors.get_mut(id).map(|object| &mut object.kind) {
            Some(Kind::Listener(listener)) => listener.accepted.pop_front(),
            _ => None,
        }
    }

    /// Begins to connect; the result comes later.
    pub(super) fn connect(&mut self, id: ObjectId, to: SocketAddrV4) -> Result<(), c_int> {
        let here = self.here();
        let there = self.hosts.iter().position(|host| host.address == *to.ip()).ok_or(libc::ENETUNREACH)?;
        let port = self.network.next_port;
        self.network.next_port = port.checked_add(1).unwrap_or(PORTS_FROM);
        let local = SocketAddrV4::new(self.hosts[here].address, port);
        self.network.connections_ever += 1;
        let number = self.network.connections_ever;
        let ends = [End::new(here, Some(id), local), End::new(there, None, to)];
        self.network.connections.insert(number, Connection { ends });
        if let Some(object) = self.descriptors.get_mut(id) {
            object.kind = Kind::Stream { connection: number, side: 0 };
        }
        self.event("connect", [here as u64, there as u64]);
        self.send_segment(number, 0, Content::Open);
        // The other side may lose its power when it has accepted and before this one hears of it.
        self.scheduler.at(self.scheduler.now() + CONNECT_NS, Event::GiveUp { connection: number });
        Ok(())
    }

    /// Takes what fits; `None` if nothing does now.
    pub(super) fn send(&mut self, connection: usize, side: Side, bytes: &[u8]) -> Result<Option<usize>, c_int> {
        let state = self.network.state(connection, side);
        let Some(open) = self.network.connections.get(&connection) else { return Err(libc::EPIPE) };
        let (end, other) = (&open.ends[side], &open.ends[1 - side]);
        match end.error {
            Some(error) => return Err(error),
            None if end.finished => return Err(libc::EPIPE),
            None if !state.writable => return Ok(None),
            None => {}
        }
        let room = WINDOW_BYTES.saturating_sub(end.sending_bytes + other.received.len());
        let taken = bytes.len().min(room).min(SEGMENT_BYTES);
        self.event("send", [taken as u64, trace::digest(&bytes[..taken])]);
        self.send_segment(connection, side, Content::Bytes(bytes[..taken].to_vec()));
        Ok(Some(taken))
    }

    /// Takes what has come; 0 at the end, `None` if nothing has come yet.
    pub(super) fn receive(
        &mut self,
        connection: usize,
        side: Side,
        into: &mut [u8],
        peek: bool,
    ) -> Result<Option<usize>, c_int> {
        let Some(end) = self.network.end(connection, side) else { return Err(libc::ENOTCONN) };
        if end.received.is_empty() {
            return match end.error {
                Some(error) => Err(error),
                None if end.ended => Ok(Some(0)),
                None => Ok(None),
            };
        }
        let taken = into.len().min(end.received.len());
        into.iter_mut().zip(&end.received).for_each(|(into, byte)| *into = *byte);
        if !peek {
            let was_full = end.received.len() >= WINDOW_BYTES / 2;
            end.received.drain(..taken);
            if was_full && let Some(other) = self.network.end(connection, 1 - side).and_then(|end| end.object) {
                self.notify(other);
            }
        }
        self.event("receive", [taken as u64, trace::digest(&into[..taken])]);
        Ok(Some(taken))
    }

    pub(super) fn finish(&mut self, connection: usize, side: Side) {
        if let Some(end) = self.network.end(connection, side)
            && !end.finished
            && end.error.is_none()
        {
            end.finished = true;
            self.send_segment(connection, side, Content::End);
        }
    }

    /// The program has closed its end.
    pub(super) fn close_stream(&mut self, connection: usize, side: Side) {
        let Some(end) = self.network.end(connection, side) else { return };
        end.object = None;
        if !end.received.is_empty() {
            self.send_segment(connection, side, Content::Reset);
        } else {
            self.finish(connection, side);
        }
        self.forget_closed(connection);
    }

    pub(super) fn close_listener(&mut self, host: HostId, listener: &Listener) {
        self.network.listeners.remove(&listener.address);
        for id in &listener.accepted {
            if let Some(object) = self.descriptors.remove(*id)
                && let Kind::Stream { connection, side } = object.kind
                && self.hosts[host].has_power
            {
                self.send_segment(connection, side, Content::Reset);
            }
        }
    }

    /// The process of an end is no more; with power, its system tells the other side.
    pub(super) fn lose_end(&mut self, connection: usize, side: Side, has_power: bool) {
        if let Some(end) = self.network.end(connection, side) {
            end.object = None;
            end.sending.clear();
            end.sending_bytes = 0;
        }
        if has_power {
            self.send_segment(connection, side, Content::Reset);
        }
        self.forget_closed(connection);
    }

    fn forget_closed(&mut self, connection: usize) {
        if let Some(closed) = self.network.connections.get(&connection)
            && closed.ends.iter().all(|end| end.object.is_none() && end.sending.is_empty())
        {
            self.network.connections.remove(&connection);
        }
    }

    fn send_segment(&mut self, connection: usize, side: Side, content: Content) {
        let now = self.scheduler.now();
        let (least, most) = self.network.latency_ns;
        let delay = self.network.rng.between(least, most);
        let Some(end) = self.network.end(connection, side) else { return };
        if let Content::Bytes(bytes) = &content {
            end.sending_bytes += bytes.len();
        }
        end.last_due = end.last_due.max(now + delay);
        end.sending.push_back(Segment { content, due: end.last_due });
        if !end.is_delivering {
            end.is_delivering = true;
            let due = end.last_due;
            self.scheduler.at(due, Event::Deliver { connection, side });
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { connection, side } => self.deliver(connection, side),
            Event::Probe { connection, side } => self.probe(connection, side),
            Event::GiveUp { connection } => {
                let waits = |open: &Connection| !open.ends[0].open && open.ends[0].error.is_none();
                if self.network.connections.get(&connection).is_some_and(waits) {
                    self.fail(connection, 0, libc::ETIMEDOUT);
                }
            }
        }
    }

    fn passes(&self, from: HostId, to: HostId) -> bool {
        !self.network.cut.contains(&(from, to)) && self.hosts[to].has_power && self.hosts[from].has_power
    }

    fn deliver(&mut self, connection: usize, side: Side) {
        let now = self.scheduler.now();
        let Some(open) = self.network.connections.get(&connection) else { return };
        let (from, to) = (open.ends[side].host, open.ends[1 - side].host);
        let is_lost = self.network.lost_one_in != 0 && self.network.rng.one_in(self.network.lost_one_in);
        if is_lost || !self.passes(from, to) {
            self.network.lost += 1;
            let Some(end) = self.network.end(connection, side) else { return };
            let since = *end.silent_since.get_or_insert(now);
            let silent_max = end.object.and_then(|id| self.descriptors.get(id)).and_then(|object| object.user_timeout);
            if now - since > silent_max.unwrap_or(60_000 * MILLI) {
                return self.fail(connection, side, libc::ETIMEDOUT);
            }
            return self.scheduler.at(now + RETRY_NS, Event::Deliver { connection, side });
        }
        let Some(end) = self.network.end(connection, side) else { return };
        end.silent_since = None;
        let Some(segment) = end.sending.pop_front() else {
            end.is_delivering = false;
            return;
        };
        if let Content::Bytes(bytes) = &segment.content {
            end.sending_bytes -= bytes.len();
        }
        match end.sending.front().map(|next| next.due.max(now)) {
            Some(due) => self.scheduler.at(due, Event::Deliver { connection, side }),
            None => end.is_delivering = false,
        }
        self.network.segments += 1;
        self.event("deliver", [connection as u64, side as u64]);
        self.arrive(connection, 1 - side, segment.content);
        self.forget_closed(connection);
    }

    /// A segment reaches the end `side`.
    fn arrive(&mut self, connection: usize, side: Side, content: Content) {
        if matches!(content, Content::Open) {
            return self.arrive_open(connection, side);
        }
        let Some(end) = self.network.end(connection, side) else { return };
        let Some(object) = end.object else {
            if matches!(content, Content::Bytes(_)) {
                self.send_segment(connection, side, Content::Reset);
            }
            return;
        };
        match content {
            Content::Bytes(bytes) => end.received.extend(bytes),
            Content::End => end.ended = true,
            Content::Accepted => end.open = true,
            Content::Reset => {
                let error = if end.open { libc::ECONNRESET } else { libc::ECONNREFUSED };
                self.network.resets += 1;
                return self.fail(connection, side, error);
            }
            Content::Open => {}
        }
        self.notify(object);
        // What has arrived makes room for the sender once it is read; what has left made room on the way.
        if let Some(sender) = self.network.end(connection, 1 - side).and_then(|end| end.object) {
            self.notify(sender);
        }
    }

    fn arrive_open(&mut self, connection: usize, side: Side) {
        let Some(end) = self.network.end(connection, side) else { return };
        let (host, local) = (end.host, end.local);
        let Some(listener) = self.network.listeners.get(&local).copied() else {
            return self.send_segment(connection, side, Content::Reset);
        };
        let object = self.descriptors.insert(Kind::Stream { connection, side }, host);
        if let Some(end) = self.network.end(connection, side) {
            (end.object, end.open) = (Some(object), true);
        }
        if let Some(Kind::Listener(listener)) = self.descriptors.get_mut(listener).map(|object| &mut object.kind) {
            listener.accepted.push_back(object);
        }
        self.send_segment(connection, side, Content::Accepted);
        self.notify(listener);
    }

    fn fail(&mut self, connection: usize, side: Side, error: c_int) {
        let Some(end) = self.network.end(connection, side) else { return };
        (end.error, end.is_delivering) = (Some(error), false);
        end.sending.clear();
        end.sending_bytes = 0;
        if let Some(object) = end.object {
            self.notify(object);
        }
        self.forget_closed(connection);
    }

    /// From now on the program wants to know when the other side is silent.
    pub(super) fn watch_silence(&mut self, connection: usize, side: Side) {
        self.scheduler.at(self.scheduler.now() + PROBE_NS, Event::Probe { connection, side });
    }

    fn probe(&mut self, connection: usize, side: Side) {
        let now = self.scheduler.now();
        let Some(open) = self.network.connections.get(&connection) else { return };
        let (from, to) = (open.ends[side].host, open.ends[1 - side].host);
        let Some(object) = open.ends[side].object else { return };
        let is_gone = open.ends[1 - side].object.is_none() && open.ends[side].open && !open.ends[side].ended;
        let hears = self.passes(from, to) && self.passes(to, from);
        let silent_max = self.descriptors.get(object).and_then(|object| object.user_timeout).unwrap_or(u64::MAX);
        let Some(end) = self.network.end(connection, side) else { return };
        if end.error.is_some() {
            return;
        }
        if hears {
            end.silent_since = None;
            if is_gone {
                return self.fail(connection, side, libc::ECONNRESET);
            }
        } else if now - *end.silent_since.get_or_insert(now) > silent_max {
            return self.fail(connection, side, libc::ETIMEDOUT);
        }
        self.watch_silence(connection, side);
    }
}
