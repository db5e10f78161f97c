//! A client of the cluster: it asks whichever node answers, and writes down what it is told.

use crate::history::{Call, Outcome, record};
use crate::os::{self, HostId};
use crate::plan::Guest;
use crate::rng::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uhaha_tests::client::{Client as Connection, Value};

/// Few, so that clients meet.
pub(crate) const KEYS: u64 = 3;
/// Errors that promise that nothing was done.
const NOTHING_DONE: [&str; 7] = ["MOVED ", "TRY ", "CLUSTERDOWN ", "BUSY ", "TRYAGAIN ", "QUARANTINED ", "LOADING "];

/// Told to all clients: no more commands.
pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) guest: Guest,
    /// `HOST:PORT` of all nodes that there may be.
    pub(crate) nodes: Vec<String>,
    pub(crate) think_ns: u64,
    pub(crate) rng: Rng,
}

impl Client {
    pub(crate) fn start(self, host: HostId) {
        os::spawn_on(host, "client", move || self.run());
    }

    fn run(mut self) {
        let mut connection: Option<Connection> = None;
        let mut counter = 0;
        while !STOP.load(Ordering::Relaxed) {
            let wait = self.rng.between(1_000_000, self.think_ns);
            os::sleep(wait);
            let mut open = match connection.take() {
                Some(open) => open,
                None => match self.connect(None) {
                    Some(open) => open,
                    None => continue,
                },
            };
            counter += 1;
            let call = self.choose(counter);
            let outcome = record(self.number, call, |call| ask(self.guest, &mut open, call));
            connection = match &outcome {
                Outcome::Unknown(_) => None,
                Outcome::Refused(error) => match error.strip_prefix("MOVED 0 ") {
                    Some(leader) => self.connect(Some(leader)),
                    None => None,
                },
                // Now and then to another node, so that all are asked.
                _ if self.rng.one_in(20) => None,
                _ => Some(open),
            };
        }
    }

    fn connect(&mut self, to: Option<&str>) -> Option<Connection> {
        let any = self.rng.pick::<String>(&self.nodes);
        connect(to.unwrap_or(any), &mut self.rng)
    }

    fn choose(&mut self, counter: u64) -> Call {
        match self.guest {
            Guest::Ticket => return Call::Ticket,
            Guest::Rash if self.rng.one_in(8) => return Call::Trap,
            Guest::Rash => return Call::Ticket,
            Guest::Kvdb => {}
        }
        let key = format!("k{}", self.rng.below(KEYS));
        match self.rng.below(10) {
            0..5 => Call::Set { key, value: format!("{}-{counter}", self.number) },
            5 => Call::Del { key },
            _ => Call::Get { key },
        }
    }
}

pub(crate) fn connect(address: &str, rng: &mut Rng) -> Option<Connection> {
    let mut connection = Connection::try_connect(address.parse().ok()?)?;
    connection.set_patience(Duration::from_millis(rng.magnitude(500, 10_000)));
    Some(connection)
}

/// The calls that tell what is there in the end.
pub(crate) fn last_calls(guest: Guest) -> Vec<Call> {
    match guest {
        Guest::Ticket | Guest::Rash => vec![Call::Ticket],
        Guest::Kvdb => (0..KEYS).map(|key| Call::Get { key: format!("k{key}") }).collect(),
    }
}

/// Sends a call and makes of the reply what the client may believe.
pub(crate) fn ask(guest: Guest, connection: &mut Connection, call: &Call) -> Outcome {
    let words: Vec<&str> = match call {
        Call::Ticket if guest == Guest::Rash => vec!["INCR"],
        Call::Trap => vec!["PANICS"],
        Call::Ticket => vec!["TICKET"],
        Call::Set { key, value } => vec!["SET", key, value],
        Call::Get { key } => vec!["GET", key],
        Call::Del { key } => vec!["DEL", key],
    };
    match (connection.try_call(&words), call) {
        (Some(Value::Integer(ticket)), Call::Ticket) => Outcome::Ticket(ticket as u64),
        (Some(Value::Integer(count)), Call::Del { .. }) => Outcome::Deleted(count > 0),
        (Some(Value::Null), Call::Get { .. }) => Outcome::Value(None),
        (Some(Value::Bulk(value)), Call::Get { .. }) => {
            Outcome::Value(Some(String::from_utf8_lossy(&value).into_owned()))
        }
        (Some(Value::Simple(_)), Call::Set { .. }) => Outcome::Done,
        (Some(Value::Error(error)), _) if NOTHING_DONE.iter().any(|code| error.starts_with(code)) => {
            Outcome::Refused(error)
        }
        // It says that it failed, and so it changed nothing.
        (Some(Value::Error(error)), Call::Trap) if error.starts_with("TRAP ") => Outcome::Trapped,
        (Some(other), _) => Outcome::Unknown(format!("{other:?}")),
        (None, _) => Outcome::Unknown("no reply".to_owned()),
    }
}
