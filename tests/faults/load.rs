//! Clients that do not stop, and a record of all that they saw.

use crate::libraries::Kind;
use crate::run::note;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use uhaha_tests::linearizability::{Counter, Kvdb, KvdbInput, KvdbOutput, Model, Operation, Outcome};
use uhaha_tests::{Client, Value};

const TIMEOUT: Duration = Duration::from_secs(4);
/// Refusals that say that nothing was done.
const HARMLESS: [&str; 6] = ["CLUSTERDOWN", "BUSY", "TRYAGAIN", "QUARANTINED", "MOVED", "TRY"];
const KEYS: u8 = 6;

/// A guest, what clients ask of it, and what its replies mean.
pub(crate) trait Work: Model<Input: Send + Sync, Output: Send + Sync> + Sized + 'static {
    const MODULE: &'static str;

    /// The next operation of a client; `unique` is a number that nobody else has.
    fn next(random: &mut fastrand::Rng, unique: u64) -> Self::Input;
    fn words(input: &Self::Input) -> Vec<&str>;
    fn output(input: &Self::Input, reply: &Value) -> Option<Self::Output>;
    /// What all is asked at the end, so that nothing that is missing goes unnoticed.
    fn last() -> Vec<Self::Input>;
    /// What a node may be asked about its own state.
    fn read(random: &mut fastrand::Rng) -> Option<Self::Input>;
}

impl Work for Counter {
    const MODULE: &'static str = "ticket";

    fn next(_: &mut fastrand::Rng, _: u64) -> Self::Input {
        Counter::NEXT
    }

    fn words(_: &Self::Input) -> Vec<&str> {
        vec!["TICKET"]
    }

    fn output(_: &Self::Input, reply: &Value) -> Option<u64> {
        if let Value::Integer(number) = reply { u64::try_from(*number).ok() } else { None }
    }

    fn last() -> Vec<Self::Input> {
        vec![Counter::NEXT]
    }

    fn read(_: &mut fastrand::Rng) -> Option<Self::Input> {
        None
    }
}

fn key(random: &mut fastrand::Rng) -> String {
    format!("key-{}", random.u8(..KEYS))
}

impl Work for Kvdb {
    const MODULE: &'static str = "kvdb";

    fn next(random: &mut fastrand::Rng, unique: u64) -> KvdbInput {
        match random.u8(..20) {
            0..8 => KvdbInput::Get(key(random)),
            8..18 => KvdbInput::Set(key(random), unique.to_string()),
            _ => KvdbInput::Del(key(random)),
        }
    }

    fn words(input: &KvdbInput) -> Vec<&str> {
        input.words()
    }

    fn output(input: &KvdbInput, reply: &Value) -> Option<KvdbOutput> {
        match (input, reply) {
            (KvdbInput::Get(_), Value::Null) => Some(KvdbOutput::Value(None)),
            (KvdbInput::Get(_), Value::Bulk(_)) => Some(KvdbOutput::Value(Some(reply.text().to_owned()))),
            (KvdbInput::Set(..), Value::Simple(text)) if text == "OK" => Some(KvdbOutput::Ok),
            (KvdbInput::Del(_), Value::Integer(count)) => Some(KvdbOutput::Deleted(*count)),
            _ => None,
        }
    }

    fn last() -> Vec<KvdbInput> {
        (0..KEYS).map(|key| KvdbInput::Get(format!("key-{key}"))).collect()
    }

    fn read(random: &mut fastrand::Rng) -> Option<KvdbInput> {
        Some(KvdbInput::Get(key(random)))
    }
}

/// A read of a node's own state, and on which connection it was made.
pub(crate) struct StaleRead<M: Model> {
    pub(crate) connection: u64,
    pub(crate) operation: Operation<M>,
}

pub(crate) struct Record<M: Model> {
    pub(crate) operations: Mutex<Vec<Operation<M>>>,
    pub(crate) stale_reads: Mutex<Vec<StaleRead<M>>>,
    /// When writes were acknowledged.
    pub(crate) acknowledged: Mutex<Vec<u64>>,
    /// Replies that no documentation allows for.
    pub(crate) strange: Mutex<BTreeSet<String>>,
    begun: Instant,
    unique: AtomicU64,
    pub(crate) done: AtomicBool,
}

impl<M: Work> Record<M> {
    pub(crate) fn new() -> Record<M> {
        Record {
            operations: Mutex::default(),
            stale_reads: Mutex::default(),
            acknowledged: Mutex::default(),
            strange: Mutex::default(),
            begun: Instant::now(),
            unique: AtomicU64::new(1),
            done: AtomicBool::new(false),
        }
    }

    /// In nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// One operation, recorded; whether the client may ask for another there.
    pub(crate) fn run(&self, number: usize, input: M::Input, ask: impl FnOnce(&[&str]) -> Option<Value>) -> bool {
        let called = self.now();
        let reply = ask(&M::words(&input));
        let at = self.now();
        let is_alive = reply.is_some();
        let outcome = self.outcome(&input, reply, at);
        if !M::is_read(&input) && matches!(outcome, Outcome::Returned { .. }) {
            self.acknowledged.lock().unwrap().push(at);
        }
        // Whoever was refused asks somebody else.
        let is_good = is_alive && matches!(outcome, Outcome::Returned { .. });
        // A read without an answer says nothing.
        if !M::is_read(&input) || outcome != Outcome::Unknown {
            self.operations.lock().unwrap().push(Operation { client: number, input, called, outcome });
        }
        is_good
    }

    /// A read of what some node has, recorded; whether the client may ask for another there.
    fn run_stale(
        &self,
        number: usize,
        connection: u64,
        input: M::Input,
        ask: impl FnOnce(&[&str]) -> Option<Value>,
    ) -> bool {
        let called = self.now();
        let reply = ask(&M::words(&input));
        let outcome = self.outcome(&input, reply, self.now());
        let is_good = matches!(outcome, Outcome::Returned { .. });
        if is_good {
            let operation = Operation { client: number, input, called, outcome };
            self.stale_reads.lock().unwrap().push(StaleRead { connection, operation });
        }
        is_good
    }

    /// Whether an operation of this client has returned.
    pub(crate) fn has_answered(&self, client: usize) -> bool {
        let has_returned = |operation: &Operation<M>| {
            operation.client == client && matches!(operation.outcome, Outcome::Returned { .. })
        };
        self.operations.lock().unwrap().iter().any(has_returned)
    }

    fn outcome(&self, input: &M::Input, reply: Option<Value>, at: u64) -> Outcome<M::Output> {
        match reply {
            None => Outcome::Unknown,
            Some(Value::Error(error)) => {
                let code = error.split(' ').next().unwrap_or_default();
                if HARMLESS.contains(&code) {
                    return Outcome::Refused;
                }
                if code != "UNKNOWN" {
                    self.strange.lock().unwrap().insert(error);
                }
                Outcome::Unknown
            }
            Some(reply) => match M::output(input, &reply) {
                Some(output) => Outcome::Returned { output, at },
                None => {
                    self.strange.lock().unwrap().insert(format!("{reply:?} to {input}"));
                    Outcome::Unknown
                }
            },
        }
    }

    /// A client that asks one node until it is refused, then another.
    pub(crate) fn client(&self, number: usize, addresses: &[SocketAddr], mut random: fastrand::Rng) {
        let mut at = random.usize(..addresses.len());
        while !self.done.load(Ordering::Relaxed) {
            let client = Client::connect_within(addresses[at], TIMEOUT);
            at = random.usize(..addresses.len());
            let Some(mut client) = client else {
                // A node that is down refuses at once.
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            // Now and then to another node all the same.
            for _ in 0..random.usize(50..500) {
                let unique = self.unique.fetch_add(1, Ordering::Relaxed);
                let input = M::next(&mut random, unique);
                if self.done.load(Ordering::Relaxed) {
                    return;
                }
                if !self.run(number, input, |words| client.try_call(words)) {
                    // The proxy of a node that is down takes connections and ends them at once.
                    thread::sleep(Duration::from_millis(20));
                    break;
                }
                // So that a run has no more operations than can be judged in a moment.
                thread::sleep(Duration::from_micros(random.u64(500..6000)));
            }
        }
    }

    /// A client that is a library, and finds by itself whom to ask.
    pub(crate) fn library(
        &self,
        number: usize,
        kind: Kind,
        addresses: &[SocketAddr],
        dir: &Path,
        mut random: fastrand::Rng,
    ) {
        let mut addresses = addresses.to_vec();
        random.shuffle(&mut addresses);
        while !self.done.load(Ordering::Relaxed) {
            let mut process = kind.start(&addresses, dir);
            while !process.is_lost() && !self.done.load(Ordering::Relaxed) {
                let unique = self.unique.fetch_add(1, Ordering::Relaxed);
                let input = M::next(&mut random, unique);
                let ask = |words: &[&str]| {
                    let known = process.ask(words);
                    known.map_err(|why| note(&dir.join("libraries.log"), &format!("{}: {why}", kind.name()))).ok()
                };
                let is_good = match kind.may_read_replicas() && M::is_read(&input) {
                    // Nobody knows on which connection.
                    true => self.run_stale(number, unique, input, ask),
                    false => self.run(number, input, ask),
                };
                // As our own; after a failure longer, so that few outcomes are unknown.
                let pause = if is_good { 500..6000 } else { 50_000..200_000 };
                thread::sleep(Duration::from_micros(random.u64(pause)));
            }
        }
    }

    /// A client that reads what its node has.
    pub(crate) fn reader(&self, number: usize, addresses: &[SocketAddr], mut random: fastrand::Rng) {
        while !self.done.load(Ordering::Relaxed) {
            let connection = self.unique.fetch_add(1, Ordering::Relaxed);
            let client = Client::connect_within(addresses[random.usize(..addresses.len())], TIMEOUT);
            let ready = client.and_then(|mut client| client.try_call(&["READONLY"]).map(|_| client));
            let Some(mut client) = ready else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            for _ in 0..500 {
                let Some(input) = M::read(&mut random) else { return };
                let is_good = self.run_stale(number, connection, input, |words| client.try_call(words));
                if !is_good || self.done.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_millis(random.u64(1..10)));
            }
        }
    }

    /// The longest time in `from..to` without an acknowledged write.
    pub(crate) fn longest_gap(&self, from: u64, to: u64) -> Duration {
        let acknowledged = self.acknowledged.lock().unwrap();
        let mut times: Vec<u64> = acknowledged.iter().copied().filter(|at| (from..to).contains(at)).collect();
        times.extend([from, to]);
        times.sort_unstable();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        Duration::from_nanos(gap.unwrap_or_default())
    }
}
