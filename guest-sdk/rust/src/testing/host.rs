//! What the server gives to a guest, for the machines of this thread.

use std::cell::RefCell;

use crate::log::Level;

struct Host {
    time: u64,
    reading: bool,
    random: Pcg,
    log: Vec<(Level, String)>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::new());
}

impl Host {
    fn new() -> Self {
        Host { time: 0, reading: false, random: Pcg::new(0), log: Vec::new() }
    }
}

pub(crate) fn now() -> u64 {
    HOST.with_borrow_mut(|host| {
        if !host.reading {
            host.time = host.time.saturating_add(1);
        }
        host.time
    })
}

pub(crate) fn random_u64() -> u64 {
    HOST.with_borrow_mut(|host| host.random.next())
}

pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    HOST.with_borrow_mut(|host| {
        let mut bytes = Vec::with_capacity(count as usize + 8);
        while bytes.len() < count as usize {
            bytes.extend_from_slice(&host.random.next().to_le_bytes());
        }
        bytes.truncate(count as usize);
        bytes
    })
}

pub(crate) fn log(level: Level, message: &str) {
    HOST.with_borrow_mut(|host| host.log.push((level, message.to_owned())));
}

pub(super) fn reset() {
    HOST.set(Host::new());
}

pub(super) fn time() -> u64 {
    HOST.with_borrow(|host| host.time)
}

pub(super) fn set_time(nanos: u64) {
    HOST.with_borrow_mut(|host| host.time = host.time.max(nanos));
}

pub(super) fn seed(seed: u64) {
    HOST.with_borrow_mut(|host| host.random = Pcg::new(seed));
}

pub(super) fn take_log() -> Vec<(Level, String)> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.log))
}

pub(super) fn write<R>(call: impl FnOnce() -> R) -> R {
    HOST.with_borrow_mut(|host| host.reading = false);
    call()
}

/// Reads see the time of the last write and draw from a copy of the generator.
pub(super) fn read<R>(call: impl FnOnce() -> R) -> R {
    let random = HOST.with_borrow_mut(|host| {
        host.reading = true;
        host.random.clone()
    });
    let result = call();
    HOST.with_borrow_mut(|host| {
        host.reading = false;
        host.random = random;
    });
    result
}

/// PCG XSL RR 128/64, seeded as the server seeds it.
#[derive(Clone)]
struct Pcg(u128);

impl Pcg {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
    const INCREMENT: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96 << 1 | 1;

    fn new(seed: u64) -> Self {
        let mut pcg = Pcg(u128::from(seed).wrapping_add(Self::INCREMENT));
        pcg.step();
        pcg
    }

    fn step(&mut self) {
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
    }

    fn next(&mut self) -> u64 {
        self.step();
        let folded = (self.0 >> 64) as u64 ^ self.0 as u64;
        folded.rotate_right((self.0 >> 122) as u32)
    }
}

#[cfg(test)]
mod tests {
    use rand_pcg::Lcg128Xsl64;
    use rand_pcg::rand_core::Rng;

    use super::*;

    #[test]
    fn the_generator_is_the_servers() {
        for seed in [0, 1, 7, u64::MAX] {
            let mut server = Lcg128Xsl64::new(u128::from(seed), 0xa02bdbf7bb3c0a7ac28fa16a64abf96);
            let mut ours = Pcg::new(seed);
            for _ in 0..1000 {
                assert_eq!(ours.next(), server.next_u64());
            }
        }
    }

    #[test]
    fn bytes_are_the_servers() {
        for count in [0, 1, 7, 8, 9, 100] {
            let mut server = Lcg128Xsl64::new(5, 0xa02bdbf7bb3c0a7ac28fa16a64abf96);
            let mut want = vec![0; count as usize];
            server.fill_bytes(&mut want);
            seed(5);
            assert_eq!(random_bytes(count), want);
            assert_eq!(random_u64(), server.next_u64(), "after {count} bytes");
        }
    }
}
