//! What nodes ask each other and answer, once it is known that they are nodes.

use super::rpc::{self, Failure, Heal, Join, Joined, Kind, Muster, Mustered, Offer, Piece, Pong, SnapshotEnd};
use crate::digest::Digests;
use crate::type_config::{TypeConfig, Vote};
use bytes::Bytes;
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

const ANSWER: u8 = 0x80;

/// `u8 kind │ payload`; with the highest bit, the payload is an answer to a request of that kind.
pub fn messages(data: &[u8]) {
    let [number, payload @ ..] = data else { return };
    let Some(kind) = Kind::of(number & !ANSWER) else { return };
    let payload = Bytes::copy_from_slice(payload);
    match number & ANSWER {
        0 => request(kind, payload),
        _ => answer(kind, payload),
    }
}

fn request(kind: Kind, payload: Bytes) {
    match kind {
        Kind::Append => {
            let Ok(request) = rpc::decode_append(&payload) else { return };
            let again = rpc::encode_append(&request).expect("it was decoded");
            let again = rpc::decode_append(&again).expect("it was encoded");
            assert_eq!(again.entries, request.entries);
            assert_eq!(format!("{again:?}"), format!("{request:?}"));
        }
        Kind::Vote | Kind::PreVote => roundtrip::<VoteRequest<TypeConfig>>(&payload),
        Kind::Transfer => roundtrip::<TransferLeaderRequest<TypeConfig>>(&payload),
        Kind::SnapshotChunk => {
            let Ok((chunk, piece)) = rpc::decode_chunk(&payload) else { return };
            let again = rpc::encode_chunk(&chunk, &piece).expect("it was decoded");
            let again = rpc::decode_chunk(&again).expect("it was encoded");
            assert_eq!(format!("{again:?}"), format!("{:?}", (chunk, piece)));
        }
        Kind::SnapshotEnd => roundtrip::<SnapshotEnd>(&payload),
        Kind::Join => roundtrip::<Join>(&payload),
        Kind::Propose | Kind::Read => {
            let Ok((request, term, commands)) = rpc::decode_forwarded(payload) else { return };
            let again = rpc::encode_forwarded(request, term, &commands);
            assert_eq!(rpc::decode_forwarded(again).expect("it was encoded"), (request, term, commands));
        }
        Kind::Change => roundtrip::<rpc::Change>(&payload),
        // Nothing is said with it.
        Kind::Ping => {}
        Kind::Muster => roundtrip::<Muster>(&payload),
        Kind::Digests => roundtrip::<Digests>(&payload),
        Kind::Heal => roundtrip::<Heal>(&payload),
        Kind::Piece => roundtrip::<Piece>(&payload),
    }
}

fn answer(kind: Kind, payload: Bytes) {
    match kind {
        Kind::Append => roundtrip::<AppendEntriesResponse<TypeConfig>>(&payload),
        Kind::Vote | Kind::PreVote => roundtrip::<VoteResponse<TypeConfig>>(&payload),
        Kind::Transfer => roundtrip::<TransferLeaderResponse<TypeConfig>>(&payload),
        Kind::SnapshotChunk => roundtrip::<u64>(&payload),
        Kind::SnapshotEnd => roundtrip::<Vote>(&payload),
        Kind::Join => roundtrip::<Joined>(&payload),
        Kind::Propose | Kind::Read => {
            let Ok(answer) = rpc::decode_answer(payload) else { return };
            let again = rpc::encode_answer(answer.clone()).expect("it was decoded");
            let again = rpc::decode_answer(again).expect("it was encoded");
            assert_eq!(again.as_ref().ok(), answer.as_ref().ok());
            assert_eq!(format!("{again:?}"), format!("{answer:?}"));
        }
        Kind::Change => roundtrip::<Result<(), Failure>>(&payload),
        Kind::Ping => roundtrip::<Pong>(&payload),
        Kind::Muster => roundtrip::<Mustered>(&payload),
        Kind::Digests => roundtrip::<Option<Digests>>(&payload),
        Kind::Heal => roundtrip::<Offer>(&payload),
        // Bytes of a file.
        Kind::Piece => {}
    }
}

fn roundtrip<T: Serialize + DeserializeOwned + Debug>(payload: &[u8]) {
    let Ok(message) = rpc::decode::<T>(payload) else { return };
    let again = rpc::encode(&message).expect("it was decoded");
    let again = rpc::decode::<T>(&again).expect("it was encoded");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use super::rpc::{Chunk, Recruit, Stage};
    use crate::command::Command;
    use crate::proposal::Proposal;
    use crate::replies::Replies;
    use crate::storage::schema::log_id;
    use crate::type_config::{Entry, Node};
    use openraft::EntryPayload;
    use openraft::raft::AppendEntriesRequest;

    let said = |number: u8, payload: Bytes| [&[number][..], &payload].concat();
    let node = Node { name: "n2".to_owned(), address: "127.0.0.1:11002".to_owned() };
    let nodes = std::collections::BTreeMap::from([(1, node.clone())]);
    let membership = openraft::Membership::new(vec![[1].into()], nodes).expect("it is a membership");
    let entry = |index, payload| Entry { log_id: log_id(3, index), payload };
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(3, 7),
        prev_log_id: Some(log_id(2, 8)),
        entries: vec![
            entry(9, EntryPayload::Blank),
            entry(10, EntryPayload::Normal(Proposal::encode(5, Some(6), &[], [].iter()))),
            entry(11, EntryPayload::Membership(membership)),
        ],
        leader_commit: Some(log_id(3, 9)),
    };
    let vote = VoteRequest::<TypeConfig>::new(Vote::new(3, 7), Some(log_id(2, 8)));
    let chunk = Chunk { id: "000001-000000000002-0000000000003".to_owned(), total: 10, offset: 4 };
    let end = SnapshotEnd { vote: Vote::new(3, 7), id: chunk.id.clone() };
    let join = Join {
        node_id: 2,
        node: node.clone(),
        module: "ab".repeat(32),
        engine: "engine".to_owned(),
        voter: true,
        stage: Stage::Asks,
    };
    let recruit = Recruit { node_id: 2, node, module: "ab".repeat(32), engine: "engine".to_owned(), expect: 3 };
    let muster = Muster { recruit: recruit.clone(), cluster: Some([7; 16]) };
    let commands: Vec<Command> = Command::new(vec![Bytes::from_static(b"TICKET")]).into_iter().collect();
    let pong = Pong { applied: 9, lead: None, keeps_leases: false, sound: true, settings: vec![], clock: 7 };
    let replies = Replies::new(Bytes::from_static(b":1\r\n"), vec![4]);
    let encode = |message: Result<Bytes, rpc::Error>| message.expect("it can be encoded");
    vec![
        ("messages/append", said(Kind::Append as u8, encode(rpc::encode_append(&append)))),
        ("messages/vote", said(Kind::Vote as u8, encode(rpc::encode(&vote)))),
        ("messages/chunk", said(Kind::SnapshotChunk as u8, encode(rpc::encode_chunk(&chunk, b"piece")))),
        ("messages/end", said(Kind::SnapshotEnd as u8, encode(rpc::encode(&end)))),
        ("messages/join", said(Kind::Join as u8, encode(rpc::encode(&join)))),
        ("messages/muster", said(Kind::Muster as u8, encode(rpc::encode(&muster)))),
        ("messages/propose", said(Kind::Propose as u8, rpc::encode_forwarded(1, 2, &commands))),
        ("messages/replies", said(Kind::Propose as u8 | ANSWER, encode(rpc::encode_answer(Ok(replies))))),
        ("messages/failure", said(Kind::Propose as u8 | ANSWER, encode(rpc::encode_answer(Err(Failure::Busy))))),
        ("messages/mustered", said(Kind::Muster as u8 | ANSWER, encode(rpc::encode(&Mustered::Waits(recruit))))),
        ("messages/pong", said(Kind::Ping as u8 | ANSWER, encode(rpc::encode(&pong)))),
    ]
}
