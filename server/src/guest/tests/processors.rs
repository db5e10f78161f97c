//! Whether code for another processor computes the same: to the bit, and for the same fuel.

use super::*;
use crate::guest::engine::Code;

const GUESTS: [(&[u8], &[&str]); 4] = [
    (include_bytes!("../../../../tests/guests/numbers.wat"), &["FLOAT", "SIMD", "FLOAT", "SIMD"]),
    (TICKET, &["TICKET", "TICKET"]),
    (
        include_bytes!("../../../../examples/prebuilt/kvdb.wasm"),
        &["SET a 1", "SET b 2 EX 1.5", "SET c 3", "GET b", "KEYS *", "DEL a c", "SET d x EX 1e3", "DBSIZE"],
    ),
    (
        include_bytes!("../../../../examples/prebuilt/timeseries.wasm"),
        &[
            "WRITE cpu now load=1.5",
            "WRITE cpu now load=0.1",
            "WRITE disk 5 free=7",
            "QUERY cpu 0 now all",
            "RETAIN 1h",
            "STATS",
        ],
    ),
];

/// What running a guest's commands gives: replies, the fuel that each left, and the state.
fn outcome(code: Code, module: &[u8], lines: &[&str]) -> (Vec<String>, Vec<u64>, Image) {
    let cache = tempfile::tempdir().unwrap();
    let guest = Guest::load_as(code, module, Limits::default(), cache.path()).unwrap();
    let mut instance = guest.instantiate().unwrap();
    instance.with_source(|source| {
        source.advance(1_700_000_000_000_000_000);
        source.reseed(7);
    });
    let (mut replies, mut fuel) = (Vec::new(), Vec::new());
    for line in lines {
        let mut words = line.split(' ');
        let command = position(&guest, words.next().unwrap());
        let args: Vec<Bytes> = words.map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        instance.run(&[Call { command, args: &args }], &mut out, &mut ends).unwrap();
        replies.push(String::from_utf8(out).unwrap());
        fuel.push(instance.fuel_left());
        instance.tick().unwrap();
        fuel.push(instance.fuel_left());
    }
    (replies, fuel, instance.capture(Image::default()).unwrap())
}

#[test]
#[cfg(target_arch = "x86_64")]
fn other_processors_and_other_optimizations_change_no_reply_no_fuel_and_no_byte() {
    const BASELINE: Option<&str> = Some("x86_64-unknown-linux-gnu");
    for (module, lines) in GUESTS {
        let best = outcome(Code::BEST, module, lines);
        assert!(best.0.iter().all(|reply| !reply.starts_with('-')), "{:?}", best.0);
        for optimized in [true, false] {
            let code = Code { target: BASELINE, optimized, ..Code::BEST };
            let other = outcome(code, module, lines);
            assert_eq!(other.0, best.0, "{code:?}");
            assert_eq!(other.1, best.1, "{code:?}");
            assert!(other.2 == best.2, "{code:?}: the states of {lines:?} differ");
        }
    }
}
