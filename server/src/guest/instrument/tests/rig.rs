//! Runs components without a host, rewritten or as they are.

use super::super::{Plan, instrument, is_exhausted};
use crate::guest::THREAD_STACK_BYTES;
use crate::guest::engine::{Code, GuestEngine};
use crate::guest::memory::Memory;
use std::sync::Arc;
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Config, Store, Trap};

pub(super) const FUEL: u64 = 1 << 40;

/// A component in a store of its own.
pub(super) struct Rig {
    pub(super) store: Store<()>,
    pub(super) instance: Instance,
    pub(super) made: Vec<Arc<Memory>>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Value(i32),
    /// The counted call stack was used up.
    Exhausted,
    /// The native one was.
    NativeStack,
    Trap(Trap),
}

/// A compiled component.
pub(super) struct Program {
    engine: GuestEngine,
    component: Component,
}

impl Program {
    pub(super) fn new(component: &[u8]) -> Program {
        Program::with(|_| {}, component)
    }

    pub(super) fn with(adjust: impl FnOnce(&mut Config), component: &[u8]) -> Program {
        let engine = GuestEngine::with(Code::BEST, adjust).unwrap();
        let component = Component::new(&engine.engine, component).unwrap();
        Program { engine, component }
    }

    pub(super) fn start(&self) -> Rig {
        let mut store = Store::new(&self.engine.engine, ());
        store.set_fuel(FUEL).unwrap();
        let linker = Linker::new(&self.engine.engine);
        let (instance, made) = self.engine.memories.made_by(|| linker.instantiate(&mut store, &self.component));
        Rig { store, instance: instance.unwrap(), made }
    }
}

impl Rig {
    /// The component as it is, without rewriting.
    pub(super) fn original(wat: &str) -> Rig {
        Program::new(&wat::parse_str(wat).unwrap()).start()
    }

    pub(super) fn rewritten(wat: &str) -> Rig {
        Program::new(&rewritten(wat).0).start()
    }

    /// Calls the export `name: func(n: s32) -> s32`.
    pub(super) fn call(&mut self, name: &str, n: i32) -> End {
        let function = self.instance.get_typed_func::<(i32,), (i32,)>(&mut self.store, name).unwrap();
        let error = match function.call(&mut self.store, (n,)) {
            Ok((value,)) => return End::Value(value),
            Err(error) => error,
        };
        let exhausted = self.made.iter().any(|memory| is_exhausted(&memory.content()));
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => End::NativeStack,
            Some(Trap::UnreachableCodeReached) if exhausted => End::Exhausted,
            Some(trap) => End::Trap(*trap),
            None => panic!("{error:?}"),
        }
    }

    /// Fuel that was used since the last look.
    pub(super) fn fuel(&mut self) -> u64 {
        let used = FUEL - self.store.get_fuel().unwrap();
        self.store.set_fuel(FUEL).unwrap();
        used
    }
}

pub(super) fn rewritten(wat: &str) -> (Vec<u8>, Plan) {
    instrument(&wat::parse_str(wat).unwrap(), true).unwrap()
}

/// Runs a test that may use all of a guest's stack.
pub(super) fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

/// A component of one core module, whose function `f` it exports.
pub(super) fn component(body: &str) -> String {
    format!(
        "(component (core module $m {body}) (core instance $i (instantiate $m))
         (func (export \"f\") (param \"n\" s32) (result s32) (canon lift (core func $i \"f\"))))"
    )
}
