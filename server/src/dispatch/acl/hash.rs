//! Passwords as they are kept: never as text.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, password_hash};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, OnceLock};

#[derive(Clone)]
pub(super) enum Stored {
    /// Fast: for secrets that no one could guess, and for `--auth`, which stands in the clear where it is configured.
    Sha256([u8; 32]),
    /// Slow, for what people think up.
    Argon2 {
        /// In the PHC string format, with a salt.
        hash: Arc<str>,
        /// The digest of hash and password once that was right, so that who knows it need not wait behind those who
        /// guess. Clones share it.
        known: Arc<OnceLock<[u8; 32]>>,
    },
}

/// The hash of a password for the file of users.
pub fn hash_password(password: &str) -> Result<String, password_hash::Error> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}

impl Stored {
    pub(super) fn of_text(text: &str) -> Stored {
        Stored::Sha256(Sha256::digest(text).into())
    }

    /// From 64 hex digits.
    pub(super) fn sha256(hex: &str) -> Option<Stored> {
        let mut digest = [0; 32];
        let digits = hex.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        Some(Stored::Sha256(digest))
    }

    /// From `$argon2id$…`.
    pub(super) fn argon2(text: &str) -> Option<Stored> {
        let is_argon2 = text.starts_with("$argon2");
        let valid = is_argon2 && PasswordHash::new(text).is_ok();
        valid.then(|| Stored::Argon2 { hash: text.into(), known: Arc::default() })
    }

    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Stored::Argon2 { .. })
    }

    /// Whether it is known without a slow check that it matches. Takes the same time whatever is wrong.
    pub(super) fn matches_at_once(&self, offered: &[u8]) -> bool {
        match self {
            Stored::Sha256(ours) => same(ours, &Sha256::digest(offered).into()),
            Stored::Argon2 { hash, known } => {
                known.get().is_some_and(|ours| same(ours, &Stored::known_digest(hash, offered)))
            }
        }
    }

    /// Takes the same time whatever is wrong.
    pub(super) fn matches(&self, offered: &[u8]) -> bool {
        let Stored::Argon2 { hash, known } = self else { return self.matches_at_once(offered) };
        let right = PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(offered, &hash).is_ok());
        if right {
            known.get_or_init(|| Stored::known_digest(hash, offered));
        }
        right
    }

    fn known_digest(hash: &str, password: &[u8]) -> [u8; 32] {
        // The hash has a length of its own format and a salt, so nothing else gives the same bytes.
        Sha256::new().chain_update(hash).chain_update([0]).chain_update(password).finalize().into()
    }
}

/// In constant time.
fn same(ours: &[u8; 32], theirs: &[u8; 32]) -> bool {
    let differing = ours.iter().zip(theirs).fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs));
    std::hint::black_box(differing) == 0
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_itself_alone_and_shows_nothing() {
        let argon2 = Stored::argon2(&hash_password("secret").unwrap()).unwrap();
        assert!(!argon2.matches_at_once(b"secret") && !argon2.matches(b"wrong") && !argon2.matches_at_once(b"wrong"));
        let clone = argon2.clone();
        assert!(argon2.matches(b"secret") && clone.matches_at_once(b"secret"));
        assert!(!argon2.matches_at_once(b"wrong"));
        let kept = [Stored::of_text("secret"), Stored::argon2(&hash_password("secret").unwrap()).unwrap()];
        for stored in kept {
            assert!(stored.matches(b"secret"));
            for other in [&b""[..], b"secre", b"secrets", b"Secret"] {
                assert!(!stored.matches(other));
            }
            assert_eq!(format!("{stored:?}"), "Stored");
        }
    }
}
