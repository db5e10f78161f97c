//! WASI for guests whose toolchain insists on it: deterministic or refused.
//!
//! Clocks and random numbers are those of the log; there are no files, no network, no environment and no input; what
//! is printed goes to the log. A sleep ends at once, because machine time does not pass inside a command.

use super::host::HostState;
use super::logs::Logs;
use super::source::SharedSource;
use std::convert::Infallible;
use std::time::Duration;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::poll::{DynPollable, subscribe};

pub(super) fn context(source: &SharedSource, logs: &Logs) -> WasiCtx {
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
        .stdout(Stream { logs: logs.clone(), stream: 1 })
        .stderr(Stream { logs: logs.clone(), stream: 2 })
        .build()
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // wasmtime-wasi's sleeps take real time; ours are over before they begin.
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    let now = |store: &StoreContextMut<'_, HostState>| store.data().source.lock().next_now();
    clock.func_wrap("now", move |store: StoreContextMut<'_, HostState>, (): ()| Ok((now(&store),)))?;
    clock.func_wrap("resolution", |_: StoreContextMut<'_, HostState>, (): ()| Ok((1_u64,)))?;
    for sleep in ["subscribe-instant", "subscribe-duration"] {
        clock.func_wrap(sleep, |mut store: StoreContextMut<'_, HostState>, (_,): (u64,)| {
            Ok((ready(&mut store.data_mut().resources)?,))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn ready(resources: &mut ResourceTable) -> wasmtime::Result<Resource<DynPollable>> {
    let over = resources.push(Over)?;
    subscribe(resources, over)
}

/// A sleep that has ended.
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

#[derive(Clone)]
struct Stream {
    logs: Logs,
    stream: u32,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only the asynchronous WASI 0.3 asks for this, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
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
