//! A small operating system inside the process: threads, time, entropy, sockets and disks as the C library shows them,
//! all decided by a seed.
//!
//! This program defines the functions of the C library through which Rust's standard library, tokio and redb reach the
//! system, so whatever is linked into it runs on the simulated one, unchanged: the real node with its threads, its
//! event loop and its files. Only one simulated thread runs at a time, and it runs until it waits or is preempted
//! inside of one of these functions; who goes on is the seed's choice. Time passes only there. Threads that the
//! simulation did not start get the real system.
#![expect(unsafe_code, reason = "functions of the C library have C's signatures; a baton guards the state")]

mod clock;
mod crash;
mod descriptors;
mod disk;
mod entropy;
mod files;
mod network;
mod poll;
mod process;
mod real;
mod scheduler;
mod sockets;
mod threads;

pub(crate) use self::crash::{Crash, end_process};
pub(crate) use self::disk::Faults as DiskFaults;
pub(crate) use self::process::{end_on_signals, fix_addresses, has_fixed_addresses, leave, raise_file_limit};
pub(crate) use self::scheduler::{HostId, WORLD};
pub(crate) use self::threads::{is_simulated, sleep, spawn_on};

use self::clock::Clock;
use self::descriptors::Descriptors;
use self::disk::Disks;
use self::network::Network;
use self::scheduler::Scheduler;
use crate::rng::Rng;
use crate::trace::Trace;
use std::cell::{Cell, UnsafeCell};
use std::net::Ipv4Addr;

/// A computer.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Counts the processes that ran on it: what belongs to an earlier one is dead.
    pub(crate) life: u32,
    /// A computer without power answers nothing; one whose process has ended refuses connections.
    pub(crate) has_power: bool,
    pub(crate) is_running: bool,
    /// Whether the last process ended by its own decision.
    pub(crate) ended_itself: bool,
    pub(crate) clock: Clock,
    entropy: Rng,
}

/// All that is simulated. Only the thread that holds the baton touches it.
#[derive(Debug)]
pub(crate) struct Os {
    pub(crate) trace: Trace,
    pub(crate) scheduler: Scheduler,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) disks: Disks,
    descriptors: Descriptors,
}

struct Baton(UnsafeCell<Option<Os>>);

// SAFETY: only the thread that holds the baton looks into it, and the baton is handed over with a futex.
unsafe impl Sync for Baton {}

static OS: Baton = Baton(UnsafeCell::new(None));

thread_local! {
    /// The simulated thread that this one is.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    /// Whether the simulation itself is at work: what it calls is real.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread, if it is simulated and not at work for the simulation.
fn current() -> Option<usize> {
    match INSIDE.get() {
        true => None,
        false => CURRENT.get(),
    }
}

/// Makes the calling thread the first simulated one, on a host of its own that no fault befalls.
pub(crate) fn begin(seed: u64, trace: Trace) {
    let os = Os {
        trace,
        scheduler: Scheduler::new(seed),
        hosts: vec![],
        network: Network::new(seed),
        disks: Disks::new(seed),
        descriptors: Descriptors::default(),
    };
    // SAFETY: nothing is simulated yet, so nobody else looks.
    unsafe { *OS.0.get() = Some(os) };
    threads::begin();
    CURRENT.set(Some(WORLD));
    add_host(seed, "world");
}

/// One more computer, with nothing running on it.
pub(crate) fn add_host(seed: u64, name: &str) -> HostId {
    enter(|os| {
        let id = os.hosts.len();
        os.hosts.push(Host {
            name: name.to_owned(),
            address: Ipv4Addr::new(10, 0, (id >> 8) as u8, id as u8),
            life: 1,
            has_power: true,
            is_running: false,
            ended_itself: false,
            clock: Clock::new(os.scheduler.now(), id as u64),
            entropy: Rng::new(seed, &format!("entropy of {name}")),
        });
        id
    })
}

/// Works on the simulation's state. Nothing simulated is called meanwhile.
pub(crate) fn enter<T>(work: impl FnOnce(&mut Os) -> T) -> T {
    assert!(CURRENT.get().is_some() && !INSIDE.get(), "only a simulated thread enters, and once");
    INSIDE.set(true);
    // SAFETY: the calling thread has the baton, since it runs, and does not enter twice.
    let os = unsafe { (*OS.0.get()).as_mut() };
    let result = work(os.expect("the simulation has begun"));
    INSIDE.set(false);
    result
}

impl Os {
    /// A line of the readable trace.
    pub(crate) fn say(&mut self, host: HostId, text: &str) {
        self.trace.say(self.scheduler.now(), &self.hosts[host].name, text);
    }

    fn event(&mut self, what: &'static str, numbers: [u64; 2]) {
        let who = self.scheduler.running();
        self.trace.event(self.scheduler.now(), who, what, numbers);
    }

    /// The host of the running thread.
    fn here(&self) -> HostId {
        self.scheduler.host_of(self.scheduler.running())
    }
}

/// A line of the readable trace, said by the running thread's host.
pub(crate) fn say(text: &str) {
    enter(|os| {
        let host = os.here();
        os.say(host, text);
    });
}

/// The running thread's host.
pub(crate) fn here() -> HostId {
    enter(|os| os.here())
}

/// Nanoseconds since the begin of the simulation, which no host's clock shows.
pub(crate) fn now() -> u64 {
    enter(|os| os.scheduler.now())
}
