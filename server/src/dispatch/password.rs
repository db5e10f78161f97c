//! The password of clients, kept and compared as a digest.

use sha2::{Digest, Sha256};
use std::fmt;

/// Never holds the text, so that neither a log line nor a core file can show it.
#[derive(Clone)]
pub struct Password([u8; 32]);

impl Password {
    pub fn new(text: &str) -> Password {
        Password(Sha256::digest(text).into())
    }

    /// Takes the same time whatever is wrong: digests have one length, and every byte of them is looked at.
    pub(super) fn matches(&self, offered: &[u8]) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered).into();
        let differing = self.0.iter().zip(offered).fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::Password;

    #[test]
    fn matches_itself_alone_and_shows_nothing() {
        let password = Password::new("secret");
        assert!(password.matches(b"secret"));
        for other in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!password.matches(other));
        }
        assert_eq!(format!("{password:?}"), "Password");
    }
}
