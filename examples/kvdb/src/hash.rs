//! A hash for keys that is quick and the same on every machine.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps of keys. The standard hasher is as steady in a guest, but slower.
pub(crate) type Build = BuildHasherDefault<KeyHasher>;

/// Multiplies and rotates eight bytes at a time. It does not withstand keys chosen to collide: whoever may write
/// here can spend the machine's time in simpler ways.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl KeyHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }

    /// The map takes the place from the low bits and a tag from the high ones; a product mixes only upwards.
    fn finish(&self) -> u64 {
        let folded = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        folded ^ folded >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(Build::default().hash_one(b"key:1".as_slice()), 10_693_382_270_816_347_982);
    }

    #[test]
    fn keys_that_are_alike_spread() {
        let hash = |i: u32| Build::default().hash_one(format!("key:{i:012}").as_bytes());
        let low: HashSet<_> = (0..65_536).map(|i| hash(i) & 0xffff).collect();
        let high: HashSet<_> = (0..65_536).map(|i| hash(i) >> 57).collect();
        // Chance alone would leave 1 - 1/e of the places taken.
        assert!(low.len() > 35_000, "{} of 65536 places", low.len());
        assert_eq!(high.len(), 128);
    }
}
