//! WASI handles that a guest keeps from one call to the next, as one does that prints.
//!
//! A handle is an index into a table of the guest's component instance, which nobody can look into. But what is in it
//! follows from what was opened and dropped, in order: the index that was dropped last is the next one given. So the host
//! keeps an account of it, which is part of an image, and the same table can be made again in another instance: by opening
//! the same kinds under the same indices, and dropping what is too much in the right order.

use super::instrument::Resource;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Indices that may be in use at the same time.
const HANDLES_MAX: usize = 4096;

/// What a handle stands for on the host's side. None of it has a state that a guest could tell from that of a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Held {
    /// Always at its end.
    Stdin,
    Stdout,
    Stderr,
    /// Always ready.
    Pollable,
    /// Of no use without sockets, and not made again in another instance.
    Network,
}

impl Held {
    /// What it is called in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Held::Stdin => "the standard input",
            Held::Stdout => "the standard output",
            Held::Stderr => "the standard error",
            Held::Pollable => "a pollable",
            Held::Network => "a network",
        }
    }

    /// The resource type that a handle of it has, if it can be made again.
    pub(super) fn resource(self) -> Option<Resource> {
        match self {
            Held::Stdin => Some(Resource::InputStream),
            Held::Stdout | Held::Stderr => Some(Resource::OutputStream),
            Held::Pollable => Some(Resource::Pollable),
            Held::Network => None,
        }
    }
}

/// What is in the table, and which indices are given next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handles {
    /// What each index stands for, from index 1 on; `None` if it is free.
    slots: Vec<Option<Held>>,
    /// The free indices; the last one is given next.
    free: Vec<u32>,
}

impl Handles {
    pub const NONE: Handles = Handles { slots: Vec::new(), free: Vec::new() };

    /// Whether no handle was ever given.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The highest index that was ever given.
    pub(super) fn highest(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn at(&self, index: u32) -> Option<Held> {
        self.slots.get((index as usize).checked_sub(1)?).copied().flatten()
    }

    /// Those in use, with their indices.
    pub(super) fn live(&self) -> Vec<(u32, Held)> {
        (1..).zip(&self.slots).filter_map(|(index, held)| held.map(|held| (index, held))).collect()
    }

    /// Free indices in the order in which they were dropped.
    pub(super) fn free(&self) -> &[u32] {
        &self.free
    }

    /// The index that is given next.
    pub(super) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.highest() + 1)
    }

    /// Whether it is a table that there can be, for one that was read from a file.
    pub(super) fn is_sound(&self) -> bool {
        let free: BTreeSet<u32> = self.free.iter().copied().collect();
        let unused = (1..).zip(&self.slots).filter(|(_, held)| held.is_none()).map(|(index, _)| index);
        self.slots.len() <= HANDLES_MAX && free.len() == self.free.len() && unused.eq(free.iter().copied())
    }

    fn open(&mut self, held: Held) -> u32 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(None);
                self.highest()
            }
        };
        self.slots[index as usize - 1] = Some(held);
        index
    }

    fn close(&mut self, index: u32) {
        self.slots[index as usize - 1] = None;
        self.free.push(index);
    }
}

/// The account of one instance.
#[derive(Default)]
pub(super) struct Ledger {
    handles: Handles,
    /// Indices by the number under which the host has what is behind them.
    indices: BTreeMap<u32, u32>,
}

impl Ledger {
    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// A handle of this is about to be given to the guest.
    pub(super) fn open(&mut self, held: Held, number: u32) -> wasmtime::Result<u32> {
        if self.indices.len() >= HANDLES_MAX {
            return Err(wasmtime::Error::msg(format!(
                "it holds {HANDLES_MAX} WASI handles, the most that are allowed"
            )));
        }
        let index = self.handles.open(held);
        self.indices.insert(number, index);
        Ok(index)
    }

    /// The guest has dropped it.
    pub(super) fn close(&mut self, number: u32) {
        if let Some(index) = self.indices.remove(&number) {
            self.handles.close(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(held: &[Held]) -> Handles {
        let mut handles = Handles::default();
        for held in held {
            handles.open(*held);
        }
        handles
    }

    #[test]
    fn the_index_that_was_dropped_last_is_given_next() {
        let mut handles = opened(&[Held::Stdout, Held::Stderr, Held::Pollable]);
        assert_eq!((handles.highest(), handles.next()), (3, 4));
        handles.close(1);
        handles.close(3);
        assert_eq!((handles.free(), handles.next()), (&[1, 3][..], 3));
        assert_eq!(handles.live(), [(2, Held::Stderr)]);
        assert_eq!((handles.open(Held::Stdin), handles.open(Held::Stdin), handles.open(Held::Stdin)), (3, 1, 4));
        assert_eq!((handles.at(0), handles.at(2), handles.at(5)), (None, Some(Held::Stderr), None));
    }

    #[test]
    fn tables_that_cannot_be_are_found_out() {
        let mut handles = opened(&[Held::Stdout; 3]);
        handles.close(2);
        assert!(handles.is_sound() && Handles::default().is_sound());
        for free in [vec![], vec![2, 2], vec![1, 2], vec![3], vec![0], vec![4]] {
            assert!(!Handles { free: free.clone(), ..handles.clone() }.is_sound(), "{free:?}");
        }
        assert!(!Handles { slots: vec![Some(Held::Stdout); HANDLES_MAX + 1], free: vec![] }.is_sound());
    }

    #[test]
    fn no_more_are_open_than_allowed() {
        let mut ledger = Ledger::default();
        for number in 0..HANDLES_MAX as u32 {
            ledger.open(Held::Pollable, number).unwrap();
        }
        ledger.open(Held::Pollable, u32::MAX).unwrap_err();
        ledger.close(7);
        assert_eq!(ledger.open(Held::Pollable, u32::MAX).unwrap(), 8);
        assert!(ledger.handles().is_sound());
    }
}
