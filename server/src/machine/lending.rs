//! `Lending`: the apply thread's state in the hands of whoever has a short read, while that thread has nothing to do.
//!
//! To hand a read to another thread and wait for it takes several times as long as most reads do. So the apply thread
//! leaves its state here whenever it waits for a job; a caller takes it out, reads on its own thread, and puts it back.
//! The lock is held only to take and to put. The apply thread goes first: once it wants its state, it is not lent again.

use super::worker::Worker;
use crate::fault::Fault;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How often a caller looks again for what another one has, and for how long it does nothing in between: together about as
/// long as a short read takes.
const LOOKS: u32 = 16;
const SPINS_BETWEEN_LOOKS: u32 = 32;

#[derive(Default)]
pub(super) struct Lending {
    place: Mutex<Place>,
    /// What was lent is back.
    back: Condvar,
}

#[derive(Default)]
enum Place {
    /// The apply thread has it, or waits for it.
    #[default]
    Kept,
    Here(Box<Worker>),
    Lent,
    /// The apply thread waits for what is lent.
    Awaited,
}

impl Lending {
    /// Leaves the state until `take_back`.
    pub(super) fn leave(&self, worker: Box<Worker>) {
        *self.lock() = Place::Here(worker);
    }

    /// Waits for the end of a read, if there is one.
    pub(super) fn take_back(&self) -> Box<Worker> {
        let mut place = self.lock();
        loop {
            match std::mem::take(&mut *place) {
                Place::Here(worker) => return worker,
                Place::Kept | Place::Lent | Place::Awaited => *place = Place::Awaited,
            }
            place = self.back.wait(place).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does `work` with the state, if it is here or is soon.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        let mut worker = self.take_out()?;
        let done = panic::catch_unwind(AssertUnwindSafe(|| work(&mut worker)));
        if done.is_err() {
            // A bug that panics must stop the node, as it does on the apply thread.
            worker.shared.alarm.raise(&Fault::new("a read panicked"));
        }
        self.put_back(worker);
        done.map_err(panic::resume_unwind).ok()
    }

    fn take_out(&self) -> Option<Box<Worker>> {
        for _ in 0..LOOKS {
            let mut place = self.lock();
            match std::mem::replace(&mut *place, Place::Lent) {
                Place::Here(worker) => return Some(worker),
                Place::Lent => {}
                kept @ (Place::Kept | Place::Awaited) => {
                    *place = kept;
                    return None;
                }
            }
            drop(place);
            (0..SPINS_BETWEEN_LOOKS).for_each(|_| std::hint::spin_loop());
        }
        None
    }

    fn put_back(&self, worker: Box<Worker>) {
        let mut place = self.lock();
        let is_awaited = matches!(*place, Place::Awaited);
        *place = Place::Here(worker);
        drop(place);
        if is_awaited {
            self.back.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
