//! The data directory: whose it is, and a new one from a snapshot.

use crate::config::Config;
use crate::fault::Alarm;
use crate::guest::Guest;
use crate::machine::snapshot;
use crate::raft;
use crate::storage::log::{self, LogStorage};
use crate::storage::schema::{ClusterId, Identity};
use crate::storage::snapshots::{self, Snapshots};
use crate::storage::{self, DataDir};
use crate::type_config::{Node, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The first node of a cluster; those that join later get numbers from the log.
const FIRST_NODE: NodeId = 1;

/// An open data directory.
pub(super) struct Data {
    pub(super) dir: DataDir,
    pub(super) log: LogStorage,
    pub(super) snapshots: Snapshots,
    pub(super) identity: Identity,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Dir(#[from] storage::Error),
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error(transparent)]
    Snapshots(#[from] snapshots::Error),
    #[error(
        "the log was written with another module ({theirs}, this one is {ours}), which would give other replies and \
         another state; start with that module, or with another --dir"
    )]
    Module { theirs: String, ours: String },
    #[error("an earlier --restore did not finish; remove {0} and repeat it")]
    HalfRestored(String),
    #[error("cannot restore from {path}")]
    Restore { path: String, source: snapshot::Error },
    #[error("cannot restore from {path}")]
    RestoreLog { path: String, source: std::io::Error },
    #[error("the node's identity cannot be saved")]
    SaveIdentity(#[source] std::io::Error),
    #[error("the operating system gives no entropy")]
    Entropy(#[source] getrandom::Error),
}

/// Opens `DIR/GUEST/ID`, or makes it: empty, or with the state of the snapshot that `--restore` names.
pub(super) async fn open(config: &Config, guest: &Guest, address: &str, alarm: &Alarm) -> Result<Data, Error> {
    let dir = DataDir::open(config.dir.join(&guest.description().name).join(&config.node_name))?;
    let (log, fault) = LogStorage::open(&dir.log_path(), !config.sync)?;
    let alarm = alarm.clone();
    tokio::spawn(async move {
        // The channel closes without a fault when the log is closed.
        if let Ok(fault) = fault.await {
            alarm.raise(&fault);
        }
    });
    let snapshots = Snapshots::open(dir.snapshots_path(), config.snapshot_keep)?;
    let identity = match log.identity() {
        Some(identity) => {
            if config.restore.is_some() {
                tracing::warn!(dir = %dir.path().display(), "--restore is ignored: the data directory exists");
            }
            check_module(&identity, guest)?;
            identity
        }
        None => create(config, guest, address, &dir, &log, &snapshots).await?,
    };
    if !config.sync {
        tracing::warn!("--nosync: what was acknowledged in the last second is lost if this machine fails");
    }
    Ok(Data { dir, log, snapshots, identity })
}

fn check_module(identity: &Identity, guest: &Guest) -> Result<(), Error> {
    if identity.module == guest.hash() {
        return Ok(());
    }
    Err(Error::Module { theirs: identity.module.clone(), ours: guest.hash().to_owned() })
}

/// A new cluster of this node alone. The identity is saved last: without it, nothing before counts.
async fn create(
    config: &Config,
    guest: &Guest,
    address: &str,
    dir: &DataDir,
    log: &LogStorage,
    snapshots: &Snapshots,
) -> Result<Identity, Error> {
    match &config.restore {
        Some(_) if log.status().last.is_some() || log.status().purged.is_some() => {
            return Err(Error::HalfRestored(dir.path().display().to_string()));
        }
        Some(path) => restore(config, guest, address, path, log, snapshots).await?,
        None if !snapshots.list()?.is_empty() => return Err(Error::HalfRestored(dir.path().display().to_string())),
        None => {}
    }
    let mut cluster_id = [0; 16];
    getrandom::fill(&mut cluster_id).map_err(Error::Entropy)?;
    let identity = Identity {
        cluster_id: ClusterId(cluster_id),
        node_id: FIRST_NODE,
        node_name: config.node_name.clone(),
        module: guest.hash().to_owned(),
    };
    log.save_identity(identity.clone()).await.map_err(Error::SaveIdentity)?;
    tracing::info!(dir = %dir.path().display(), cluster = %identity.cluster_id, "created a new cluster of one node");
    Ok(identity)
}

async fn restore(
    config: &Config,
    guest: &Guest,
    address: &str,
    path: &Path,
    log: &LogStorage,
    snapshots: &Snapshots,
) -> Result<(), Error> {
    let shown = path.display().to_string();
    // What an earlier try left is of no use, and might be newer.
    for old in snapshots.list()? {
        let removed = std::fs::remove_file(snapshots.path(&old.id)?);
        removed.map_err(|source| Error::RestoreLog { path: shown.clone(), source })?;
    }
    let node = Node { name: config.node_name.clone(), address: address.to_owned() };
    let members = BTreeMap::from([(FIRST_NODE, node)]);
    let adopted = snapshot::adopt(snapshots, guest, path, BTreeSet::from([FIRST_NODE]), members);
    let last = adopted.map_err(|source| Error::Restore { path: shown.clone(), source })?;
    raft::begin_after(log, last, FIRST_NODE)
        .await
        .map_err(|source| Error::RestoreLog { path: shown.clone(), source })?;
    tracing::info!(snapshot = shown, index = last.index, "restored the state of a snapshot");
    Ok(())
}
