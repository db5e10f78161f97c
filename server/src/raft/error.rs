//! `Error`: not now, or not here. The one place that reads openraft's errors.

use crate::fault::Fault;
use crate::type_config::{Node, TypeConfig};
use openraft::error::{ClientWriteError, Fatal, ForwardToLeader, InitializeError, LinearizableReadError, RaftError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was done.
    #[error("not the leader")]
    NotLeader { leader: Node },
    /// Nothing was done.
    #[error("no leader is known")]
    NoLeader,
    /// Nothing was done.
    #[error("this node's state is known to be wrong")]
    Quarantined,
    /// It may have been done, or may still be.
    #[error("the outcome is not known")]
    Unknown,
    /// Nothing was done.
    #[error("too much is waiting")]
    Busy,
    /// Nothing was done.
    #[error("the node is stopping")]
    Stopped,
    #[error("a snapshot is being taken")]
    SnapshotInProgress,
    #[error("nothing happened since the last snapshot")]
    NothingToSnapshot,
    #[error("the snapshot was not taken")]
    SnapshotFailed,
    /// Nothing was done.
    #[error("the operating system gives no entropy")]
    Entropy(#[source] getrandom::Error),
    /// Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// Nothing was done.
    #[error("another change of the membership is under way")]
    ChangeInProgress,
    /// Nothing was done.
    #[error("this node cannot join: {0}")]
    Join(String),
    #[error("the options are refused")]
    Options { source: Box<openraft::ConfigError> },
    #[error("cannot begin a cluster")]
    Bootstrap { source: Box<InitializeError<TypeConfig>> },
    #[error("this node does not become the leader")]
    Lead,
    #[error("the log cannot be read")]
    ReadLog(#[source] std::io::Error),
    #[error("the log cannot be applied here")]
    Apply(#[source] Fault),
}

impl Error {
    /// The same for another caller. Only of errors that say that nothing was done.
    pub(super) fn again(&self) -> Error {
        match self {
            Error::NotLeader { leader } => Error::NotLeader { leader: leader.clone() },
            Error::NoLeader => Error::NoLeader,
            Error::Busy => Error::Busy,
            Error::Quarantined => Error::Quarantined,
            Error::Stopped => Error::Stopped,
            _ => Error::Unknown,
        }
    }
}

impl From<ForwardToLeader<TypeConfig>> for Error {
    fn from(error: ForwardToLeader<TypeConfig>) -> Error {
        match error.leader_node {
            Some(leader) => Error::NotLeader { leader },
            None => Error::NoLeader,
        }
    }
}

impl From<ClientWriteError<TypeConfig>> for Error {
    fn from(error: ClientWriteError<TypeConfig>) -> Error {
        match error {
            ClientWriteError::ForwardToLeader(forward) => forward.into(),
            // It was in a log that another leader may have taken over.
            ClientWriteError::LogEntryDiscarded(_) => Error::Unknown,
            // Neither can befall a normal entry; to say that nothing is known is safe.
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => Error::Unknown,
        }
    }
}

impl From<LinearizableReadError<TypeConfig>> for Error {
    fn from(error: LinearizableReadError<TypeConfig>) -> Error {
        match error {
            LinearizableReadError::ForwardToLeader(forward) => forward.into(),
            LinearizableReadError::QuorumNotEnough(_) => Error::NoLeader,
        }
    }
}

impl From<Fatal<TypeConfig>> for Error {
    fn from(error: Fatal<TypeConfig>) -> Error {
        match error {
            Fatal::Stopped => Error::Stopped,
            Fatal::StorageError(_) | Fatal::Panicked => {
                tracing::error!(%error, "raft has stopped");
                Error::Stopped
            }
        }
    }
}

impl<E: Into<Error>> From<RaftError<TypeConfig, E>> for Error {
    fn from(error: RaftError<TypeConfig, E>) -> Error {
        match error {
            RaftError::APIError(error) => error.into(),
            RaftError::Fatal(fatal) => fatal.into(),
        }
    }
}

impl From<InitializeError<TypeConfig>> for Error {
    fn from(error: InitializeError<TypeConfig>) -> Error {
        Error::Bootstrap { source: Box::new(error) }
    }
}
