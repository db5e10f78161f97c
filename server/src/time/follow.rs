//! Asks all NTP servers, again and again, and has the clock follow what most of them agree on.
//!
//! Of each server's last few answers the one counts that can be wrong by the least: one that came back quickly, unless it
//! is so old that drift makes up for it. A server that asks to be left alone is.

use super::exchange::{self, ANSWER_TIMEOUT, Sample};
use super::selection::{Candidate, agree};
use super::{Clock, Estimate, ServerName, difference};
use crate::fault::chain;
use futures_util::future::join_all;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How soon the servers are asked again after nobody could be believed; each time doubled, up to the interval.
const RETRY_MIN: Duration = Duration::from_secs(2);
const SAMPLES_MAX: usize = 4;
/// An answer counts for so many rounds without another, for packets get lost.
const SAMPLE_ROUNDS_MAX: u32 = 4;
/// For how many rounds a server is left alone that refuses to be asked.
const REST_ROUNDS: u32 = 16;

/// A server as an operator sees it.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub name: ServerName,
    pub state: ServerState,
    /// Its last answer: how far it is ahead of the node's clock, in nanoseconds, and the round trip.
    pub offset: i64,
    pub delay: Duration,
    pub stratum: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// The clock follows it.
    Used,
    /// It answers, and contradicts the others.
    Dropped,
    /// It does not answer, or not so that it could be used.
    Silent,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServerState::Used => "used",
            ServerState::Dropped => "dropped",
            ServerState::Silent => "silent",
        })
    }
}

struct Server {
    name: ServerName,
    address: Option<SocketAddr>,
    /// Kept over rounds: a name service that hangs is not asked a second time meanwhile.
    resolving: Option<JoinHandle<Result<SocketAddr, exchange::Error>>>,
    samples: VecDeque<Sample>,
    /// Why the last question has no answer.
    failure: Option<exchange::Error>,
    rests: u32,
}

/// What came of asking all of them.
#[derive(Debug)]
enum Round {
    Agreed { used: usize },
    Silent,
    Disagreed,
}

pub(super) async fn run(clock: &Clock) {
    let interval = clock.shared.options.interval;
    let mut servers: Vec<Server> = clock.shared.options.servers.iter().cloned().map(Server::new).collect();
    let retry_min = RETRY_MIN.min(interval);
    let mut retry = retry_min;
    loop {
        join_all(servers.iter_mut().map(|server| server.ask(interval))).await;
        let round = settle(clock, &servers, Instant::now());
        let agreed = matches!(round, Round::Agreed { .. });
        if clock.followed().agreed.replace(agreed) != Some(agreed) {
            say(clock, &round, &servers);
        }
        tokio::time::sleep(if agreed { interval } else { retry }).await;
        retry = if agreed { retry_min } else { (retry * 2).min(interval) };
    }
}

fn say(clock: &Clock, round: &Round, servers: &[Server]) {
    let servers = || servers.iter().map(Server::to_string).collect::<Vec<_>>();
    match round {
        Round::Agreed { used } => {
            let ahead_s = clock.status().offset as f64 / 1e9;
            tracing::info!(servers = used, ahead_of_system_s = ahead_s, "the clock follows NTP servers");
        }
        Round::Silent => tracing::warn!(servers = ?servers(), "no NTP server answers; the clock runs on by itself"),
        Round::Disagreed => {
            tracing::warn!(servers = ?servers(), "the NTP servers disagree; the clock runs on by itself");
        }
    }
}

/// Sets the clock by what the servers have said.
fn settle(clock: &Clock, servers: &[Server], now: Instant) -> Round {
    let base = clock.read().time;
    let mut candidates = Vec::new();
    let mut states: Vec<ServerStatus> = servers.iter().map(|server| server.status(base, now)).collect();
    for (position, server) in servers.iter().enumerate() {
        if let Some(sample) = server.best(now) {
            let offset = difference(sample.time_at(now), base);
            candidates.push((position, Candidate { offset, error: sample.error_at(now) }));
        }
    }
    let agreement = agree(&candidates.iter().map(|(_, candidate)| *candidate).collect::<Vec<_>>());
    let mut followed = clock.followed();
    let round = match agreement {
        Some(agreement) => {
            for member in &agreement.members {
                states[candidates[*member].0].state = ServerState::Used;
            }
            let time = base.saturating_add_signed(agreement.offset);
            followed.estimate = Some(Estimate { at: now, time, error: agreement.error });
            Round::Agreed { used: agreement.members.len() }
        }
        None if candidates.is_empty() => Round::Silent,
        None => Round::Disagreed,
    };
    followed.servers = states;
    round
}

impl Server {
    fn new(name: ServerName) -> Server {
        Server { name, address: None, resolving: None, samples: VecDeque::new(), failure: None, rests: 0 }
    }

    /// Asks once, and forgets answers that are too old.
    async fn ask(&mut self, interval: Duration) {
        if self.rests > 0 {
            self.rests -= 1;
        } else {
            match self.sample().await {
                Ok(sample) => {
                    self.failure = None;
                    if self.samples.len() == SAMPLES_MAX {
                        self.samples.pop_front();
                    }
                    self.samples.push_back(sample);
                }
                Err(error) => {
                    tracing::debug!(server = %self.name, error = chain(&error), "an NTP server gives no time");
                    if matches!(error, exchange::Error::Kiss(_)) {
                        self.rests = REST_ROUNDS;
                    }
                    // It may have moved, and a pool has others.
                    self.address = None;
                    self.failure = Some(error);
                }
            }
        }
        let age_max = (interval * SAMPLE_ROUNDS_MAX).max(ANSWER_TIMEOUT);
        self.samples.retain(|sample| sample.at.elapsed() <= age_max);
    }

    async fn sample(&mut self) -> Result<Sample, exchange::Error> {
        let address = match self.address {
            Some(address) => address,
            None => self.resolve().await?,
        };
        self.address = Some(address);
        exchange::ask(address).await
    }

    async fn resolve(&mut self) -> Result<SocketAddr, exchange::Error> {
        let name = &self.name;
        let resolving = self.resolving.get_or_insert_with(|| tokio::spawn(exchange::resolve(name.clone())));
        let Ok(resolved) = tokio::time::timeout(ANSWER_TIMEOUT, resolving).await else {
            return Err(exchange::Error::ResolveTimeout);
        };
        self.resolving = None;
        // The task ends without a result only when the runtime does.
        resolved.unwrap_or(Err(exchange::Error::NoAddress))
    }

    fn best(&self, now: Instant) -> Option<Sample> {
        self.samples.iter().copied().min_by_key(|sample| sample.error_at(now))
    }

    fn status(&self, base: u64, now: Instant) -> ServerStatus {
        let last = self.samples.back();
        ServerStatus {
            name: self.name.clone(),
            state: if last.is_some() { ServerState::Dropped } else { ServerState::Silent },
            offset: last.map_or(0, |sample| difference(sample.time_at(now), base)),
            delay: last.map_or(Duration::ZERO, |sample| sample.delay),
            stratum: last.map_or(0, |sample| sample.stratum),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(failure) => write!(f, "{}: {}", self.name, chain(failure)),
            None => write!(f, "{}", self.name),
        }
    }
}
