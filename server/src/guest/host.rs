//! The imports `uhaha:machine/host`, `portable-io` and `stdio`, and the limits of an instance.

use super::bindings::Level;
use super::handles::Ledger;
use super::logs::Logs;
use super::portable::Stream;
use super::source::SharedSource;
use super::{Limits, wasi};
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{ResourceLimiter, StoreContextMut};
use wasmtime_wasi::WasiCtx;

/// The most bytes that `random-bytes` gives at once.
const RANDOM_BYTES_MAX: usize = 1 << 20;

pub(super) const HOST: &str = "uhaha:machine/host@0.1.0";
pub(super) const PORTABLE_IO: &str = "uhaha:machine/portable-io@0.1.0";
/// Has types only; components name it as an import all the same.
pub(super) const TYPES: &str = "uhaha:machine/types@0.1.0";
pub(super) const STDIO: &str = "uhaha:machine/stdio@0.1.0";

/// What belongs to one instance on the host's side.
pub(super) struct HostState {
    pub(super) source: SharedSource,
    pub(super) logs: Logs,
    pub(super) wasi: WasiCtx,
    pub(super) resources: ResourceTable,
    /// Which of the guest's handles stand for which of them.
    pub(super) ledger: Ledger,
    pub(super) limits: Limits,
    /// What `portable-io` reads or writes.
    pub(super) stream: Stream,
    /// Set while the host makes room for a state that is there: the limit may have been lowered since.
    pub(super) host_grows: bool,
    /// Set when the guest was refused memory, to tell a trap that follows from a bug.
    pub(super) memory_refused: bool,
}

impl HostState {
    pub(super) fn new(source: SharedSource, limits: Limits, log_lines_per_second: u32) -> HostState {
        let logs = Logs::new(log_lines_per_second);
        HostState {
            wasi: wasi::context(&source),
            source,
            logs,
            resources: ResourceTable::new(),
            ledger: Ledger::default(),
            limits,
            stream: Stream::Closed,
            host_grows: false,
            memory_refused: false,
        }
    }
}

impl ResourceLimiter for HostState {
    // Decided by sizes alone, so that every replica decides alike.
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = if self.host_grows { u64::MAX } else { self.limits.memory_bytes_max };
        let fits = desired <= maximum.unwrap_or(usize::MAX).min(MEMORY32_BYTES_MAX) && desired as u64 <= limit;
        self.memory_refused |= !fits;
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Whatever depends on sizes was refused above, so the host is short of memory, which another replica need not
        // be: the guest must not see it.
        Err(error.context(HostShortage))
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.limits.table_elements_max)
    }

    fn instances(&self) -> usize {
        self.instances_max()
    }

    fn tables(&self) -> usize {
        self.instances_max()
    }

    fn memories(&self) -> usize {
        self.instances_max()
    }
}

impl HostState {
    fn instances_max(&self) -> usize {
        usize::try_from(self.limits.instances_max).unwrap_or(usize::MAX)
    }
}

/// What 32 bits can address; the largest memory for 64-bit guests too.
const MEMORY32_BYTES_MAX: usize = 4 << 30;

/// Marks an error that is this node's own and not the guest's.
#[derive(Debug, thiserror::Error)]
#[error("the host cannot give the guest the memory that its limit allows")]
pub(super) struct HostShortage;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?;
    let mut host = linker.instance(HOST)?;
    host.func_wrap("now", |store: StoreContextMut<'_, HostState>, (): ()| {
        Ok((store.data().source.lock().next_now(),))
    })?;
    host.func_wrap("random-u64", |store: StoreContextMut<'_, HostState>, (): ()| {
        Ok((store.data().source.lock().next_u64(),))
    })?;
    host.func_wrap("random-bytes", |store: StoreContextMut<'_, HostState>, (length,): (u32,)| {
        let length = length as usize;
        if length > RANDOM_BYTES_MAX {
            return Err(wasmtime::Error::msg(format!(
                "random-bytes: {length} is over the limit of {RANDOM_BYTES_MAX}"
            )));
        }
        let mut bytes = vec![0; length];
        store.data().source.lock().fill(&mut bytes);
        Ok((bytes,))
    })?;
    host.func_wrap("log", |store: StoreContextMut<'_, HostState>, (level, message): (Level, String)| {
        store.data().logs.line(level, &message);
        Ok(())
    })?;

    let mut stdio = linker.instance(STDIO)?;
    stdio.func_wrap("write", |store: StoreContextMut<'_, HostState>, (stream, bytes): (u32, Vec<u8>)| {
        store.data().logs.print(stream, &bytes);
        Ok(())
    })?;

    let mut portable = linker.instance(PORTABLE_IO)?;
    portable.func_wrap("write", |mut store: StoreContextMut<'_, HostState>, (chunk,): (Vec<u8>,)| {
        store.data_mut().stream.write(&chunk)
    })?;
    portable.func_wrap("read", |mut store: StoreContextMut<'_, HostState>, (max,): (u32,)| {
        Ok((store.data_mut().stream.read(max)?,))
    })?;
    wasi::add_to_linker(linker)
}
