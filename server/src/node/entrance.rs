//! Which cluster a node belongs to: the one of its data, a new one, or one that it finds.

use super::credentials::Credentials;
use super::data::{Data, FIRST_NODE};
use super::reception::{Peers, Reception};
use super::{StartError, options};
use crate::config::Config;
use crate::guest::Guest;
use crate::net::Address;
use crate::net::peer::Local;
use crate::raft::{self, Knock, Mustering, Outcome};
use crate::storage::schema::{ClusterId, Identity, Standing};
use crate::type_config::{Node, NodeId};
use std::collections::BTreeMap;

/// Everything that has a say.
pub(super) struct Entrance<'a> {
    pub(super) config: &'a Config,
    pub(super) credentials: &'a Credentials,
    pub(super) guest: &'a Guest,
    pub(super) address: &'a str,
    pub(super) data: &'a Data,
    pub(super) reception: &'a Reception,
}

/// All nodes that an empty log begins with; none if it gets its entries from others.
type Founders = BTreeMap<NodeId, Node>;

impl Entrance<'_> {
    /// Returns once it is written down who this node is. Nodes that are to begin a cluster together wait for each other
    /// here.
    pub(super) async fn enter(&self) -> Result<(Identity, Founders), StartError> {
        let &Entrance { config, guest, address, data, .. } = self;
        let identity = match data.identity(config, guest)? {
            Some(identity) => data.force(config, identity, address).await?,
            None if config.force_new_cluster => return Err(data.nothing_to_force().into()),
            None if config.bootstrap_expect > 1 => return self.muster().await,
            None if config.join.is_empty() => data.create(config, guest, address).await?,
            None => self.join(raft::new_node_id()?).await?,
        };
        let is_empty = data.log.status().last.is_none();
        let founders = match (identity.standing, identity.node_id) {
            (_, FIRST_NODE) => Founders::from([(FIRST_NODE, self.node())]),
            (Standing::Founding, node_id) if is_empty => self.gather(&self.mustering(node_id, true), &identity).await,
            _ => Founders::new(),
        };
        Ok((identity, founders))
    }

    /// Finds the cluster that the node is to join, and writes down that it belongs to it.
    async fn join(&self, node_id: NodeId) -> Result<Identity, StartError> {
        self.reception.open_to_peers(self.local(node_id), Peers::Outside);
        let cluster_id = ClusterId(raft::knock(self.knock(node_id)).await?);
        Ok(self.data.belong(self.config, self.guest, cluster_id, node_id).await?)
    }

    /// Begins a cluster with the other nodes, or joins the one that they have.
    async fn muster(&self) -> Result<(Identity, Founders), StartError> {
        let node_id = raft::new_node_id()?;
        let mustering = self.mustering(node_id, false);
        match mustering.wait().await {
            Outcome::Joins => Ok((self.join(node_id).await?, Founders::new())),
            Outcome::Summoned(cluster) => {
                let identity = self.data.belong(self.config, self.guest, ClusterId(cluster), node_id).await?;
                mustering.belongs(cluster);
                Ok((identity, Founders::new()))
            }
            Outcome::Founds => {
                let identity = self.data.found(self.config, self.guest, node_id).await?;
                let founders = self.gather(&mustering, &identity).await;
                Ok((identity, founders))
            }
        }
    }

    async fn gather(&self, mustering: &Mustering, identity: &Identity) -> Founders {
        mustering.gather(identity.cluster_id.0).await
    }

    /// From now on this node answers the others that are without a cluster.
    fn mustering(&self, node_id: NodeId, founds: bool) -> Mustering {
        let mustering = Mustering::new(self.knock(node_id), self.config.bootstrap_expect, founds);
        self.reception.open_to_peers(self.local(node_id), Peers::Mustering(mustering.clone()));
        mustering
    }

    fn knock(&self, node_id: NodeId) -> Knock {
        Knock {
            local: self.local(node_id)(),
            node: self.node(),
            module: self.guest.hash().to_owned(),
            engine: self.guest.fingerprint().to_owned(),
            addresses: self.config.join.iter().map(Address::to_string).collect(),
        }
    }

    fn local(&self, node_id: NodeId) -> impl Fn() -> Local + Clone + use<> {
        options::local(self.config, self.credentials, None, node_id)
    }

    fn node(&self) -> Node {
        Node { name: self.config.node_name.clone(), address: self.address.to_owned() }
    }
}
