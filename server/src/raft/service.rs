//! The server half of what nodes say to each other: their requests become calls of openraft and of the queues.

use super::forward::{Way, forwarded};
use super::queue::{Refusal, Weight};
use super::rpc::{self, Failure, Kind, Muster, Mustered};
use super::{Cluster, Error, snapshots};
use crate::fault::chain;
use crate::net::peer::{Remote, Service};
use bytes::Bytes;
use openraft::error::Fatal;

impl Service for Cluster {
    async fn answer(&self, from: Remote, kind: u8, payload: Bytes) -> Result<Bytes, String> {
        let kind = Kind::of(kind).ok_or_else(|| format!("requests of kind {kind} are not known here"))?;
        if from.cluster.is_none() && !matches!(kind, Kind::Join | Kind::Muster) {
            return Err("a node that belongs to no cluster may only ask to join".to_owned());
        }
        let raft = &self.shared.raft;
        match kind {
            Kind::Append => {
                let request = rpc::decode_append(&payload).map_err(text)?;
                encoded(&raft.append_entries(request).await.map_err(text)?)
            }
            Kind::Vote | Kind::PreVote if self.may_owe_a_lease() => {
                Err("this node has just started, and may have confirmed a leader that still counts on it".to_owned())
            }
            Kind::Vote => encoded(&raft.vote(decoded(&payload)?).await.map_err(text)?),
            Kind::PreVote => encoded(&raft.pre_vote(decoded(&payload)?).await.map_err(text)?),
            Kind::Transfer if self.shared.machine.standing().is_quarantined() => {
                Err("this node's state is known to be wrong, and it must not lead".to_owned())
            }
            Kind::Transfer => {
                let answer = raft.handle_transfer_leader(decoded(&payload)?).await;
                encoded(&answer.map_err(|fatal: Fatal<_>| fatal.to_string())?)
            }
            Kind::SnapshotChunk => {
                snapshots::receive(self.shared.machine.snapshots(), &payload).await.map_err(|error| told(&error))
            }
            Kind::SnapshotEnd => {
                let installed = snapshots::install(raft, self.shared.machine.snapshots(), &payload).await;
                installed.map_err(|error| told(&error))
            }
            Kind::Digests => encoded(&self.shared.machine.compare(decoded(&payload)?).await),
            Kind::Heal => self.offer(&decoded(&payload)?).await.and_then(|offer| encoded(&offer)),
            Kind::Piece => self.piece(decoded(&payload)?).await,
            Kind::Ping => encoded(&self.pong().await.map_err(text)?),
            Kind::Join => encoded(&self.admit(from, decoded(&payload)?).await),
            Kind::Muster => {
                let _: Muster = decoded(&payload)?;
                encoded(&self.mustered().await)
            }
            Kind::Propose | Kind::Read => {
                let (ticket, commands) = forwarded(from.node_id, payload).map_err(text)?;
                let answered = match kind {
                    Kind::Propose => self.ask_here(Way::Write, commands, Some(ticket)).await,
                    // A read has no number, but the weight in its place.
                    _ if ticket.request == Weight::Heavy as u64 => {
                        self.ask_here(Way::Read(Weight::Heavy), commands, None).await
                    }
                    _ => self.ask_here(Way::Read(Weight::Light), commands, None).await,
                };
                let replies = answered.map(|answered| answered.replies);
                let answer = rpc::encode_answer(replies.map_err(failure)).map_err(text)?;
                // Until it is sent.
                Ok(self.shared.undelivered.counted(answer))
            }
            Kind::Change => {
                let changed = self.change_here(&decoded(&payload)?).await;
                encoded(&changed.map_err(|error| failure(Refusal { error, given_back: None })))
            }
        }
    }
}

impl Cluster {
    /// For a node that would begin a cluster.
    async fn mustered(&self) -> Mustered {
        match (self.shared.raft.is_initialized().await, self.shared.peers.local().cluster) {
            (Ok(false), Some(cluster)) => {
                Mustered::Belongs { node_id: self.shared.node_id, node: self.shared.node.clone(), cluster }
            }
            _ => Mustered::Member,
        }
    }

    /// What a node has promised a leader by its last answer is not on its disk, so it keeps to it after every start.
    fn may_owe_a_lease(&self) -> bool {
        self.shared.lease.is_some_and(|lease| self.shared.started.elapsed() < lease)
    }
}

fn failure(refusal: Refusal) -> Failure {
    match refusal.error {
        Error::NotLeader { .. } | Error::NoLeader | Error::Stopped | Error::Quarantined => Failure::NotLeader,
        Error::Unknown => Failure::Unknown,
        Error::Busy => Failure::Busy,
        error => Failure::Refused(error.to_string()),
    }
}

fn encoded(message: &impl serde::Serialize) -> Result<Bytes, String> {
    rpc::encode(message).map_err(text)
}

fn decoded<T: serde::de::DeserializeOwned>(payload: &Bytes) -> Result<T, String> {
    rpc::decode(payload).map_err(text)
}

fn text(error: impl std::error::Error) -> String {
    chain(&error)
}

/// For this node's log and for the other node.
fn told(error: &dyn std::error::Error) -> String {
    let error = chain(error);
    tracing::warn!(error, "a snapshot from another node is not taken");
    error
}
