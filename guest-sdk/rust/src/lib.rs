//! Write a replicated state machine for uhaha-server in Rust.
//!
//! A machine is a type that holds the whole state and an `impl` block with its commands. This one gives out
//! tickets, each greater than every ticket before, on a cluster that survives its nodes:
//!
//! ```
//! use uhaha_guest::prelude::*;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Ticket {
//!     last: u64,
//! }
//!
//! #[uhaha_guest::machine]
//! impl Ticket {
//!     /// Returns a new ticket, greater than every ticket before.
//!     fn ticket(&mut self) -> u64 {
//!         self.last += 1;
//!         self.last
//!     }
//! }
//!
//! let mut machine = uhaha_guest::testing::Tester::<Ticket>::new();
//! assert_eq!(machine.call("TICKET", &[]), Reply::Integer(1));
//! assert_eq!(machine.call("ticket", &[]), Reply::Integer(2));
//! ```
//!
//! In a library crate with `crate-type = ["cdylib", "rlib"]`, which also depends on `serde`, this is the whole guest:
//!
//! ```text
//! cargo build --release --target wasm32-unknown-unknown
//! uhaha-server --module target/wasm32-unknown-unknown/release/ticket.wasm
//! redis-cli -p 11001 TICKET
//! ```
//!
//! # Commands
//!
//! Every method in the block is a command, named as the method; clients may write it in any case. A method with
//! `&mut self` is a write: it goes through the log and runs once on every replica. A method with `&self` is a read.
//! Other functions belong in another `impl` block. The attribute [`machine`](macro@machine) describes the options.
//!
//! * Parameters are the command's arguments, by [type](FromArgs); [`Args`] is there for a syntax of the command's own.
//! * The return value is the reply, by [type](ToReply), or a `Result` of it with any error that becomes an [`Error`].
//! * An error does not undo what the command did before. A panic does: the state is then as before the command.
//!
//! # What a machine may do
//!
//! The same commands in the same order must leave the same state on every node. Take the time from [`now`] and chance
//! from [`random`]. The standard library's clocks trap in a guest; there are
//! no files, sockets or threads. Tell the server's log with [`mod@log`].
//!
//! # Tests
//!
//! [`testing::Tester`] runs a machine natively, with a clock and a seed that the test sets.
#![warn(missing_docs)]

// The attribute says `::uhaha_guest`, also in the tests of this crate.
extern crate self as uhaha_guest;

mod args;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod bytes;
mod call;
mod error;
pub mod log;
mod machine;
pub mod random;
mod reply;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

#[cfg(target_arch = "wasm32")]
use bindings as host;
#[cfg(not(target_arch = "wasm32"))]
use testing::host;

pub use crate::args::{Args, FromArg, FromArgs, FromToken, Key, Rest};
pub use crate::bytes::Bytes;
pub use crate::error::Error;
pub use crate::machine::{Argument, ArgumentType, CommandSpec, Kind, Machine};
#[doc(hidden)]
pub use crate::machine::{arity, check, no_migration, no_such_command};
pub use crate::reply::{IntoReply, OK, Reply, ReplyWriter, Status, ToReply, Verbatim};
pub use crate::time::{Time, now};
/// Makes the methods of an `impl` block the commands of a machine.
///
/// ```
/// use uhaha_guest::prelude::*;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cache(std::collections::BTreeMap<Bytes, Bytes>);
///
/// #[uhaha_guest::machine(name = "cache", version = "1.2.0", state_version = 1)]
/// impl Cache {
///     /// Sets a key.
///     #[command(group = "string")]
///     fn set(&mut self, #[key] key: Bytes, value: Bytes, #[token = "NX"] only_new: bool) -> bool {
///         let new = !self.0.contains_key(&key);
///         if new || !only_new {
///             self.0.insert(key, value);
///         }
///         new
///     }
///
///     /// Returns the value of a key.
///     fn get(&self, key: Key<'_>) -> Option<&Bytes> {
///         self.0.get(&*key)
///     }
///
///     /// Deletes keys.
///     #[command(name = "DEL")]
///     fn delete(&mut self, keys: &[Key<'_>]) -> usize {
///         keys.iter().filter(|key| self.0.remove(&***key).is_some()).count()
///     }
///
///     #[tick]
///     fn expire(&mut self) -> bool {
///         false
///     }
/// }
/// ```
///
/// On the block, all optional:
///
/// | option | default | |
/// |---|---|---|
/// | `name` | the crate's name | the application |
/// | `version` | the crate's version | |
/// | `state_version` | 1 | the version of what serde writes of the state |
/// | `init` | `Default::default` | a `fn() -> Self` that makes the first state |
/// | `migrate` | refuses | a `fn(u32, &[u8]) -> Result<Self, Error>` that reads an older state, with [`state::decode`] |
///
/// On a method:
///
/// * `#[command(name = "...", group = "...", arity = n)]`, where the arity follows from the parameters if not given
///   and the summary is the first sentence of the documentation;
/// * `#[tick]` on one method that is no command: it is called at intervals and returns whether something is still
///   waiting for time to pass (`()` for always). While it returns false an idle cluster writes nothing.
///
/// On a parameter:
///
/// * `#[key]` declares a key, as the type [`Key`] does;
/// * `#[token = "EX"]` makes it an option by word, after all other arguments and in any order: `Option<T>` for
///   `[EX seconds]`, `bool` for `[NX]`.
///
/// The state is kept in a static of the guest; in a crate with `forbid(unsafe_code)` the exports do not compile,
/// with `deny` they do.
pub use uhaha_guest_macros::machine;

/// What a guest usually needs.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Args, Bytes, Error, FromArg, Key, Machine as _, OK, Reply, ReplyWriter, Rest, Status, Time, ToReply, Verbatim,
        log, now, random,
    };
}
