//! Random numbers that are the same on every replica: the log seeds the generator. They are not secret: whoever
//! can read the log can tell them.

use std::ops::Range;

use crate::host;

/// Any number.
pub fn u64() -> u64 {
    host::random_u64()
}

/// A number in `[0, 1)`, a multiple of 2⁻⁵³.
pub fn f64() -> f64 {
    (host::random_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A number of the range, each with the same chance.
///
/// # Panics
/// When the range is empty.
pub fn range(range: Range<u64>) -> u64 {
    assert!(range.start < range.end, "an empty range");
    let span = range.end - range.start;
    // The last incomplete round of the span is thrown away, or the low numbers would come more often.
    let limit = u64::MAX - u64::MAX % span;
    loop {
        let number = host::random_u64();
        if number < limit {
            return range.start + number % span;
        }
    }
}

/// So many bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    // What the host gives at once.
    const CALL_BYTES: usize = 1 << 20;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let call_bytes = CALL_BYTES.min(count - bytes.len());
        bytes.extend_from_slice(&host::random_bytes(call_bytes as u32));
    }
    bytes
}

/// Brings the values into any order, each with the same chance.
pub fn shuffle<T>(values: &mut [T]) {
    for last in (1..values.len()).rev() {
        values.swap(last, range(0..last as u64 + 1) as usize);
    }
}

/// A random UUID (version 4, variant 1), such as `8c2d6b0e-6a52-4d0b-9d3f-0f6a3f1b2c4d`.
pub fn uuid_v4() -> String {
    let high = host::random_u64() & !0xf000 | 0x4000;
    let low = host::random_u64() & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
