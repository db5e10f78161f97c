//! The data directory: whose it is, and a new one from a snapshot or from an export.

use super::import;
use crate::config::Config;
use crate::fault::{Alarm, chain};
use crate::guest::Guest;
use crate::machine::{Imported, snapshot};
use crate::raft;
use crate::storage::log::{self, LogStorage, Options as LogOptions};
use crate::storage::schema::{ClusterId, Identity, Standing, log_id};
use crate::storage::snapshots::{self, Snapshots};
use crate::storage::{self, DataDir, ward};
use crate::type_config::{LogId, Node, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The node that begins a cluster; those that join draw their numbers.
pub(super) const FIRST_NODE: NodeId = 1;

/// The entry that an imported state takes the place of. Not 0: the log of a machine whose state is lost must not look as
/// if it went back to the beginning.
fn imported_entry() -> LogId {
    log_id(1, 1)
}

/// An open data directory.
pub(super) struct Data {
    pub(super) dir: DataDir,
    pub(super) log: LogStorage,
    pub(super) snapshots: Snapshots,
    /// What `--import` names, if that was to be loaded.
    imported: Option<Imported>,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Dir(#[from] storage::Error),
    #[error(transparent)]
    Log(log::Error),
    #[error(
        "{what}; this node may have forgotten votes and entries that others count on, so it must not go on with this \
         directory: in a cluster, have another node remove it (RAFT SERVER REMOVE {name}), move {dir} away and start it \
         with --join; otherwise move {dir} away and start with --restore and the newest file of its snapshots, or with \
         a backup"
    )]
    Damaged { what: String, name: String, dir: String },
    #[error(transparent)]
    Snapshots(#[from] snapshots::Error),
    #[error(transparent)]
    Ward(#[from] ward::Error),
    #[error(
        "the log was written with another module ({theirs}, this one is {ours}), which would give other replies and \
         another state; start with that module, or with another --dir"
    )]
    Module { theirs: String, ours: String },
    #[error("an earlier --restore or --import did not finish; remove {0} and repeat it")]
    HalfRestored(String),
    #[error("cannot restore from {path}")]
    Restore { path: String, source: snapshot::Error },
    #[error("cannot restore from {path}")]
    RestoreLog { path: String, source: std::io::Error },
    #[error("cannot import {path}")]
    Import { path: String, source: import::Error },
    #[error("the imported state cannot be kept")]
    Found(#[source] snapshot::Error),
    #[error("the log cannot begin behind the imported state")]
    ImportLog(#[source] std::io::Error),
    #[error("the node's identity cannot be saved")]
    SaveIdentity(#[source] std::io::Error),
    #[error("--force-new-cluster needs the data of a node, and {0} has none; check --dir and --id")]
    NothingToForce(String),
    #[error("cannot take the log over")]
    TakeOver(#[source] std::io::Error),
    #[error("this node was about to begin a cluster with others; start it with the same --bootstrap-expect and --join")]
    Founding,
    #[error("the operating system gives no entropy")]
    Entropy(#[source] getrandom::Error),
}

impl Data {
    /// Opens `DIR/GUEST/ID`, or makes it.
    pub(super) fn open(config: &Config, guest: &Guest, alarm: &Alarm) -> Result<Data, Error> {
        let path = config.dir.join(&guest.description().name).join(&config.node_name);
        // Before there is a directory: what cannot be imported leaves none behind.
        let imported = match &config.import {
            Some(export) if !storage::is_used(&path) => Some(import(guest, export)?),
            _ => None,
        };
        let dir = DataDir::open(path)?;
        let opened =
            LogStorage::open(&dir.log_path(), LogOptions { nosync: !config.sync, wal_bytes: config.wal_bytes });
        let (log, fault) = opened.map_err(|error| match error.is_damage() {
            true => Error::Damaged {
                what: chain(&error),
                name: config.node_name.clone(),
                dir: dir.path().display().to_string(),
            },
            false => Error::Log(error),
        })?;
        let alarm = alarm.clone();
        tokio::spawn(async move {
            // The channel closes without a fault when the log is closed.
            if let Ok(fault) = fault.await {
                alarm.raise(&fault);
            }
        });
        let snapshots = Snapshots::open(dir.snapshots_path(), config.snapshot_keep)?;
        if !config.sync {
            tracing::warn!("--nosync: what was acknowledged in the last second is lost if this machine fails");
        }
        Ok(Data { dir, log, snapshots, imported })
    }

    /// Whose data it is; `None` if it is new.
    pub(super) fn identity(&self, config: &Config, guest: &Guest) -> Result<Option<Identity>, Error> {
        let Some(identity) = self.log.identity() else { return Ok(None) };
        if identity.module != guest.hash() {
            return Err(Error::Module { theirs: identity.module, ours: guest.hash().to_owned() });
        }
        if identity.standing == Standing::Founding && config.bootstrap_expect < 2 {
            return Err(Error::Founding);
        }
        // The nodes of --bootstrap-expect are always started by the same command.
        let joins = !config.join.is_empty() && config.bootstrap_expect < 2 && identity.standing == Standing::Member;
        let ignored =
            [("--restore", config.restore.is_some()), ("--import", config.import.is_some()), ("--join", joins)];
        for (flag, _) in ignored.iter().filter(|(_, given)| *given) {
            tracing::warn!(dir = %self.dir.path().display(), "{flag} is ignored: the data directory exists");
        }
        Ok(Some(identity))
    }

    /// A new cluster of this node alone: empty, or with the state of the snapshot that `--restore` or of the export that
    /// `--import` names. The identity is saved last: without it, nothing before counts.
    pub(super) async fn create(&self, config: &Config, guest: &Guest, address: &str) -> Result<Identity, Error> {
        let dir = self.dir.path().display();
        let log = self.log.status();
        let is_begun = log.last.is_some() || log.purged.is_some();
        match (&config.restore, &config.import) {
            (Some(_), _) | (_, Some(_)) if is_begun => return Err(Error::HalfRestored(dir.to_string())),
            (Some(path), _) => restore(config, guest, address, path, &self.log, &self.snapshots).await?,
            (None, Some(path)) => self.found_on(config, guest, address, path).await?,
            (None, None) if !self.snapshots.list()?.is_empty() => return Err(Error::HalfRestored(dir.to_string())),
            (None, None) => {}
        }
        let cluster_id = ClusterId::random().map_err(Error::Entropy)?;
        let identity = self.save(config, guest, cluster_id, FIRST_NODE, Standing::Member).await?;
        tracing::info!(%dir, cluster = %cluster_id, "created a new cluster of one node");
        Ok(identity)
    }

    /// Makes the state that was imported the one that the log begins behind.
    async fn found_on(&self, config: &Config, guest: &Guest, address: &str, path: &Path) -> Result<(), Error> {
        let loaded;
        let imported = match &self.imported {
            Some(imported) => imported,
            // The directory is there, and nothing in it counts yet.
            None => {
                loaded = import(guest, path)?;
                &loaded
            }
        };
        remove_all(&self.snapshots).map_err(Error::ImportLog)?;
        let last = imported_entry();
        let (voters, members) = (BTreeSet::from([FIRST_NODE]), members(config, address));
        snapshot::found(&self.snapshots, guest, imported, last, voters, members).map_err(Error::Found)?;
        raft::begin_after(&self.log, last, FIRST_NODE).await.map_err(Error::ImportLog)?;
        tracing::info!(export = %path.display(), "imported the state of another cluster");
        Ok(())
    }

    /// A node of a cluster that has not taken it in yet, or not begun.
    pub(super) async fn belong(
        &self,
        config: &Config,
        guest: &Guest,
        cluster_id: ClusterId,
        node_id: NodeId,
    ) -> Result<Identity, Error> {
        let identity = self.save(config, guest, cluster_id, node_id, Standing::Joining).await?;
        tracing::info!(dir = %self.dir.path().display(), cluster = %cluster_id, node_id, "joining a cluster");
        Ok(identity)
    }

    /// The node that gathers the others for a new cluster.
    pub(super) async fn found(&self, config: &Config, guest: &Guest, node_id: NodeId) -> Result<Identity, Error> {
        let cluster_id = ClusterId::random().map_err(Error::Entropy)?;
        let identity = self.save(config, guest, cluster_id, node_id, Standing::Founding).await?;
        tracing::info!(dir = %self.dir.path().display(), cluster = %cluster_id, node_id, "founding a cluster");
        Ok(identity)
    }

    /// Why `--force-new-cluster` fails without data.
    pub(super) fn nothing_to_force(&self) -> Error {
        Error::NothingToForce(self.dir.path().display().to_string())
    }

    /// What `--force-new-cluster` asks for. The identity is saved last: until then it is done again, and harmlessly.
    pub(super) async fn force(&self, config: &Config, old: Identity, address: &str) -> Result<Identity, Error> {
        if !config.force_new_cluster || old.forced {
            if config.force_new_cluster {
                tracing::warn!("--force-new-cluster is ignored: it was obeyed by an earlier start; remove it");
            }
            let forced = config.force_new_cluster;
            return if old.forced == forced { Ok(old) } else { self.update(Identity { forced, ..old }).await };
        }
        let node = Node { name: config.node_name.clone(), address: address.to_owned() };
        let taken = raft::take_over(&self.log, old.node_id, node).await.map_err(Error::TakeOver)?;
        // Nodes of the old cluster that come back belong to another one, and are refused.
        let cluster_id = ClusterId::random().map_err(Error::Entropy)?;
        tracing::warn!(
            index = taken.index,
            old_cluster = %old.cluster_id,
            cluster = %cluster_id,
            "--force-new-cluster: this node goes on alone; remove the data of the other nodes and let them join again"
        );
        self.update(Identity { cluster_id, standing: Standing::Member, forced: true, ..old }).await
    }

    /// The cluster has the node.
    pub(super) async fn joined(&self, identity: Identity) -> Result<(), Error> {
        self.update(Identity { standing: Standing::Member, ..identity }).await.map(drop)
    }

    async fn save(
        &self,
        config: &Config,
        guest: &Guest,
        cluster_id: ClusterId,
        node_id: NodeId,
        standing: Standing,
    ) -> Result<Identity, Error> {
        let (node_name, module) = (config.node_name.clone(), guest.hash().to_owned());
        self.update(Identity { cluster_id, node_id, node_name, module, standing, forced: false }).await
    }

    async fn update(&self, identity: Identity) -> Result<Identity, Error> {
        self.log.save_identity(identity.clone()).await.map_err(Error::SaveIdentity)?;
        Ok(identity)
    }
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
    remove_all(snapshots).map_err(|source| Error::RestoreLog { path: shown.clone(), source })?;
    let adopted = snapshot::adopt(snapshots, guest, path, BTreeSet::from([FIRST_NODE]), members(config, address));
    let last = adopted.map_err(|source| Error::Restore { path: shown.clone(), source })?;
    raft::begin_after(log, last, FIRST_NODE)
        .await
        .map_err(|source| Error::RestoreLog { path: shown.clone(), source })?;
    tracing::info!(snapshot = shown, index = last.index, "restored the state of a snapshot");
    Ok(())
}

/// The only member of a new cluster.
fn members(config: &Config, address: &str) -> BTreeMap<NodeId, Node> {
    let node = Node { name: config.node_name.clone(), address: address.to_owned() };
    BTreeMap::from([(FIRST_NODE, node)])
}

/// What an earlier try left is of no use, and might be newer.
fn remove_all(snapshots: &Snapshots) -> std::io::Result<()> {
    for old in snapshots.list().map_err(std::io::Error::other)? {
        std::fs::remove_file(snapshots.path(&old.id).map_err(std::io::Error::other)?)?;
    }
    Ok(())
}

fn import(guest: &Guest, path: &Path) -> Result<Imported, Error> {
    import::load(guest, path).map_err(|source| Error::Import { path: path.display().to_string(), source })
}
