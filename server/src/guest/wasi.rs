//! WASI for guests whose toolchain insists on it: deterministic or refused.
//!
//! Clocks and random numbers are those of the log; there are no files, no network, no environment and no input; what
//! is printed goes to the log. A sleep ends at once, because machine time does not pass inside a command.

use super::handles::Held;
use super::host::HostState;
use super::logs::Logs;
use super::source::SharedSource;
use std::convert::Infallible;
use std::time::Duration;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::bindings::sockets::instance_network::Host as _;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Network, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll::HostPollable;
use wasmtime_wasi_io::poll::subscribe;

pub(super) fn context(source: &SharedSource) -> WasiCtx {
    WasiCtx::builder()
        .wall_clock(Clock(source.clone()))
        .monotonic_clock(Clock(source.clone()))
        .secure_random(Random(source.clone()))
        .insecure_random(Random(source.clone()))
        .insecure_random_seed(0)
        .max_random_size(1 << 20)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Where the linker has these interfaces; guests may name other versions that are compatible.
const STREAMS: &str = "wasi:io/streams@0.2.12";
const POLL: &str = "wasi:io/poll@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    // wasmtime-wasi's sleeps take real time; ours are over before they begin.
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    let now = |store: &StoreContextMut<'_, HostState>| store.data().source.lock().next_now();
    clock.func_wrap("now", move |store: StoreContextMut<'_, HostState>, (): ()| Ok((now(&store),)))?;
    clock.func_wrap("resolution", |_: StoreContextMut<'_, HostState>, (): ()| Ok((1_u64,)))?;
    for sleep in ["subscribe-instant", "subscribe-duration"] {
        clock.func_wrap(sleep, |mut store: StoreContextMut<'_, HostState>, (_,): (u64,)| {
            Ok((store.data_mut().open_pollable()?,))
        })?;
    }
    open_through_the_ledger(linker)?;
    drop_through_the_ledger(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Whatever gives the guest a handle notes it. These are all: there are no files and no sockets, nothing is a terminal,
/// and no stream fails with an error.
fn open_through_the_ledger(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    type Context<'a> = StoreContextMut<'a, HostState>;
    linker
        .instance("wasi:cli/stdin@0.2.12")?
        .func_wrap("get-stdin", |mut store: Context<'_>, (): ()| Ok((store.data_mut().open_input()?,)))?;
    linker.instance("wasi:cli/stdout@0.2.12")?.func_wrap("get-stdout", |mut store: Context<'_>, (): ()| {
        Ok((store.data_mut().open_output(Held::Stdout)?,))
    })?;
    linker.instance("wasi:cli/stderr@0.2.12")?.func_wrap("get-stderr", |mut store: Context<'_>, (): ()| {
        Ok((store.data_mut().open_output(Held::Stderr)?,))
    })?;
    // Unlike wasmtime-wasi's, they have no tie to their stream, which an image could not hold.
    let mut streams = linker.instance(STREAMS)?;
    streams
        .func_wrap("[method]input-stream.subscribe", |mut store: Context<'_>, (_,): (Resource<DynInputStream>,)| {
            Ok((store.data_mut().open_pollable()?,))
        })?;
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |mut store: Context<'_>, (_,): (Resource<DynOutputStream>,)| Ok((store.data_mut().open_pollable()?,)),
    )?;
    // All are ready. wasmtime-wasi tells that in the order of numbers that another node need not have.
    linker.instance(POLL)?.func_wrap("poll", |_: Context<'_>, (list,): (Vec<Resource<DynPollable>>,)| {
        match list.is_empty() {
            true => Err(wasmtime::Error::msg("empty poll list")),
            false => Ok(((0..list.len() as u32).collect::<Vec<_>>(),)),
        }
    })?;
    linker.instance("wasi:sockets/instance-network@0.2.12")?.func_wrap(
        "instance-network",
        |mut store: Context<'_>, (): ()| {
            let network = store.data_mut().sockets().instance_network()?;
            store.data_mut().ledger.open(Held::Network, network.rep())?;
            Ok((network,))
        },
    )
}

/// Whatever drops one notes that too.
fn drop_through_the_ledger(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(STREAMS)?;
    streams.resource("input-stream", ResourceType::host::<DynInputStream>(), |mut store, number| {
        store.data_mut().close::<DynInputStream>(number).map(drop)
    })?;
    streams.resource("output-stream", ResourceType::host::<DynOutputStream>(), |mut store, number| {
        store.data_mut().close::<DynOutputStream>(number).map(drop)
    })?;
    linker.instance(POLL)?.resource("pollable", ResourceType::host::<DynPollable>(), |mut store, number| {
        store.data_mut().ledger.close(number);
        HostPollable::drop(&mut store.data_mut().resources, Resource::new_own(number))
    })?;
    let network = ResourceType::host::<Network>();
    linker
        .instance("wasi:sockets/network@0.2.12")?
        .resource("network", network, |mut store, number| store.data_mut().close::<Network>(number).map(drop))
}

impl HostState {
    pub(super) fn open_input(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        let handle = self.resources.push(stream)?;
        self.ledger.open(Held::Stdin, handle.rep())?;
        Ok(handle)
    }

    /// The standard error, or else the standard output.
    pub(super) fn open_output(&mut self, held: Held) -> wasmtime::Result<Resource<DynOutputStream>> {
        let number = if held == Held::Stderr { 2 } else { 1 };
        let stream: DynOutputStream = Box::new(Stream { logs: self.logs.clone(), stream: number });
        let handle = self.resources.push(stream)?;
        self.ledger.open(held, handle.rep())?;
        Ok(handle)
    }

    pub(super) fn open_pollable(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let over = self.resources.push(Over)?;
        let handle = subscribe(&mut self.resources, over)?;
        self.ledger.open(Held::Pollable, handle.rep())?;
        Ok(handle)
    }

    fn close<T: Send + 'static>(&mut self, number: u32) -> wasmtime::Result<T> {
        self.ledger.close(number);
        Ok(self.resources.delete(Resource::<T>::new_own(number))?)
    }
}

/// What is always ready: a sleep that has ended, a stream that never waits.
struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

struct Clock(SharedSource);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.lock().next_now())
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.lock().next_now()
    }
}

struct Random(SharedSource);

impl rand_pcg::rand_core::TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.lock().next_u64() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.lock().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.lock().fill(bytes);
        Ok(())
    }
}

/// The standard output or error.
struct Stream {
    logs: Logs,
    stream: u32,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.logs.print(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}
