//! The composition root: builds every layer in order, serves, and stops in the opposite order.
//!
//! What can be refused cheaply is refused first: addresses are bound and the guest is loaded before any data is
//! touched. No layer below sees `Config`; each gets its own options from here.

mod advertised;
mod credentials;
mod data;
mod entrance;
mod import;
mod options;
mod reception;
mod runtime;

pub use self::runtime::runtime;

use self::credentials::Credentials;
use self::data::Data;
use self::entrance::Entrance;
use self::reception::{Peers, Reception};
use crate::config::Config;
use crate::dispatch::{self, Dispatcher};
use crate::fault::Alarm;
use crate::guest::{self, Guest};
use crate::machine::{self, Machine};
use crate::net::{self, Address, Listener};
use crate::raft::{self, Cluster};
use crate::storage::DataDir;
use crate::storage::schema::Standing;
use crate::time::Clock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the log may take to close once all sessions have ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that is ready to serve.
pub struct Node {
    config: Config,
    cluster: Cluster,
    alarm: Alarm,
    /// Cancelled by `SHUTDOWN` and by signals: the node hands leadership over, then it stops.
    asked: CancellationToken,
    /// Cancelled when sessions and connections must end.
    stop: CancellationToken,
    /// Waits for signals.
    signals: JoinHandle<()>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
    /// Held for its lock.
    _data: DataDir,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the credentials cannot be used")]
    Credentials(#[from] credentials::Error),
    #[error("cannot listen")]
    Listen(#[from] net::Error),
    #[error(transparent)]
    Advertised(#[from] advertised::Error),
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
    #[error("{0}")]
    Fault(String),
    #[error("the module's commands cannot be served")]
    Commands(#[from] dispatch::Error),
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
}

impl Node {
    /// Returns once commands can be answered: everything committed has been applied, and a node that joins a cluster is
    /// a member of it.
    pub async fn start(mut config: Config) -> Result<Node, StartError> {
        let started = Instant::now();
        config.clients = net::descriptors::provide(config.clients);
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let credentials = Credentials::load(&config)?;
        let listener = Listener::bind(options::listener(&config, &credentials)).await?;
        let address = advertised::advertised(&config, listener.addresses()).await?;
        let guest = load(&config)?;
        let alarm = Alarm::default();
        let data = Data::open(&config, &guest, &alarm)?;

        let (asked, stop, connections) = <(CancellationToken, CancellationToken, TaskTracker)>::default();
        let reception = Reception::new(options::redis(&config), stop.clone());
        for address in listener.addresses() {
            tracing::info!(%address, "listening");
        }
        let accepting = {
            let reception = reception.clone();
            let serve = move |connection| reception.clone().serve(connection);
            tokio::spawn(listener.run(stop.clone(), connections.clone(), serve))
        };

        let entrance = Entrance {
            config: &config,
            credentials: &credentials,
            guest: &guest,
            address: &address,
            data: &data,
            reception: &reception,
        };
        let (identity, founders) = entrance.enter().await?;
        let ward = data.dir.ward();
        let quarantined = ward.quarantined().map_err(data::Error::from)?;
        if let Some(difference) = quarantined {
            let index = difference.index();
            tracing::error!(
                index,
                "this node's state is known to be wrong: it is in quarantine until it has another's"
            );
        }
        let machine = Machine::start(machine::Options {
            node_id: identity.node_id,
            guest,
            snapshots: data.snapshots.clone(),
            purged: data.log.status().purged,
            committed: data.log.committed(),
            quarantined,
            alarm: alarm.clone(),
        })?;
        let local = options::local(&config, &credentials, Some(identity.cluster_id), identity.node_id);
        let raft = options::raft(&config, &identity, &address, founders);
        let clock = Clock::new(options::time(&config));
        tokio::spawn(clock.clone().run(stop.clone()));
        let cluster = Cluster::start(raft, data.log.clone(), machine.clone(), clock, ward, local.clone()).await;
        // That Raft has stopped says nothing; why it did is known elsewhere.
        let cluster = cluster.map_err(|error| alarm.first().map_or(StartError::Raft(error), StartError::Fault))?;
        reception.open_to_peers(local, Peers::Member(cluster.clone()));
        let dispatcher = Dispatcher::new(
            options::dispatch(&config, &credentials),
            Arc::new(cluster.clone()),
            Arc::new(machine),
            Arc::new(data.snapshots.clone()),
            asked.clone(),
            stop.clone(),
        )?;
        // Before this a signal just ends the process; whoever is served is to see a good end.
        let signals = stop_on_signal(asked.clone())?;
        reception.open_to_clients(Arc::new(dispatcher));
        tokio::spawn(credentials.follow(stop.clone()));
        let entering = async {
            let was_away = identity.standing == Standing::Member;
            if !was_away {
                let addresses: Vec<String> = config.join.iter().map(Address::to_string).collect();
                cluster.join(&addresses, !config.nonvoter).await?;
                data.joined(identity).await?;
            }
            tokio::spawn(check_in(cluster.clone(), was_away));
            tracing::info!(node = config.node_name, address, elapsed = ?started.elapsed(), "ready");
            Ok::<_, StartError>(())
        };
        tokio::select! {
            entered = entering => entered?,
            // A node that was still joining tries again at its next start.
            () = asked.cancelled() => {}
            // What serves finds it too, and ends with it.
            _ = alarm.raised() => {}
        }
        Ok(Node { config, cluster, alarm, asked, stop, signals, connections, accepting, _data: data.dir })
    }

    /// Serves until a signal, `SHUTDOWN` or a fault; an error is the fault.
    pub async fn run(self) -> Result<(), String> {
        if self.config.init_run_quit {
            self.asked.cancel();
        }
        let fault = tokio::select! {
            () = self.asked.cancelled() => None,
            fault = self.alarm.raised() => Some(fault),
        };
        if fault.is_none() {
            // Clients are still served meanwhile: what they send goes to the next leader.
            if let Err(error) = self.cluster.hand_over().await {
                tracing::warn!(%error, "leadership is not handed over; the others elect a leader when they miss this one");
            }
        }
        self.connections.close();
        self.cluster.stop_waiting();
        self.stop.cancel();
        // The accept loops end with the token; an error would be a panic, which the hook has logged.
        let _ = self.accepting.await;
        let drained = tokio::time::timeout(self.config.drain_timeout, self.connections.wait());
        if fault.is_none() && drained.await.is_err() {
            let left = self.connections.len();
            tracing::warn!(connections = left, "commands still running after --drain-timeout are abandoned");
        }
        self.signals.abort();
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

/// Tells the leader where this member is now, and the operator if it is none any more, after it was away: it may have been
/// removed meanwhile.
async fn check_in(cluster: Cluster, mut was_away: bool) {
    loop {
        if was_away {
            match cluster.check_in().await {
                Ok(()) => {}
                Err(raft::Error::Stopped) => return,
                Err(error) => return tracing::error!(%error, "the cluster does not know this node"),
            }
        }
        if !cluster.is_out_of_touch().await {
            return;
        }
        was_away = true;
    }
}

/// The guest, compiled or taken from the cache of compiled code beside the data.
fn load(config: &Config) -> Result<Arc<Guest>, StartError> {
    let name = config.module.to_string();
    let bytes = config.module.read().map_err(|source| StartError::Module { name: name.clone(), source })?;
    let guest = Guest::load(&bytes, config.guest_limits, &config.dir.join("cache"))
        .map_err(|source| StartError::Guest { name, source })?
        .with_log_lines_per_second(config.guest_log_lines);
    // Tests move a cluster between engines, and have only one.
    #[cfg(debug_assertions)]
    let guest = match std::env::var("UHAHA_ENGINE_REVISION") {
        Ok(revision) => guest.with_engine_revision(&revision),
        Err(_) => guest,
    };
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

/// SIGTERM and SIGINT stop the node as `SHUTDOWN` does.
fn stop_on_signal(shutdown: CancellationToken) -> Result<JoinHandle<()>, StartError> {
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
