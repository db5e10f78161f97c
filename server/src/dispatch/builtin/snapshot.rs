//! `RAFT SNAPSHOT NOW|LIST|FILE|READ`: the snapshots of this node.
//!
//! Files are read off the runtime's threads. A snapshot may be larger than a reply may be, so `READ` gives at most so
//! much at a time and says so.

use super::{Answer, Call, Later, integer, is, lossy};
use crate::dispatch::Dispatcher;
use crate::dispatch::error::{err, from_raft, from_snapshots, syntax, unknown_subcommand};
use crate::reply::{ErrorReply, Reply};
use crate::storage::snapshots::{self, SnapshotInfo, Snapshots};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn snapshot(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, args, .. } = call;
        let [subcommand, args @ ..] = args else {
            return Err(syntax());
        };
        match (lossy(subcommand).to_ascii_uppercase().as_str(), args) {
            ("NOW", []) => {
                let taken = dispatcher.cluster.snapshot().await;
                taken.map(described).map_err(|error| from_raft(&error, dispatcher.options.redirect))
            }
            ("LIST", []) => {
                let list = blocking(dispatcher, Snapshots::list).await?;
                Ok(Reply::Array(list.into_iter().map(described).collect()))
            }
            ("FILE", [id]) => {
                let id = lossy(id);
                let path = blocking(dispatcher, move |snapshots| snapshots.path(&id)).await?;
                Ok(Reply::bulk(path.to_string_lossy()))
            }
            ("READ", [id]) => read(dispatcher, lossy(id), None).await,
            ("READ", [id, range, offset, limit]) if is(range, "RANGE") => {
                match (integer::<u64>(offset), integer::<u64>(limit)) {
                    (Some(offset), Some(limit)) => read(dispatcher, lossy(id), Some((offset, limit))).await,
                    _ => Err(syntax()),
                }
            }
            ("NOW" | "LIST" | "FILE" | "READ", _) => Err(syntax()),
            _ => Err(unknown_subcommand(subcommand, "RAFT")),
        }
    })
}

/// All of a snapshot, or from an offset at most so many bytes.
async fn read(dispatcher: &Dispatcher, id: String, range: Option<(u64, u64)>) -> Answer {
    let most = dispatcher.options.snapshot_read_bytes_max;
    let info_id = id.clone();
    let info = blocking(dispatcher, move |snapshots| snapshots.get(&info_id)).await?;
    let (offset, limit) = match range {
        None if info.bytes > most => {
            let bytes = info.bytes;
            return Err(err(format!("the snapshot has {bytes} bytes; read it by RANGE, at most {most} at a time")));
        }
        None => (0, most),
        Some((offset, limit)) => (offset, limit.min(most)),
    };
    let bytes = blocking(dispatcher, move |snapshots| snapshots.read_range(&id, offset, limit)).await?;
    Ok(Reply::Bulk(bytes))
}

async fn blocking<T: Send + 'static>(
    dispatcher: &Dispatcher,
    work: impl FnOnce(&Snapshots) -> Result<T, snapshots::Error> + Send + 'static,
) -> Result<T, ErrorReply> {
    let snapshots = Arc::clone(&dispatcher.snapshots);
    match tokio::task::spawn_blocking(move || work(&snapshots)).await {
        Ok(outcome) => outcome.map_err(|error| from_snapshots(&error)),
        Err(_) => Err(err("the snapshot could not be read")),
    }
}

fn described(info: SnapshotInfo) -> Reply {
    let created = Duration::from_millis(info.created_ms).as_nanos() as u64;
    Reply::fields([
        ("id", Reply::bulk(info.id)),
        ("index", Reply::bulk(info.index.to_string())),
        ("size", Reply::bulk(info.bytes.to_string())),
        ("term", Reply::bulk(info.term.to_string())),
        ("timestamp", Reply::bulk(super::server::human_time(created))),
    ])
}
