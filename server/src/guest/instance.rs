//! One running copy of a guest: calls into it, and its state out of it and back.

mod fuel;
mod handles;
mod portable;
mod view;

use self::fuel::Tank;
use super::backtrace::Backtrace;
use super::bindings::{Description, Token};
use super::host::{HostShortage, HostState};
use super::image::Image;
use super::instrument::{self, GLOBALS_OFFSET, Plan, PlannedMemory, Resource, SLOT_BYTES};
use super::memory::Memory;
use super::source::{SharedSource, Source};
use super::{Limits, tokens};
use crate::fault::Fault;
use crate::resp3::{self, Malformed};
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::{Func, InstancePre, TypedFunc};
use wasmtime::{Store, Trap};

const WASM_PAGE_BYTES: usize = 1 << 16;

/// A command to run: its position in the description and the arguments after the name.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub command: u32,
    pub args: &'a [Bytes],
}

/// Why a call into the guest left the instance unusable, and its effects to be undone.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The same on every replica.
    #[error("{0}")]
    Trap(String),
    #[error("it used more than {0} units of fuel")]
    Fuel(u64),
    #[error("it needs more than {0} bytes of memory")]
    Memory(u64),
    #[error("its reply of {bytes} bytes is over the limit of {limit}")]
    TooBig { bytes: u64, limit: u64 },
    /// The native stack gave out before the counted one, at a depth that may be this node's alone.
    #[error("the native stack was used up before the counted call stack")]
    NativeStack,
    /// This node's own trouble.
    #[error("the host failed")]
    Host(#[source] Fault),
}

impl Failure {
    /// Sorts out, of what failed while an entry was applied, what another replica need not see: the node must stop.
    pub fn while_applying(self) -> Result<Failure, Fault> {
        match self {
            Failure::Host(fault) => Err(fault),
            Failure::NativeStack => Err(Fault::because("applying an entry failed on this node", self)),
            failure => Ok(failure),
        }
    }
}

/// Takes a request with many commands, and returns what holds their replies.
type RunBatch = TypedFunc<(Vec<u8>,), (Vec<u8>,)>;

/// The guest's functions, by what they are for.
#[derive(Clone)]
struct Exports {
    describe: Func,
    handle: Func,
    batch: Option<Func>,
    /// The same; without it where its type is another one, which `mistyped` tells.
    run_batch: Option<RunBatch>,
    tick: Option<Func>,
    portable: Option<Portable>,
    /// Of each accessor.
    save: Vec<TypedFunc<(), ()>>,
    load: Vec<TypedFunc<(), ()>>,
    /// Of each of the guest's memories.
    grow: Vec<Func>,
    /// To give the guest a handle, and to drop one.
    handles: BTreeMap<Resource, (Func, Func)>,
}

#[derive(Clone, Copy)]
struct Portable {
    save: Func,
    load: Func,
}

/// One instance in a store of its own.
pub struct Instance {
    store: Store<HostState>,
    exports: Exports,
    limits: Limits,
    fuel: Tank,
    plan: Arc<Plan>,
    source: SharedSource,
    /// The guest's memories, and the keepers'.
    memories: Vec<Arc<Memory>>,
    keepers: Vec<Arc<Memory>>,
    /// WASI hands out handles, of which not all can be made again.
    uses_resources: bool,
    /// Where the guest was when the last call failed.
    backtrace: Backtrace,
    /// Those of the writer that this is a view of.
    shown_globals: Vec<u8>,
}

/// What an instance is made of.
pub(super) struct Parts<'a> {
    pub(super) engine: &'a super::engine::GuestEngine,
    pub(super) pre: &'a InstancePre<HostState>,
    pub(super) plan: &'a Arc<Plan>,
    pub(super) uses_resources: bool,
    pub(super) log_lines_per_second: u32,
}

impl Instance {
    /// Instantiates with the time and randomness of `source`. What is left of the fuel is for `describe`.
    pub(super) fn new(parts: &Parts<'_>, limits: Limits, source: Source) -> Result<Instance, Failure> {
        let shared = SharedSource::default();
        *shared.lock() = source;
        let state = HostState::new(shared.clone(), limits, parts.log_lines_per_second);
        let mut store = Store::new(&parts.engine.engine, state);
        store.limiter(|state| state);
        let mut fuel = Tank::new(parts.engine.code.takes_fuel);
        fuel.fill(&mut store, limits.start_fuel_max).map_err(Failure::Host)?;
        let (instance, made) = parts.engine.memories.made_by(|| parts.pre.instantiate(&mut store));
        let planned = || parts.plan.memories.iter().zip(&made);
        let of_kind = |keeper| planned().filter(move |(kind, _)| (**kind == PlannedMemory::Keeper) == keeper);
        let keepers: Vec<_> = of_kind(true).map(|(_, memory)| Arc::clone(memory)).collect();
        let instance = instance.map_err(|error| failure(error, &store, &keepers, limits.start_fuel_max))?;
        let missing = |what: &str| Failure::Host(Fault::new(format!("the rewritten component lost its {what}")));
        if made.len() != parts.plan.memories.len() {
            return Err(missing("memories"));
        }
        let memories: Vec<_> = of_kind(false).map(|(_, memory)| Arc::clone(memory)).collect();
        let mut function = |interface: &str, name: &str| {
            let (_, interface) = instance.get_export(&mut store, None, interface)?;
            let (_, function) = instance.get_export(&mut store, Some(&interface), name)?;
            instance.get_func(&mut store, function)
        };
        let mut handles = BTreeMap::new();
        for resource in &parts.plan.resources {
            let adopt = function(instrument::ACCESS, &instrument::adopt(*resource));
            let drop = function(instrument::ACCESS, &instrument::dispose(*resource));
            handles.insert(*resource, adopt.zip(drop).ok_or_else(|| missing("handles"))?);
        }
        let mut access = |count: usize, name: fn(usize) -> String| {
            let functions = (0..count).map(|number| function(instrument::ACCESS, &name(number)));
            functions.collect::<Option<Vec<_>>>().ok_or_else(|| missing("accessor"))
        };
        let [save, load] = [access(keepers.len(), instrument::save)?, access(keepers.len(), instrument::load)?];
        let grow = access(memories.len(), instrument::grow)?;
        let batch = function(super::BATCH, "handle-batch");
        let describe = function(super::HANDLER, "describe").ok_or_else(|| missing("handler"))?;
        let handle = function(super::HANDLER, "handle").ok_or_else(|| missing("handler"))?;
        let tick = function(super::TICKER, "tick");
        let portable = function(super::PORTABLE, "save").zip(function(super::PORTABLE, "load"));
        let typed = |functions: Vec<Func>| {
            let typed = functions.iter().map(|function| function.typed(&store));
            typed.collect::<Result<Vec<_>, _>>().map_err(|_| missing("accessor"))
        };
        let exports = Exports {
            handles,
            save: typed(save)?,
            load: typed(load)?,
            grow,
            describe,
            handle,
            batch,
            run_batch: batch.and_then(|batch| batch.typed(&store).ok()),
            tick,
            portable: portable.map(|(save, load)| Portable { save, load }),
        };
        Ok(Instance {
            store,
            exports,
            limits,
            fuel,
            plan: Arc::clone(parts.plan),
            source: shared,
            memories,
            keepers,
            uses_resources: parts.uses_resources,
            backtrace: Backtrace::default(),
            shown_globals: Vec::new(),
        })
    }

    /// The first export whose type is not the contract's.
    pub(super) fn mistyped(&self) -> Option<(&'static str, &'static str)> {
        let (store, exports) = (&self.store, &self.exports);
        if exports.describe.typed::<(), (Description,)>(store).is_err() {
            return Some((super::HANDLER, "describe"));
        }
        if exports.handle.typed::<(u32, &[&[u8]]), (Result<Vec<Token>, String>,)>(store).is_err() {
            return Some((super::HANDLER, "handle"));
        }
        if exports.batch.is_some_and(|batch| batch.typed::<(&[u8],), (Vec<u8>,)>(store).is_err()) {
            return Some((super::BATCH, "handle-batch"));
        }
        if exports.tick.is_some_and(|tick| tick.typed::<(), (bool,)>(store).is_err()) {
            return Some((super::TICKER, "tick"));
        }
        if let Some(Portable { save, load }) = &exports.portable {
            if save.typed::<(), (Result<(), String>,)>(store).is_err() {
                return Some((super::PORTABLE, "save"));
            }
            if load.typed::<(u32,), (Result<(), String>,)>(store).is_err() {
                return Some((super::PORTABLE, "load"));
            }
        }
        None
    }

    pub(super) fn describe(&mut self) -> Result<Description, Failure> {
        let describe = self.exports.describe;
        let typed = describe.typed::<(), (Description,)>(&self.store);
        let result = typed.and_then(|describe| describe.call(&mut self.store, ()));
        self.checked(result).map(|(description,)| description)
    }

    /// The clock and the generator as they stand.
    pub fn source(&self) -> Source {
        self.source.lock().clone()
    }

    pub fn with_source(&mut self, change: impl FnOnce(&mut Source)) {
        change(&mut self.source.lock());
    }

    /// Whether the guest's log lines are dropped, as while entries are replayed.
    pub fn set_silent(&mut self, silent: bool) {
        self.store.data().logs.set_silent(silent);
    }

    /// Keeps the guest's log lines back until it is known that what logs them will not be undone. Those of an instance
    /// that is given up are never logged.
    pub fn hold_lines(&mut self) {
        self.store.data().logs.hold();
    }

    /// Logs what was kept back.
    pub fn release_lines(&mut self) {
        self.store.data().logs.release();
    }

    /// Fuel of the calls that succeeded since this was last asked.
    pub fn take_fuel(&mut self) -> u64 {
        self.fuel.take_taken()
    }

    /// What it may use from now on. Memory that it has already it keeps.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.store.data_mut().limits = limits;
    }

    /// Where the guest was when the last call failed; empty if the host found the failure after the guest had returned.
    ///
    /// Apart from `Failure`, for that decides a reply, and this must not.
    pub fn backtrace(&self) -> &Backtrace {
        &self.backtrace
    }

    /// Bytes of all the guest's memories.
    pub fn memory_bytes(&self) -> u64 {
        self.memories.iter().map(|memory| memory.bytes() as u64).sum()
    }

    /// Runs the calls in order, appending one RESP3 value each to `out` and where it ends to `ends`.
    ///
    /// With the batch export the fuel of one command is the limit of the whole batch, so a batch that succeeds has
    /// no command over its limit; after a failure the caller undoes the batch and runs its commands one at a time.
    pub fn run(&mut self, calls: &[Call<'_>], out: &mut Vec<u8>, ends: &mut Vec<u32>) -> Result<(), Failure> {
        match self.exports.run_batch {
            Some(batch) if !self.uses_resources => self.run_batch(batch, calls, out, ends),
            _ => calls.iter().try_for_each(|call| {
                self.run_one(call, out)?;
                within(out.len(), self.limits.replies_bytes_max)?;
                ends.push(out.len() as u32);
                Ok(())
            }),
        }
    }

    fn run_batch(
        &mut self,
        batch: RunBatch,
        calls: &[Call<'_>],
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<(), Failure> {
        self.refuel(self.limits.fuel_max)?;
        let result = batch.call(&mut self.store, (flat_batch(calls),));
        let (replies,) = self.checked(result)?;
        within(out.len() + replies.len(), self.limits.replies_bytes_max)?;
        self.split_batch(&replies, calls.len(), out, ends)
    }

    /// Takes the guest's `count, count × { length, value }` apart and checks every value.
    fn split_batch(
        &self,
        replies: &[u8],
        expected: usize,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<(), Failure> {
        let mut rest = replies;
        let mut take = |length: usize| -> Option<&[u8]> {
            let (taken, left) = rest.split_at_checked(length)?;
            rest = left;
            Some(taken)
        };
        let malformed = |why: &str| Failure::Trap(format!("handle-batch returned {why}"));
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or_default() as usize;
        let count = take(4).map(number);
        if count != Some(expected) {
            return Err(malformed("a wrong number of replies"));
        }
        for _ in 0..expected {
            let length = take(4).map(number).ok_or_else(|| malformed("fewer replies than it says"))?;
            within(length, self.limits.reply_bytes_max)?;
            let value = take(length).ok_or_else(|| malformed("a reply that is cut short"))?;
            resp3::check(value).map_err(|error| malformed_reply(&error))?;
            out.extend_from_slice(value);
            ends.push(out.len() as u32);
        }
        if rest.is_empty() { Ok(()) } else { Err(malformed("bytes after its replies")) }
    }

    fn run_one(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.refuel(self.limits.fuel_max)?;
        let args: Vec<&[u8]> = call.args.iter().map(|arg| &arg[..]).collect();
        let handle = self.exports.handle;
        let typed = handle.typed::<(u32, &[&[u8]]), (Result<Vec<Token>, String>,)>(&self.store);
        let result = typed.and_then(|handle| handle.call(&mut self.store, (call.command, &args)));
        let (reply,) = self.checked(result)?;
        let start = out.len();
        tokens::put_reply(out, &reply).map_err(|error| malformed_reply(&error))?;
        within(out.len() - start, self.limits.reply_bytes_max)
    }

    /// Calls the guest's tick, if it has one; whether it wants to be called again while idle.
    pub fn tick(&mut self) -> Result<bool, Failure> {
        let Some(tick) = self.exports.tick else { return Ok(false) };
        self.refuel(self.limits.tick_fuel_max)?;
        let typed = tick.typed::<(), (bool,)>(&self.store);
        let result = typed.and_then(|tick| tick.call(&mut self.store, ()));
        self.checked(result).map(|(active,)| active)
    }

    /// The state, as it can be put into another instance of the same guest. The image before, if it is given up here and
    /// nobody else has a share in it, is made this one; otherwise all of the state is copied.
    pub fn capture(&mut self, before: Image) -> Result<Image, Fault> {
        let globals = self.save_globals()?;
        drop(before);
        let failed = |error| Fault::because("reading the guest's memory failed", error);
        let pending_bytes = self.memories.iter().map(|memory| memory.dirty_bytes()).sum();
        let memories = self.memories.iter().map(|memory| memory.mark()).collect::<Result<_, _>>().map_err(failed)?;
        let trackings = self.memories.iter().filter_map(|memory| memory.pending()).collect();
        let mut image = Image::copied(globals, memories, trackings, pending_bytes);
        image.handles = self.handles().clone();
        Ok(image)
    }

    /// Flips a bit of the last byte wherever `pattern` stands in a memory, and returns in how many places.
    #[cfg(debug_assertions)]
    pub fn corrupt(&mut self, pattern: &[u8]) -> usize {
        let flipped = self.memories.iter().map(|memory| memory.flip(pattern));
        flipped.sum()
    }

    /// Puts an image into this instance, which is fresh.
    pub fn restore(&mut self, image: &Image) -> Result<(), Fault> {
        self.restore_by(image, |index, own| own.fill(&image.memories[index]))
    }

    /// Puts the image that was captured last from `broken` into this instance, which is fresh. Only what that one has
    /// changed since is copied; it is of no use any more.
    pub fn replace(&mut self, broken: &mut Instance, image: &Image) -> Result<(), Fault> {
        self.store.data().logs.go_on_from(&broken.store.data().logs);
        self.restore_by(image, |index, own| own.inherit(&broken.memories[index], &image.memories[index]))
    }

    fn restore_by(
        &mut self,
        image: &Image,
        restore: impl Fn(usize, &Memory) -> Result<(), Errno>,
    ) -> Result<(), Fault> {
        let failed = |error| Fault::because("writing the guest's memory failed", error);
        image.settle()?;
        if image.globals.len() != self.globals_bytes() || image.memories.len() != self.memories.len() {
            return Err(Fault::new("the state image does not fit the module"));
        }
        for (index, pages) in image.memories.iter().enumerate() {
            self.grow_to(index, pages.bytes())?;
            restore(index, &self.memories[index]).map_err(failed)?;
        }
        self.load_globals(&image.globals)?;
        match self.set_handles(&image.handles)? {
            true => Ok(()),
            false => Err(Fault::new("the state image has fewer WASI handles than a fresh instance")),
        }
    }

    /// What the last call left of its fuel.
    #[cfg(test)]
    pub(super) fn fuel_left(&self) -> u64 {
        self.store.get_fuel().unwrap()
    }

    /// From now on runs every command by itself, to compare the two ways.
    #[cfg(test)]
    pub(super) fn forget_batch(&mut self) {
        self.exports.run_batch = None;
    }

    fn globals_bytes(&self) -> usize {
        self.plan.globals.iter().sum::<usize>() * SLOT_BYTES
    }

    /// The captured globals, accessor by accessor.
    fn save_globals(&mut self) -> Result<Vec<u8>, Fault> {
        let mut globals = Vec::with_capacity(self.globals_bytes());
        for accessor in 0..self.keepers.len() {
            self.host_call(self.exports.save[accessor])?;
            let bytes = self.plan.globals[accessor] * SLOT_BYTES;
            let start = globals.len();
            globals.resize(start + bytes, 0);
            let read = self.keepers[accessor].read(GLOBALS_OFFSET, &mut globals[start..]);
            read.map_err(|error| Fault::because("reading the guest's globals failed", error))?;
        }
        Ok(globals)
    }

    /// Sets the globals to what `save_globals` gave.
    fn load_globals(&mut self, globals: &[u8]) -> Result<(), Fault> {
        let mut rest = globals;
        for accessor in 0..self.keepers.len() {
            let (own, others) = rest.split_at(self.plan.globals[accessor] * SLOT_BYTES);
            let written = self.keepers[accessor].write(GLOBALS_OFFSET, own);
            written.map_err(|error| Fault::because("writing the guest's globals failed", error))?;
            self.host_call(self.exports.load[accessor])?;
            rest = others;
        }
        Ok(())
    }

    fn grow_to(&mut self, index: usize, bytes: u64) -> Result<(), Fault> {
        let missing = (bytes as usize).saturating_sub(self.memories[index].bytes()) / WASM_PAGE_BYTES;
        if missing > 0 {
            self.refuel_for_host()?;
            let grow = self.exports.grow[index];
            self.store.data_mut().host_grows = true;
            let wide = self.plan.guest_memories().nth(index).unwrap_or_default();
            let grown = if wide {
                grow.typed::<(i64,), (i64,)>(&self.store)
                    .and_then(|grow| grow.call(&mut self.store, (missing as i64,)))
                    .map(|(old,)| old >= 0)
            } else {
                grow.typed::<(i32,), (i32,)>(&self.store)
                    .and_then(|grow| grow.call(&mut self.store, (missing as i32,)))
                    .map(|(old,)| old >= 0)
            };
            self.store.data_mut().host_grows = false;
            if !grown.map_err(|error| Fault::because("growing the guest's memory failed", error))? {
                return Err(Fault::new("the state image has a memory that is larger than the module allows"));
            }
        }
        if self.memories[index].bytes() as u64 == bytes {
            Ok(())
        } else {
            Err(Fault::new("the state image has a memory of a size that the module cannot have"))
        }
    }

    fn host_call(&mut self, function: TypedFunc<(), ()>) -> Result<(), Fault> {
        self.refuel_for_host()?;
        let called = function.call(&mut self.store, ());
        called.map_err(|error| Fault::because("reaching the guest's globals failed", error))
    }

    fn refuel(&mut self, fuel: u64) -> Result<(), Failure> {
        self.store.data_mut().memory_refused = false;
        self.fuel.fill(&mut self.store, fuel).map_err(Failure::Host)
    }

    fn refuel_for_host(&mut self) -> Result<(), Fault> {
        self.fuel.fill_for_host(&mut self.store)
    }

    /// Sorts an error of a call, and refuses handles left open that no image could hold.
    fn checked<T>(&mut self, result: wasmtime::Result<T>) -> Result<T, Failure> {
        let value = result.map_err(|error| {
            self.backtrace = Backtrace::of(&error);
            failure(error, &self.store, &self.keepers, self.fuel.given())
        })?;
        if self.uses_resources
            && let Some(held) = self.unkeepable()
        {
            let name = held.name();
            return Err(Failure::Trap(format!(
                "it left a WASI handle open ({name}), which a state image of this module cannot hold; build the guest for \
                 wasm32-unknown-unknown, or as a core module, and use the host's log"
            )));
        }
        self.fuel.settle(&self.store).map_err(Failure::Host)?;
        Ok(value)
    }
}

fn failure(error: wasmtime::Error, store: &Store<HostState>, keepers: &[Arc<Memory>], fuel_given: u64) -> Failure {
    if error.downcast_ref::<HostShortage>().is_some() {
        return Failure::Host(Fault::because("running the guest failed", error));
    }
    let is_exhausted = |keeper: &Arc<Memory>| {
        let mut head = [0; GLOBALS_OFFSET];
        keeper.read(0, &mut head).is_ok() && instrument::is_exhausted(&head)
    };
    if keepers.iter().any(is_exhausted) {
        return Failure::Trap("call stack exhausted: its calls are nested too deeply".to_owned());
    }
    if store.data().memory_refused {
        return Failure::Memory(store.data().limits.memory_bytes_max);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Failure::Fuel(fuel_given),
        Some(Trap::StackOverflow) => Failure::NativeStack,
        Some(trap) => {
            tracing::debug!(error = ?error, "the guest trapped");
            Failure::Trap(trap.to_string())
        }
        None => Failure::Trap(error.root_cause().to_string()),
    }
}

fn within(bytes: usize, limit: u64) -> Result<(), Failure> {
    let bytes = bytes as u64;
    if bytes <= limit { Ok(()) } else { Err(Failure::TooBig { bytes, limit }) }
}

fn malformed_reply(error: &Malformed) -> Failure {
    Failure::Trap(error.to_string())
}

/// The request of `handle-batch`.
fn flat_batch(calls: &[Call<'_>]) -> Vec<u8> {
    let bytes = calls.iter().flat_map(|call| call.args).map(|arg| arg.len() + 4).sum::<usize>();
    let mut request = Vec::with_capacity(4 + calls.len() * 8 + bytes);
    let number = |request: &mut Vec<u8>, value: usize| request.extend_from_slice(&(value as u32).to_le_bytes());
    number(&mut request, calls.len());
    for call in calls {
        number(&mut request, call.command as usize);
        number(&mut request, call.args.len());
        for arg in call.args {
            number(&mut request, arg.len());
            request.extend_from_slice(arg);
        }
    }
    request
}
