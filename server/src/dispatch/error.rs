//! The one place where what the layers below refuse becomes a reply.
//!
//! The rule behind the codes: only when nothing was done may a client be told to go elsewhere (`MOVED`, `TRY`), for a
//! cluster client then sends the command again by itself. When the outcome is open the code is `UNKNOWN`.

use super::Redirect;
use crate::raft;
use crate::reply::{ErrorCode, ErrorReply};
use crate::storage::snapshots;

/// An error with the code `ERR`.
pub(super) fn err(message: impl Into<String>) -> ErrorReply {
    ErrorReply { code: ErrorCode::Err, message: message.into() }
}

pub(super) fn syntax() -> ErrorReply {
    err("syntax error")
}

pub(super) fn not_an_integer() -> ErrorReply {
    err("value is not an integer or out of range")
}

/// `command` in lower case, a subcommand after a bar: `client|id`.
pub(super) fn wrong_arity(command: &str) -> ErrorReply {
    err(format!("wrong number of arguments for '{command}' command"))
}

pub(super) fn unknown_subcommand(subcommand: &[u8], family: &str) -> ErrorReply {
    err(format!("unknown subcommand '{}'. Try {family} HELP.", shown(subcommand, 128)))
}

/// As Redis words it: what was sent, cut short.
pub(super) fn unknown_command(words: &[bytes::Bytes]) -> ErrorReply {
    let mut shown_args = String::new();
    for arg in words.iter().skip(1) {
        if shown_args.len() >= 128 {
            break;
        }
        shown_args.push_str(&format!("'{}' ", shown(arg, 128 - shown_args.len())));
    }
    let name = words.first().map(|name| shown(name, 128)).unwrap_or_default();
    err(format!("unknown command '{name}', with args beginning with: {shown_args}"))
}

/// In RESP2 a client that has subscribed could not tell a reply from a message.
pub(super) fn while_subscribed(command: &str) -> ErrorReply {
    err(format!(
        "Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context"
    ))
}

fn shown(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(most)]).into_owned()
}

pub(super) fn from_raft(error: &raft::Error, redirect: Redirect) -> ErrorReply {
    let reply = |code, message: &str| ErrorReply { code, message: message.to_owned() };
    match error {
        raft::Error::NotLeader { leader } => match redirect {
            Redirect::Forward | Redirect::Moved => reply(ErrorCode::Moved, &format!("0 {}", leader.address)),
            Redirect::Try => reply(ErrorCode::Try, &leader.address),
        },
        raft::Error::NoLeader => reply(ErrorCode::ClusterDown, "No leader is known, nothing was done"),
        raft::Error::Unknown => {
            reply(ErrorCode::Unknown, "The command may or may not have been run, leadership was lost while it waited")
        }
        raft::Error::Busy => reply(ErrorCode::Busy, "Too many commands are waiting, nothing was done"),
        raft::Error::Stopped => reply(ErrorCode::ClusterDown, "The node is stopping, nothing was done"),
        raft::Error::Quarantined => reply(
            ErrorCode::Quarantined,
            "This node's state differs from that of the majority and is being replaced, ask another node",
        ),
        raft::Error::Refused(reason) | raft::Error::Join(reason) => err(reason.clone()),
        raft::Error::ChangeInProgress => {
            reply(ErrorCode::TryAgain, "Another change of the membership is under way, nothing was done")
        }
        raft::Error::SnapshotInProgress => err("a snapshot is in progress"),
        raft::Error::NothingToSnapshot => err("nothing new to snapshot"),
        raft::Error::SnapshotFailed => err("the snapshot was not taken, the node's log says why"),
        raft::Error::Entropy(_) => {
            reply(ErrorCode::TryAgain, "The operating system gives no entropy, nothing was done")
        }
        // These end the start of a node, before there is a client.
        raft::Error::Options { .. }
        | raft::Error::Bootstrap { .. }
        | raft::Error::Lead
        | raft::Error::ReadLog(_)
        | raft::Error::Apply(_) => err(error.to_string()),
    }
}

pub(super) fn from_snapshots(error: &snapshots::Error) -> ErrorReply {
    err(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::Node;
    use bytes::Bytes;

    #[test]
    fn each_refusal_has_its_code() {
        let line = |error: &raft::Error, redirect| from_raft(error, redirect).to_string();
        let leader = Node { name: "2".into(), address: "10.0.0.2:11001".into() };
        let not_leader = raft::Error::NotLeader { leader };
        assert_eq!(line(&not_leader, Redirect::Moved), "MOVED 0 10.0.0.2:11001");
        assert_eq!(line(&not_leader, Redirect::Try), "TRY 10.0.0.2:11001");
        let starts = [
            (raft::Error::NoLeader, "CLUSTERDOWN "),
            (raft::Error::Unknown, "UNKNOWN "),
            (raft::Error::Busy, "BUSY "),
            (raft::Error::Stopped, "CLUSTERDOWN "),
            (raft::Error::Quarantined, "QUARANTINED "),
            (raft::Error::SnapshotInProgress, "ERR "),
        ];
        for (error, start) in starts {
            assert!(line(&error, Redirect::Moved).starts_with(start), "{error:?}");
        }
    }

    #[test]
    fn an_unknown_command_is_shown_as_redis_does() {
        let words = |words: &[&str]| words.iter().map(|word| Bytes::from(word.to_string())).collect::<Vec<_>>();
        assert_eq!(
            unknown_command(&words(&["FOO", "a", "b"])).message,
            "unknown command 'FOO', with args beginning with: 'a' 'b' "
        );
        let long = unknown_command(&words(&["u", &"a".repeat(200), "b"])).message;
        assert_eq!(long, format!("unknown command 'u', with args beginning with: '{}' ", "a".repeat(128)));
    }
}
