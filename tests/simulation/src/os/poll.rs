//! epoll and eventfd. Readiness is told by edges, whatever was asked for: tokio asks for nothing else.

use super::descriptors::{Kind, Object, ObjectId};
use super::scheduler::On;
use super::threads::{block, point};
use super::{Os, current, enter, real};
use libc::{c_int, c_uint};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub(super) struct Epoll {
    watched: BTreeMap<c_int, Watch>,
    /// What has become ready and was not told yet, longest first.
    ready: VecDeque<c_int>,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    object: ObjectId,
    events: u32,
    data: u64,
}

impl Os {
    /// The events that are true of an object now.
    fn readiness(&self, id: ObjectId) -> u32 {
        let flag = |holds: bool, events: c_int| if holds { events as u32 } else { 0 };
        match self.descriptors.get(id).map(|object| &object.kind) {
            Some(Kind::Event { count }) => flag(*count > 0, libc::EPOLLIN) | libc::EPOLLOUT as u32,
            Some(Kind::Listener(listener)) => flag(listener.has_connection(), libc::EPOLLIN),
            Some(Kind::Stream { connection, side }) => {
                let state = self.network.state(*connection, *side);
                flag(state.readable, libc::EPOLLIN)
                    | flag(state.writable, libc::EPOLLOUT)
                    | flag(state.ended, libc::EPOLLRDHUP)
                    | flag(state.failed, libc::EPOLLERR | libc::EPOLLHUP)
            }
            _ => 0,
        }
    }

    pub(super) fn note_ready(&mut self, epoll: ObjectId, fd: c_int) {
        if let Some(Kind::Epoll(state)) = self.descriptors.get_mut(epoll).map(|object| &mut object.kind) {
            if !state.ready.contains(&fd) {
                state.ready.push_back(fd);
            }
            self.scheduler.wake(On::Object(epoll), 1);
        }
    }

    /// Takes a closed object out of the epolls that watch it, and a closed epoll out of what it watches.
    pub(super) fn forget_watched(&mut self, object: &Object, id: ObjectId) {
        for (epoll, fd) in &object.watchers {
            if let Some(Kind::Epoll(state)) = self.descriptors.get_mut(*epoll).map(|object| &mut object.kind) {
                state.watched.remove(fd);
                state.ready.retain(|ready| ready != fd);
            }
        }
        if let Kind::Epoll(state) = &object.kind {
            for (fd, watch) in &state.watched {
                if let Some(watched) = self.descriptors.get_mut(watch.object) {
                    watched.watchers.remove(&(id, *fd));
                }
            }
        }
    }

    fn control(
        &mut self,
        epoll: ObjectId,
        op: c_int,
        fd: c_int,
        event: Option<libc::epoll_event>,
    ) -> Result<(), c_int> {
        let object = self.descriptors.find(fd).ok_or(libc::EPERM)?;
        let Some(Kind::Epoll(state)) = self.descriptors.get_mut(epoll).map(|object| &mut object.kind) else {
            return Err(libc::EINVAL);
        };
        match (op, event) {
            (libc::EPOLL_CTL_ADD, Some(_)) if state.watched.contains_key(&fd) => return Err(libc::EEXIST),
            (libc::EPOLL_CTL_MOD, Some(_)) if !state.watched.contains_key(&fd) => return Err(libc::ENOENT),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(event)) => {
                state.watched.insert(fd, Watch { object, events: event.events, data: event.u64 });
                if let Some(object) = self.descriptors.get_mut(object) {
                    object.watchers.insert((epoll, fd));
                }
                if self.readiness(object) & event.events != 0 {
                    self.note_ready(epoll, fd);
                }
            }
            _ => {
                state.watched.remove(&fd).ok_or(libc::ENOENT)?;
                state.ready.retain(|ready| *ready != fd);
                if let Some(object) = self.descriptors.get_mut(object) {
                    object.watchers.remove(&(epoll, fd));
                }
            }
        }
        Ok(())
    }

    /// What is to be told now, up to `max`.
    fn told(&mut self, epoll: ObjectId, max: usize) -> Vec<libc::epoll_event> {
        let mut told = Vec::new();
        while told.len() < max {
            let Some(Kind::Epoll(state)) = self.descriptors.get_mut(epoll).map(|object| &mut object.kind) else {
                break;
            };
            let Some(fd) = state.ready.pop_front() else { break };
            let Some(watch) = state.watched.get(&fd).copied() else { continue };
            let asked = watch.events | (libc::EPOLLERR | libc::EPOLLHUP) as u32;
            let events = self.readiness(watch.object) & asked;
            if events != 0 {
                told.push(libc::epoll_event { events, u64: watch.data });
            }
        }
        told
    }

    /// Adds to the counter of an eventfd.
    pub(super) fn count_up(&mut self, id: ObjectId, more: u64) {
        if let Some(Kind::Event { count }) = self.descriptors.get_mut(id).map(|object| &mut object.kind) {
            *count = count.saturating_add(more);
            self.notify(id);
        }
    }

    /// Takes the counter of an eventfd.
    pub(super) fn count_out(&mut self, id: ObjectId) -> Option<u64> {
        match self.descriptors.get_mut(id).map(|object| &mut object.kind) {
            Some(Kind::Event { count }) if *count > 0 => Some(std::mem::take(count)),
            _ => None,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    match current() {
        // SAFETY: it has no contract.
        None => unsafe { real::epoll_create1(flags) },
        Some(_) => enter(|os| {
            let id = os.make(Kind::Epoll(Epoll::default()));
            os.open_descriptor(id, false)
        }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd(value: c_uint, flags: c_int) -> c_int {
    match current() {
        // SAFETY: it has no contract.
        None => unsafe { real::eventfd(value, flags) },
        Some(_) => enter(|os| {
            let id = os.make(Kind::Event { count: u64::from(value) });
            os.open_descriptor(id, flags & libc::EFD_NONBLOCK != 0)
        }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::epoll_ctl(epoll, op, fd, event) };
    }
    // SAFETY: the caller's contract: null or an event.
    let event = unsafe { event.as_ref() }.copied();
    let result = enter(|os| match os.descriptors.find(epoll) {
        Some(epoll) => os.control(epoll, op, fd, event),
        None => Err(libc::EBADF),
    });
    result.map_or_else(real::fail, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(epoll: c_int, events: *mut libc::epoll_event, max: c_int, timeout: c_int) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::epoll_wait(epoll, events, max, timeout) };
    }
    point();
    let Some(id) = enter(|os| os.descriptors.find(epoll)) else { return real::fail(libc::EBADF) };
    let deadline = (timeout > 0).then(|| enter(|os| os.deadline_in(timeout as u64 * 1_000_000)));
    loop {
        let told = enter(|os| os.told(id, max as usize));
        if !told.is_empty() || timeout == 0 {
            // SAFETY: the caller's contract: there is room for `max`.
            unsafe { events.copy_from_nonoverlapping(told.as_ptr(), told.len()) };
            return told.len() as c_int;
        }
        if !block(On::Object(id), deadline) {
            return 0;
        }
    }
}
