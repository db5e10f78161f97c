//! A guest that fails in the ways that Rust has for it, in the middle of a change of its state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hint::black_box;

use uhaha_guest::prelude::*;

thread_local! {
    /// State that the machine's type knows nothing of: the count once more.
    static COUNT: Cell<i64> = const { Cell::new(0) };
}

#[derive(Default, Serialize, Deserialize)]
struct Rash {
    count: i64,
    /// Changed and left half changed by each command that fails.
    names: BTreeMap<String, Vec<i64>>,
    /// Whether the next tick panics.
    armed: bool,
}

#[uhaha_guest::machine]
impl Rash {
    /// Adds one and returns the sum.
    fn incr(&mut self) -> i64 {
        self.add();
        self.count
    }

    /// Returns the sum, from the state and from beside it.
    fn get(&self) -> Vec<i64> {
        vec![self.count, COUNT.get()]
    }

    /// Returns how many names there are, and of how many numbers.
    fn names(&self) -> Vec<usize> {
        vec![self.names.len(), self.names.values().map(Vec::len).sum()]
    }

    /// Panics with a message.
    fn panics(&mut self) {
        self.begin();
        panic!("rash");
    }

    /// Looks behind the end of a list.
    fn index(&mut self, at: usize) -> i64 {
        self.begin();
        self.names["half"][at]
    }

    /// Takes nothing for something.
    fn unwraps(&mut self, name: &str) -> i64 {
        self.begin();
        self.names.remove(name).expect("a name that is there")[0]
    }

    /// Borrows what is borrowed.
    fn borrows(&mut self) {
        let cell = RefCell::new(self);
        let mut first = cell.borrow_mut();
        first.begin();
        cell.borrow_mut().begin();
    }

    /// Calls itself until the stack ends.
    fn recurses(&mut self) -> i64 {
        self.begin();
        below(self, 0)
    }

    /// Never ends.
    fn spins(&mut self) {
        self.begin();
        loop {
            self.count = black_box(self.count) + 1;
        }
    }

    /// Keeps all memory that there is.
    fn hoards(&mut self) {
        self.begin();
        loop {
            std::mem::forget(black_box(Vec::<u8>::with_capacity(1 << 20)));
        }
    }

    /// Returns more than anybody may.
    fn huge(&mut self) -> Bytes {
        self.begin();
        vec![b'x'; 128 << 10].into()
    }

    /// Has the next tick panic.
    fn arm(&mut self) {
        self.add();
        self.armed = true;
    }

    /// Has ticks do nothing.
    fn disarm(&mut self) {
        self.add();
        self.armed = false;
    }

    #[tick]
    fn tick(&mut self) -> bool {
        if self.armed {
            self.begin();
            panic!("rash in a tick");
        }
        false
    }
}

impl Rash {
    fn add(&mut self) {
        self.count += 1;
        COUNT.set(COUNT.get() + 1);
    }

    /// What a command that fails does before it fails.
    fn begin(&mut self) {
        self.add();
        self.names.insert("half".to_owned(), vec![self.count; 100]);
    }
}

fn below(rash: &mut Rash, depth: i64) -> i64 {
    rash.count += 1;
    // The compiler must not see that it has no end.
    if black_box(depth) < 0 {
        return 0;
    }
    black_box(below(rash, depth + 1)) + depth
}
