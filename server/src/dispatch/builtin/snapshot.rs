//! `RAFT SNAPSHOT NOW|LIST|FILE|READ`: the snapshots of this node.
//!
//! A snapshot may be larger than a reply may be, so `READ` gives at most so much at a time and says so. One that holds only
//! what has changed since another is made whole before it is given to anybody.

use super::{Answer, Call, Later, integer, is, lossy};
use crate::dispatch::Dispatcher;
use crate::dispatch::error::{err, from_raft, syntax, unknown_subcommand};
use crate::reply::Reply;
use crate::storage::snapshots::SnapshotInfo;
use std::time::Duration;

pub(super) fn snapshot(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, args, .. } = call;
        let [subcommand, args @ ..] = args else {
            return Err(syntax());
        };
        match (lossy(subcommand).to_ascii_uppercase().as_str(), args) {
            ("NOW", []) => {
                let taken = dispatcher.backend.snapshot().await;
                taken.map(described).map_err(|error| from_raft(&error, dispatcher.options.redirect))
            }
            ("LIST", []) => {
                let list = dispatcher.backend.list_snapshots().await?;
                Ok(Reply::Array(list.into_iter().map(described).collect()))
            }
            ("FILE", [id]) => {
                let info = dispatcher.backend.whole_snapshot(lossy(id)).await?;
                let path = dispatcher.backend.snapshot_path(info.id).await?;
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
    let info = dispatcher.backend.whole_snapshot(id.clone()).await?;
    let (offset, limit) = match range {
        None if info.bytes > most => {
            let bytes = info.bytes;
            return Err(err(format!("the snapshot has {bytes} bytes; read it by RANGE, at most {most} at a time")));
        }
        None => (0, most),
        Some((offset, limit)) => (offset, limit.min(most)),
    };
    dispatcher.backend.read_snapshot(id, offset, limit).await.map(Reply::Bulk)
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
