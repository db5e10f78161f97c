//! The client half of what Raft says between nodes: openraft's calls become requests on a `Link`.

use super::link::{Link, Peers};
use super::rpc::{self, Kind};
use super::snapshots;
use crate::machine::Machine;
use crate::net::peer;
use crate::storage::snapshots::SnapshotInfo;
use crate::type_config::{Node, NodeId, TypeConfig, Vote};
use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// `AppendEntries` under way to one node. With one, the follower's disk idles while the answer travels; with many,
/// each becomes small, and so does each sync of the follower.
const APPENDS_IN_FLIGHT_MAX: usize = 3;
/// Waits between tries to reach a node, doubling from the first to the last, each with up to a half more at random.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;
type Appended = Rpc<StreamAppendResult<TypeConfig>>;

pub(super) struct Factory {
    pub(super) peers: Peers,
    pub(super) machine: Machine,
    /// An `AppendEntries` with entries that is not answered by then is sent again on a new connection.
    pub(super) append_timeout: Duration,
}

/// One node, for one purpose.
pub(super) struct Remote {
    link: Link,
    node_id: NodeId,
    machine: Machine,
    append_timeout: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Remote;

    /// openraft asks once for replication, once for heartbeats, once for snapshots and once for each election, so each
    /// has a connection of its own.
    async fn new_client(&mut self, target: NodeId, node: &Node) -> Remote {
        Remote {
            link: self.peers.link(Some(target), &node.address),
            node_id: target,
            machine: self.machine.clone(),
            append_timeout: self.append_timeout,
        }
    }
}

impl Remote {
    async fn call<A: DeserializeOwned>(&self, kind: Kind, message: &impl Serialize, timeout: Duration) -> Rpc<A> {
        let payload = rpc::encode(message).map_err(malformed)?;
        let answer = self.link.ask(kind, payload, timeout).await.map_err(failed)?;
        rpc::decode(&answer).map_err(malformed)
    }

    /// Sends an `AppendEntries`; the answer is for the future that it returns.
    async fn begin_append(
        link: &Link,
        request: AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> Rpc<impl Future<Output = Appended> + Send + use<>> {
        let payload = rpc::encode_append(&request).map_err(malformed)?;
        let (before, last) = (request.prev_log_id, request.entries.last().map(|entry| entry.log_id));
        let sent = tokio::time::timeout(timeout, link.send(Kind::Append, payload)).await;
        let asked = sent.unwrap_or_else(|_| Err(Arc::new(peer::Error::Timeout))).map_err(failed)?;
        let link = link.clone();
        Ok(async move {
            let answer = tokio::time::timeout(timeout, asked.answer()).await.unwrap_or_else(|_| {
                // The way there may be broken without either side knowing.
                link.drop_connection();
                Err(peer::Error::Timeout)
            });
            let answer: Bytes = answer.map_err(|error| failed(Arc::new(error)))?;
            let response: AppendEntriesResponse<TypeConfig> = rpc::decode(&answer).map_err(malformed)?;
            if before.is_none() && matches!(response, AppendEntriesResponse::Conflict) {
                return Err(malformed("a node finds a conflict before the first entry"));
            }
            Ok(response.into_stream_result(before, last.or(before)))
        })
    }
}

impl RaftNetworkV2<TypeConfig> for Remote {
    type SnapshotData = SnapshotInfo;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let payload = rpc::encode_append(&request).map_err(malformed)?;
        let answer = self.link.ask(Kind::Append, payload, option.soft_ttl()).await.map_err(failed)?;
        rpc::decode(&answer).map_err(malformed)
    }

    /// Answers come in the order of the requests, a few of which are under way at a time. Nothing is dialled before
    /// there is a request: openraft waits out its back-off in the stream of requests.
    fn stream_append<'s, S>(&'s mut self, input: S, _option: RPCOption) -> BoxFuture<'s, Rpc<BoxStream<'s, Appended>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let (link, timeout) = (self.link.clone(), self.append_timeout);
        let appends = Appends { input: Some(input), in_flight: FuturesOrdered::new(), failed: None };
        let answers = futures_util::stream::unfold(appends, move |mut appends| {
            let link = link.clone();
            async move {
                let appended = appends.next(&link, timeout).await?;
                if !matches!(appended, Ok(Ok(_))) {
                    // What was sent after it is answered with the same, and openraft begins anew.
                    appends.input = None;
                    appends.in_flight = FuturesOrdered::new();
                }
                Some((appended, appends))
            }
        });
        Box::pin(async move { Ok(Box::pin(answers) as BoxStream<'s, Appended>) })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.call(Kind::Vote, &request, option.soft_ttl()).await
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.call(Kind::PreVote, &request, option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        self.call(Kind::Transfer, &request, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotInfo>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        if self.machine.standing().is_quarantined() {
            return Err(malformed("the state of this node is known to be wrong").into());
        }
        let sending =
            snapshots::send(&self.link, self.machine.snapshots(), vote, &snapshot.snapshot, option.soft_ttl());
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = sending => sent.map(SnapshotResponse::new).map_err(|error| match error {
                snapshots::Error::Peer(error) => StreamingError::from(failed(error)),
                error => {
                    tracing::warn!(node_id = self.node_id, error = crate::fault::chain(&error), "a snapshot is not sent");
                    malformed(error).into()
                }
            }),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let doubling = std::iter::successors(Some(BACKOFF_MIN), |last| Some((*last * 2).min(BACKOFF_MAX)));
        Some(Backoff::new(doubling.map(with_jitter)))
    }
}

/// Between the wait itself and half as much again, so that nodes that lost each other together do not all come back
/// at the same moments.
pub(super) fn with_jitter(wait: Duration) -> Duration {
    // Without entropy there is no jitter, which only makes retries less polite.
    let share = getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX));
    wait.mul_f64(1.0 + share / 2.0)
}

/// Requests of one stream and their answers.
struct Appends<S> {
    /// `None` once it has ended.
    input: Option<S>,
    in_flight: FuturesOrdered<BoxFuture<'static, Appended>>,
    /// A request that could not be sent, to be told behind the answers before it.
    failed: Option<RPCError<TypeConfig>>,
}

impl<S> Appends<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    /// The next answer; `None` when all are told.
    async fn next(&mut self, link: &Link, timeout: Duration) -> Option<Appended> {
        loop {
            let has_room = self.in_flight.len() < APPENDS_IN_FLIGHT_MAX;
            let request = match &mut self.input {
                Some(input) if has_room => tokio::select! {
                    biased;
                    Some(appended) = self.in_flight.next() => return Some(appended),
                    request = input.next() => request,
                },
                _ => match self.in_flight.next().await {
                    Some(appended) => return Some(appended),
                    None => return self.failed.take().map(Err),
                },
            };
            match request {
                Some(request) => match Remote::begin_append(link, request, timeout).await {
                    Ok(answer) => self.in_flight.push_back(Box::pin(answer)),
                    Err(error) => {
                        self.input = None;
                        self.failed = Some(error);
                    }
                },
                None => self.input = None,
            }
        }
    }
}

fn malformed(error: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(error.to_string()))
}

/// What certainly was not done is tried again after a pause; what may have been, at once.
fn failed(error: Arc<peer::Error>) -> RPCError<TypeConfig> {
    match error.is_harmless() {
        true => RPCError::Unreachable(Unreachable::from_string(error.to_string())),
        false => RPCError::Network(NetworkError::from_string(error.to_string())),
    }
}
