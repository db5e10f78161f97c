//! Whether reads leave a trace in what writes do: in their replies, in the fuel that they leave, in the state.

use super::*;

/// A guest, its writes, and the reads that come between them.
type Case = (&'static [u8], &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 5] = [
    (TICKET, &["TICKET"], &[]),
    (
        include_bytes!("../../../../examples/prebuilt/kvdb.wasm"),
        &["SET a 1", "SET b 2 EX 1.5", "SET a 3", "DEL a c", "SET d xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx EX 1e3", "DEL d"],
        &["GET b", "KEYS *", "DBSIZE", "GET nothing", "KEYS [ab]*"],
    ),
    (
        include_bytes!("../../../../examples/prebuilt/timeseries.wasm"),
        &["WRITE cpu now load=1.5", "WRITE cpu now load=0.1", "WRITE disk 5 free=7", "RETAIN 1h"],
        &["QUERY cpu 0 now all", "STATS"],
    ),
    (HOSTILE, &["INCR", "GROW", "RANDOM", "NOW"], &["DIRTY", "GET"]),
    (
        include_bytes!("../../../../examples/prebuilt/ticket_c.wasm"),
        &["TICKET", "TICKET"],
        &["LAST", "LAST 3", "LAST 100", "LAST many"],
    ),
];
const ROUNDS: usize = 20;

/// Where reads run.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Nowhere,
    OnAView,
    /// As no server may run them.
    OnTheWriter,
}

/// What the writes gave: replies, the fuel that each left, and the state at the end.
fn outcome((module, writes, reads): Case, how: Reads) -> (Vec<String>, Vec<u64>, Image) {
    let guest = load(module, Limits::default()).unwrap();
    let mut writer = guest.instantiate().unwrap();
    let mut reader = guest.instantiate().unwrap();
    writer.with_source(|source| {
        source.advance(1_700_000_000_000_000_000);
        source.reseed(7);
    });
    let (mut replies, mut fuel) = (Vec::new(), Vec::new());
    for write in (0..ROUNDS).flat_map(|_| writes) {
        replies.push(run_line(&guest, &mut writer, write));
        fuel.push(writer.fuel_left());
        writer.tick().unwrap();
        fuel.push(writer.fuel_left());
        for read in reads {
            match how {
                Reads::Nowhere => {}
                Reads::OnTheWriter => drop(run_line(&guest, &mut writer, read)),
                Reads::OnAView => {
                    if !reader.view(&mut writer).unwrap() {
                        reader = guest.instantiate().unwrap();
                        assert!(reader.view(&mut writer).unwrap());
                    }
                    run_line(&guest, &mut reader, read);
                }
            }
        }
    }
    (replies, fuel, writer.capture(Image::default()).unwrap())
}

fn run_line(guest: &Guest, instance: &mut Instance, line: &str) -> String {
    let mut words = line.split(' ');
    let command = position(guest, words.next().unwrap());
    let args: Vec<Bytes> = words.map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    instance.run(&[Call { command, args: &args }], &mut out, &mut ends).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn reads_on_a_view_change_no_reply_no_fuel_and_no_byte_of_writes() {
    for case in CASES {
        let (without, with) = (outcome(case, Reads::Nowhere), outcome(case, Reads::OnAView));
        assert_eq!(with.0, without.0, "{:?}", case.1);
        assert_eq!(with.1, without.1, "{:?}", case.1);
        assert!(with.2 == without.2, "{:?}: the states differ", case.1);
    }
}

/// Or the test above would show nothing.
#[test]
fn reads_on_the_writer_would_be_seen() {
    for case in [CASES[1], CASES[3], CASES[4]] {
        let (without, with) = (outcome(case, Reads::Nowhere), outcome(case, Reads::OnTheWriter));
        assert!(with != without, "{:?}", case.1);
    }
}
