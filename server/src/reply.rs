//! `Reply`: what a client gets, in the types of RESP3.

use bytes::Bytes;
use std::borrow::Cow;

/// A reply of the server itself, as a tree of values. A guest's reply is RESP3 bytes from the beginning: `Replies`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    /// A short status such as `OK`, without CR or LF.
    Simple(Cow<'static, str>),
    Bulk(Bytes),
    Verbatim(String),
    Error(ErrorReply),
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    /// Out-of-band data of RESP3; an array for RESP2.
    Push(Vec<Reply>),
    /// What RESP2 has instead of an array: it has two nulls.
    NullArray,
    /// One after the other, for commands that have more than one reply.
    Several(Vec<Reply>),
}

impl Reply {
    pub const OK: Reply = Reply::Simple(Cow::Borrowed("OK"));

    pub fn bulk(text: impl Into<String>) -> Reply {
        Reply::Bulk(Bytes::from(text.into()))
    }

    pub fn error(code: ErrorCode, message: impl Into<String>) -> Reply {
        Reply::Error(ErrorReply { code, message: message.into() })
    }

    /// A map of text to values, in the order given.
    pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, Reply)>) -> Reply {
        Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
    }
}

/// An error reply: `-CODE message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    pub code: ErrorCode,
    pub message: String,
}

/// The first word of an error reply. Redis's own where Redis has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorCode {
    /// Anything wrong with the command itself.
    Err,
    /// The client has not authenticated.
    NoAuth,
    /// The user may not run the command.
    NoPerm,
    /// A wrong user or password.
    WrongPass,
    /// `HELLO` asked for a protocol version that is not spoken.
    NoProto,
    /// The leader is elsewhere: `MOVED slot host:port`.
    Moved,
    /// The leader is elsewhere, uhaha's form: `TRY host:port`.
    Try,
    /// No leader is known.
    ClusterDown,
    /// Too few nodes answer.
    NoQuorum,
    /// Nothing was done; sending it again later is safe.
    TryAgain,
    /// The outcome is not known: the command may or may not have been run.
    Unknown,
    /// The node is reading its data.
    Loading,
    /// The node's state is known to be wrong; nothing was done.
    Quarantined,
    /// A limit on what is waiting was reached; nothing was done.
    Busy,
    /// The guest trapped; the command left no trace.
    Trap,
    /// The guest used up its fuel; the command left no trace.
    Fuel,
    /// The guest reached its memory limit; the command left no trace.
    Oom,
    /// The reply was over the limit; the command left no trace.
    TooBig,
}

impl ErrorCode {
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::Err => "ERR",
            ErrorCode::NoAuth => "NOAUTH",
            ErrorCode::NoPerm => "NOPERM",
            ErrorCode::WrongPass => "WRONGPASS",
            ErrorCode::NoProto => "NOPROTO",
            ErrorCode::Moved => "MOVED",
            ErrorCode::Try => "TRY",
            ErrorCode::ClusterDown => "CLUSTERDOWN",
            ErrorCode::NoQuorum => "NOQUORUM",
            ErrorCode::TryAgain => "TRYAGAIN",
            ErrorCode::Unknown => "UNKNOWN",
            ErrorCode::Loading => "LOADING",
            ErrorCode::Quarantined => "QUARANTINED",
            ErrorCode::Busy => "BUSY",
            ErrorCode::Trap => "TRAP",
            ErrorCode::Fuel => "FUEL",
            ErrorCode::Oom => "OOM",
            ErrorCode::TooBig => "TOOBIG",
        }
    }
}

impl std::fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code.as_str(), self.message)
    }
}
