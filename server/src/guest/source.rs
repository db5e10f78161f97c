//! The time and the randomness that a guest sees: values that the log gave, never the host's own.

use rand_pcg::Lcg128Xsl64;
use rand_pcg::rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The generator's increment, fixed so that a seed alone says what follows.
const STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

/// What a guest's clock and generator will answer next. Part of the machine's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    now: u64,
    random: Lcg128Xsl64,
    /// In a read time stands still.
    frozen: bool,
}

impl Default for Source {
    /// What a guest sees while it is instantiated, before the first entry of the log.
    fn default() -> Source {
        Source { now: 0, random: generator(0), frozen: false }
    }
}

fn generator(seed: u64) -> Lcg128Xsl64 {
    Lcg128Xsl64::new(u128::from(seed), STREAM)
}

impl Source {
    /// The last time given out, or the time of the last entry if that is later.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Moves time to `stamp`; it never goes back.
    pub fn advance(&mut self, stamp: u64) {
        self.now = self.now.max(stamp);
    }

    pub fn reseed(&mut self, seed: u64) {
        self.random = generator(seed);
    }

    /// The copy for reads: the same time at every look, the same numbers as the next write would get.
    pub fn for_reads(&self) -> Source {
        Source { frozen: true, ..self.clone() }
    }

    pub(super) fn next_now(&mut self) -> u64 {
        if !self.frozen {
            self.now += 1;
        }
        self.now
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill_bytes(bytes);
    }
}

/// A source that the host functions and WASI's clocks of one instance share.
#[derive(Clone, Default)]
pub(super) struct SharedSource(Arc<Mutex<Source>>);

impl SharedSource {
    pub(super) fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_rises_with_every_look_and_stands_still_in_reads() {
        let mut source = Source::default();
        source.advance(100);
        assert_eq!((source.next_now(), source.next_now()), (101, 102));
        source.advance(50);
        assert_eq!(source.next_now(), 103);
        let mut read = source.for_reads();
        assert_eq!((read.next_now(), read.next_now()), (103, 103));
    }

    #[test]
    fn the_generator_is_pcg_xsl_rr_128_64() {
        let mut source = Source::default();
        source.reseed(42);
        let drawn: Vec<u64> = (0..3).map(|_| source.next_u64()).collect();
        // Computed with the reference recurrence: state = state * 0x2360ED051FC65DA44385DF649FCCF645 + increment.
        let increment = (STREAM << 1) | 1;
        let multiplier = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645_u128;
        let mut state = 42_u128.wrapping_add(increment).wrapping_mul(multiplier).wrapping_add(increment);
        let expected: Vec<u64> = (0..3)
            .map(|_| {
                state = state.wrapping_mul(multiplier).wrapping_add(increment);
                (((state >> 64) as u64) ^ state as u64).rotate_right((state >> 122) as u32)
            })
            .collect();
        assert_eq!(drawn, expected);
        let mut again = Source::default();
        again.reseed(42);
        assert_eq!(again.next_u64(), drawn[0]);
    }

    #[test]
    fn reads_do_not_advance_the_generator() {
        let mut source = Source::default();
        source.reseed(7);
        let mut read = source.for_reads();
        let first = read.next_u64();
        assert_ne!(first, read.next_u64());
        assert_eq!(source.next_u64(), first);
    }
}
