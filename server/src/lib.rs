//! uhaha-server: loads a WebAssembly component, replicates its command log with Raft, serves it to Redis clients.
//!
//! A command goes down a straight line of folders and its reply comes back up it; each folder is one stage and
//! calls only those below it:
//!
//! ```text
//! node        builds everything, in order; serves; drains; stops
//! inspect     beside it: what a module is, without serving it
//! export      beside it: the state of a node that is not running, in its guest's own form
//! replay      beside both: applies the log of a node that is not running
//! redis       one session a client: bytes ↔ Command and Reply
//! dispatch    finds the one place that can answer: the server itself, a read, a write
//! raft        gathers commands into proposals, gets them committed; linearizable reads
//! machine     applies committed proposals, in order, on its own thread
//! guest       the WebAssembly component: engine, instance, limits, memory images
//! storage     the log in redb, snapshot files
//! time        the node's clock: the system's, or what NTP servers say
//! command, reply, proposal, …     the vocabulary that all of them share
//! ```
//!
//! openraft is the only jump: what `raft` proposes comes back as calls of `storage` (append) and `machine` (apply).

pub mod cli;
pub mod command;
pub mod config;
pub mod digest;
pub mod dispatch;
pub mod export;
pub mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod guest;
pub mod inspect;
pub mod machine;
pub mod module;
#[cfg(feature = "figures")]
pub mod native;
pub mod net;
pub mod node;
pub mod pace;
pub mod proposal;
pub mod raft;
pub mod redis;
pub mod replay;
pub mod replies;
pub mod reply;
pub mod resp3;
pub mod seldom;
pub mod settings;
pub mod storage;
pub mod telemetry;
pub mod time;
pub mod type_config;
pub mod undelivered;
