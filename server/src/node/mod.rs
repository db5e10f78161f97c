//! The composition root: builds every layer in order, serves, and stops in the opposite order.
//!
//! What can be refused cheaply is refused first: addresses are bound and the guest is loaded before any data is
//! touched. No layer below sees `Config`; each gets its own options from here.

mod data;
mod options;

use crate::config::Config;
use crate::dispatch::{self, Dispatcher};
use crate::fault::Alarm;
use crate::guest::{self, Guest};
use crate::machine::{self, Machine};
use crate::net::{self, Connection, Listener};
use crate::raft::{self, Cluster};
use crate::redis::{self, Session};
use crate::storage::DataDir;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the log may take to close once all sessions have ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that is ready to serve.
pub struct Node {
    config: Config,
    listener: Listener,
    cluster: Cluster,
    dispatcher: Arc<Dispatcher>,
    alarm: Alarm,
    shutdown: CancellationToken,
    /// Held for its lock.
    _data: DataDir,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen")]
    Listen(#[from] net::Error),
    #[error("cannot read the module {name}")]
    Module { name: String, source: std::io::Error },
    #[error("the module {name} is refused")]
    Guest { name: String, source: guest::Error },
    #[error("cannot use the data directory")]
    Data(#[from] data::Error),
    #[error("the machine does not start")]
    Machine(#[from] machine::StartError),
    #[error("raft does not start")]
    Raft(#[from] raft::Error),
    #[error("the module's commands cannot be served")]
    Commands(#[from] dispatch::Error),
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
}

impl Node {
    /// Returns once everything committed has been applied and commands can be answered.
    pub async fn start(config: Config) -> Result<Node, StartError> {
        let started = Instant::now();
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let listener = Listener::bind(options::listener(&config)).await?;
        let address = config.advertised(listener.addresses());
        let guest = load(&config)?;

        let alarm = Alarm::default();
        let data = data::open(&config, &guest, &address, &alarm).await?;
        let machine = Machine::start(machine::Options {
            guest,
            snapshots: data.snapshots.clone(),
            purged: data.log.status().purged,
            // A log of one node has nothing that is not committed, or will be at once.
            committed: data.log.status().last,
            alarm: alarm.clone(),
        })?;
        let cluster =
            Cluster::start(options::raft(&config, &data.identity, &address), data.log, machine.clone()).await?;

        let shutdown = CancellationToken::new();
        let dispatcher = Dispatcher::new(
            options::dispatch(&config),
            Arc::new(cluster.clone()),
            Arc::new(machine),
            Arc::new(data.snapshots),
            shutdown.clone(),
        )?;
        tracing::info!(node = config.node_name, address, elapsed = ?started.elapsed(), "ready");
        let dispatcher = Arc::new(dispatcher);
        Ok(Node { config, listener, cluster, dispatcher, alarm, shutdown, _data: data.dir })
    }

    /// Serves until a signal, `SHUTDOWN` or a fault; an error is the fault.
    pub async fn run(self) -> Result<(), String> {
        let signals = stop_on_signal(self.shutdown.clone()).map_err(|error| error.to_string())?;
        if self.config.init_run_quit {
            self.shutdown.cancel();
        }
        let sessions = TaskTracker::new();
        let stop = self.shutdown.clone();
        for address in self.listener.addresses() {
            tracing::info!(%address, "listening");
        }
        let accepting =
            tokio::spawn(self.listener.run(stop.clone(), sessions.clone(), serve(&self.config, self.dispatcher)));
        let fault = tokio::select! {
            () = stop.cancelled() => None,
            fault = self.alarm.raised() => Some(fault),
        };
        stop.cancel();
        // The accept loops end with the token; an error would be a panic, which the hook has logged.
        let _ = accepting.await;
        sessions.close();
        if fault.is_none() && tokio::time::timeout(self.config.drain_timeout, sessions.wait()).await.is_err() {
            tracing::warn!(sessions = sessions.len(), "commands still running after --drain-timeout are abandoned");
        }
        signals.abort();
        match fault {
            Some(fault) => Err(fault),
            None => {
                if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.cluster.shutdown()).await.is_err() {
                    // Everything acknowledged is on disk; only the apply thread is late.
                    tracing::warn!("a command is still running; it is applied again at the next start");
                }
                tracing::info!("stopped");
                Ok(())
            }
        }
    }
}

/// The guest, compiled or taken from the cache of compiled code beside the data.
fn load(config: &Config) -> Result<Arc<Guest>, StartError> {
    let name = config.module.to_string();
    let bytes = config.module.read().map_err(|source| StartError::Module { name: name.clone(), source })?;
    let guest = Guest::load(&bytes, options::guest(config), &config.dir.join("cache"))
        .map_err(|source| StartError::Guest { name, source })?;
    let description = guest.description();
    tracing::info!(
        module = description.name,
        version = description.version,
        commands = description.commands.len(),
        hash = guest.hash(),
        "loaded the module"
    );
    Ok(Arc::new(guest))
}

fn serve(
    config: &Config,
    dispatcher: Arc<Dispatcher>,
) -> impl Fn(Connection) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + use<> {
    let options: redis::Options = options::redis(config);
    move |connection| {
        let (dispatcher, options) = (Arc::clone(&dispatcher), options.clone());
        Box::pin(async move {
            let Connection { stream, peer, local } = connection;
            let end = Session::serve(stream, peer, local, dispatcher, options).await;
            tracing::debug!(client = %peer, ?end, "session ended");
        })
    }
}

/// SIGTERM and SIGINT stop the node as `SHUTDOWN` does.
fn stop_on_signal(shutdown: CancellationToken) -> Result<tokio::task::JoinHandle<()>, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    Ok(tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        shutdown.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("a second signal: stopping at once");
        std::process::exit(1);
    }))
}
