//! Who runs, and what time it is.
//!
//! Threads that can run are chosen from at random. When none can, time jumps to the next thing that happens: an event of
//! the network or the end of somebody's wait.

use super::Os;
use super::network::Event;
use crate::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicU32;

pub(crate) type HostId = usize;

/// The host, and on it the thread, that makes the faults and judges.
pub(crate) const WORLD: HostId = 0;

/// What a call costs; a thread that only polls makes time pass.
const CALL_NS: u64 = 200;
const SWITCH_NS: u64 = 2_000;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    Time,
    Futex(usize),
    Object(usize),
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Waiting {
        on: On,
        deadline: Option<u64>,
    },
    /// Its process has ended. Nothing of it is undone, as nothing is when a process is killed.
    Dead,
    Ended,
}

#[derive(Debug)]
pub(super) struct Thread {
    host: HostId,
    state: State,
    /// Whether its last wait ended by what it waited for.
    woken: bool,
    /// 1 when the thread may run.
    pub(super) gate: &'static AtomicU32,
    pub(super) handle: libc::pthread_t,
}

#[derive(Debug)]
pub(crate) struct Scheduler {
    now: u64,
    rng: Rng,
    /// One preemption in so many calls; never if 0.
    preempt_one_in: u64,
    pub(super) threads: Vec<Thread>,
    running: usize,
    ready: Vec<usize>,
    waiting: BTreeMap<On, VecDeque<usize>>,
    deadlines: BTreeSet<(u64, usize)>,
    /// Hosts that do nothing until then, as a stopped process does.
    paused: BTreeMap<HostId, u64>,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    events_ever: u64,
    switches: u64,
}

impl Scheduler {
    pub(super) fn new(seed: u64) -> Scheduler {
        let mut rng = Rng::new(seed, "scheduler");
        let preempt_one_in = *rng.pick(&[0, 500, 100, 20]);
        let mut scheduler = Scheduler {
            now: 0,
            rng,
            preempt_one_in,
            threads: Vec::new(),
            running: 0,
            ready: Vec::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            paused: BTreeMap::new(),
            events: BTreeMap::new(),
            events_ever: 0,
            switches: 0,
        };
        let first = scheduler.add(WORLD);
        scheduler.ready.clear();
        scheduler.threads[first].state = State::Running;
        scheduler
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn switches(&self) -> u64 {
        self.switches
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn host_of(&self, thread: usize) -> HostId {
        self.threads[thread].host
    }

    /// A new thread, which can run at once.
    pub(super) fn add(&mut self, host: HostId) -> usize {
        let id = self.threads.len();
        // A dead thread waits at its gate for ever, so gates are never freed.
        let gate = Box::leak(Box::new(AtomicU32::new(0)));
        self.threads.push(Thread { host, state: State::Ready, woken: false, gate, handle: 0 });
        self.ready.push(id);
        id
    }

    pub(super) fn call(&mut self) {
        self.now += CALL_NS;
    }

    /// Whether the running thread loses the processor here.
    pub(super) fn preempts(&mut self) -> bool {
        self.preempt_one_in != 0 && self.rng.one_in(self.preempt_one_in)
    }

    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.events_ever += 1;
        self.events.insert((time, self.events_ever), event);
    }

    /// Has the running thread wait.
    pub(super) fn wait(&mut self, on: On, deadline: Option<u64>) {
        let thread = self.running;
        self.threads[thread].state = State::Waiting { on, deadline };
        self.threads[thread].woken = false;
        self.waiting.entry(on).or_default().push_back(thread);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, thread));
        }
    }

    /// Has the running thread go on later.
    pub(super) fn give_way(&mut self) {
        self.threads[self.running].state = State::Ready;
        self.ready.push(self.running);
    }

    pub(super) fn woken(&self, thread: usize) -> bool {
        self.threads[thread].woken
    }

    pub(super) fn has_ended(&self, thread: usize) -> bool {
        self.threads[thread].state == State::Ended
    }

    /// Wakes up to `most` that wait for `on`, longest first; returns how many.
    pub(super) fn wake(&mut self, on: On, most: usize) -> usize {
        let mut woken = 0;
        while woken < most {
            let Some(thread) = self.waiting.get(&on).and_then(|threads| threads.front().copied()) else { break };
            self.unwait(thread);
            self.threads[thread].woken = true;
            self.threads[thread].state = State::Ready;
            self.ready.push(thread);
            woken += 1;
        }
        woken
    }

    /// Takes a thread out of all queues.
    fn unwait(&mut self, thread: usize) {
        if let State::Waiting { on, deadline } = self.threads[thread].state {
            if let Some(threads) = self.waiting.get_mut(&on) {
                threads.retain(|waiting| *waiting != thread);
                if threads.is_empty() {
                    self.waiting.remove(&on);
                }
            }
            if let Some(deadline) = deadline {
                self.deadlines.remove(&(deadline, thread));
            }
        }
        self.ready.retain(|ready| *ready != thread);
    }

    pub(super) fn end(&mut self, thread: usize) {
        self.threads[thread].state = State::Ended;
        self.wake(On::End(thread), usize::MAX);
    }

    /// Ends all threads of a host where they are.
    pub(super) fn kill(&mut self, host: HostId) {
        for thread in 0..self.threads.len() {
            if self.threads[thread].host == host && self.threads[thread].state != State::Ended {
                self.unwait(thread);
                self.threads[thread].state = State::Dead;
            }
        }
        self.paused.remove(&host);
    }

    /// Has a host do nothing for a while.
    pub(crate) fn pause(&mut self, host: HostId, for_ns: u64) {
        self.paused.insert(host, self.now + for_ns);
    }

    fn expire(&mut self) {
        while let Some((deadline, thread)) = self.deadlines.first().copied()
            && deadline <= self.now
        {
            self.unwait(thread);
            self.threads[thread].state = State::Ready;
            self.ready.push(thread);
        }
        self.paused.retain(|_, until| *until > self.now);
    }

    fn choose(&mut self) -> Option<usize> {
        let may_run = |thread: &usize| !self.paused.contains_key(&self.threads[*thread].host);
        let count = self.ready.iter().filter(|thread| may_run(thread)).count();
        if count == 0 {
            return None;
        }
        let nth = if count == 1 { 0 } else { self.rng.below(count as u64) as usize };
        let may_run = |thread: &usize| !self.paused.contains_key(&self.threads[*thread].host);
        let position = self.ready.iter().enumerate().filter(|(_, thread)| may_run(thread)).nth(nth)?.0;
        Some(self.ready.remove(position))
    }

    /// When something happens next if nobody runs.
    fn next_time(&self) -> Option<u64> {
        let event = self.events.first_key_value().map(|((time, _), _)| *time);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let resumed = self.paused.values().min().copied();
        [event, deadline, resumed].into_iter().flatten().min()
    }
}

impl Os {
    /// Chooses who runs now, and lets time pass until somebody can.
    pub(super) fn next(&mut self) -> usize {
        loop {
            while let Some(entry) = self.scheduler.events.first_entry()
                && entry.key().0 <= self.scheduler.now
            {
                let event = entry.remove();
                self.happen(event);
            }
            self.scheduler.expire();
            if let Some(next) = self.scheduler.choose() {
                self.scheduler.now += SWITCH_NS;
                self.scheduler.switches += 1;
                self.scheduler.running = next;
                self.scheduler.threads[next].state = State::Running;
                self.trace.event(self.scheduler.now, next, "runs", [0, 0]);
                return next;
            }
            let time = self.scheduler.next_time().expect("the world always waits for a time, so something happens");
            self.scheduler.now = self.scheduler.now.max(time);
        }
    }
}
