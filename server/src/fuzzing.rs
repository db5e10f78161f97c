//! What a fuzzer calls: for each kind of bytes that comes from elsewhere, a function that takes any bytes for it and
//! panics when what must hold does not.
//!
//! A folder has the targets for what it reads in a module `fuzzing` of its own. `fuzz/` feeds them from libFuzzer; the
//! tests below feed them what is kept in `fuzz/seeds`: an example of each kind, and every input that broke something.

#[cfg(test)]
mod tests;
mod vocabulary;

pub use self::vocabulary::proposals;
pub use crate::cli::fuzzing::options;
pub use crate::dispatch::acl::fuzzing::users;
pub use crate::guest::fuzzing::modules;
pub use crate::machine::fuzzing::images;
pub use crate::net::peer::fuzzing::peers;
pub use crate::raft::fuzzing::messages;
pub use crate::redis::fuzzing::{replies, requests};
pub use crate::storage::fuzzing::{files, records};

pub type Target = fn(&[u8]);

/// All of them, by the names that their folders in `fuzz/` have.
pub const TARGETS: [(&str, Target); 11] = [
    ("files", files),
    ("images", images),
    ("messages", messages),
    ("modules", modules),
    ("options", options),
    ("peers", peers),
    ("proposals", proposals),
    ("records", records),
    ("replies", replies),
    ("requests", requests),
    ("users", users),
];

/// `bytes` in pieces whose sizes are those of `pattern`, again and again; 0 is one byte. In one piece without a pattern.
pub(crate) fn pieces<'a>(bytes: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = pattern.iter().map(|size| usize::from(*size).max(1)).cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = sizes.next().unwrap_or(rest.len()).min(rest.len());
        let (piece, left) = rest.split_at(size);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A directory that is gone with what is returned, in memory where there is such a place.
pub(crate) fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a directory can be made")
}
