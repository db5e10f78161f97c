use std::time::Duration;

use uhaha_guest::testing::Tester;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Tester<Database> {
    let mut tester = Tester::new();
    tester.set_time(seconds * 1_000_000_000);
    tester
}

fn list(lines: &[&str]) -> Reply {
    Reply::Array(lines.iter().copied().map(Reply::from).collect())
}

#[test]
fn points_are_found_by_their_time() {
    let mut series = at(1_000_000);
    for (time, fields) in [("30", "v=3"), ("10", "v=1"), ("20", "v=2"), ("20", "v=2"), ("20", "w=2")] {
        assert_eq!(series.call("WRITE", &["cpu", time, fields]), Reply::ok());
    }
    let all = ["cpu 10 v=1", "cpu 20 v=2", "cpu 20 w=2", "cpu 30 v=3"];
    assert_eq!(series.call("QUERY", &["cpu", "0", "now", "all"]), list(&all));
    assert_eq!(series.call("QUERY", &["cpu", "10", "20", "all"]), list(&all[..3]));
    assert_eq!(series.call("QUERY", &["cpu", "11", "30", "2"]), list(&all[1..3]));
    assert_eq!(series.call("QUERY", &["cpu", "30", "10", "all"]), list(&[]));
    assert_eq!(series.call("QUERY", &["mem", "0", "now", "18446744073709551615"]), list(&[]));
}

#[test]
fn times_can_be_said_from_now() {
    let mut series = at(1_000_000);
    series.call("WRITE", &["cpu", "-10m", "v=1"]);
    series.call("WRITE", &["cpu", "now", "v=2"]);
    let recent = series.call("QUERY", &["cpu", "-5m", "now", "all"]);
    assert_eq!(recent, list(&["cpu 1000000000000002 v=2"]));
    let Reply::Array(both) = series.call("QUERY", &["cpu", "-1h", "1h", "all"]) else { panic!("an array") };
    assert_eq!(both.len(), 2);
    // Long before the epoch is the epoch.
    assert_eq!(series.call("WRITE", &["old", "-100000h", "v=1"]), Reply::ok());
    assert_eq!(series.call("QUERY", &["old", "0", "0", "all"]), list(&["old 0 v=1"]));
}

#[test]
fn what_is_too_old_is_dropped() {
    let mut series = at(1_000_000);
    assert!(!series.tick(), "nothing waits");
    assert_eq!(series.call("RETAIN", &[]), Reply::from("168h0m0s"));
    assert_eq!(series.call("RETAIN", &["2h"]), Reply::ok());
    assert_eq!(series.call("RETAIN", &[]), Reply::from("2h0m0s"));
    series.call("WRITE", &["cpu", "now", "v=1"]);
    series.call("WRITE", &["mem", "now", "v=1"]);
    series.advance(HOUR);
    series.call("WRITE", &["cpu", "now", "v=2"]);
    assert!(series.tick());
    series.advance(HOUR + HOUR / 2);
    assert!(series.tick());
    let want = [
        ("num_measurements", "1"),
        ("num_points", "1"),
        ("retain", "2h0m0s"),
        ("total_dels", "2"),
        ("total_sets", "3"),
    ];
    let want = want.map(|(name, value)| (Reply::from(name), Reply::from(value)));
    assert_eq!(series.call("STATS", &[]), Reply::Map(want.to_vec()));
    series.advance(HOUR);
    assert!(!series.tick());
}

#[test]
fn an_older_point_moves_what_the_tick_looks_at() {
    let mut series = at(1_000_000);
    series.call("RETAIN", &["2h"]);
    series.call("WRITE", &["cpu", "now", "v=1"]);
    series.call("WRITE", &["cpu", "-3h", "v=0"]);
    assert!(series.tick());
    assert_eq!(series.call("QUERY", &["cpu", "0", "now", "all"]), list(&["cpu 1000000000000001 v=1"]));
}

#[test]
fn wrong_arguments_are_refused() {
    let mut series = at(0);
    for args in [["a b", "now", "v=1"], ["a", "now", "v=1 w=2"], ["", "now", "v=1"], ["a", "soon", "v=1"]] {
        assert_eq!(series.call("WRITE", &args), Error::SYNTAX.into(), "{args:?}");
    }
    assert_eq!(series.call("QUERY", &["a", "0", "now", "some"]), Error::NOT_AN_INTEGER.into());
    assert_eq!(series.call("RETAIN", &["-1h"]), Error::SYNTAX.into());
    assert_eq!(series.call_bytes("WRITE", &[b"\xff", b"now", b"v=1"]), Error::NOT_UTF8.into());
    assert!(!series.tick(), "nothing was written");
}

#[test]
fn what_was_saved_is_there_after_load() {
    let mut series = at(1_000_000);
    series.call("RETAIN", &["1h"]);
    series.call("WRITE", &["cpu", "now", "v=1"]);
    let saved = series.save().expect("can be written");
    let stats = series.call("STATS", &[]);
    let mut other = at(1_000_000);
    other.load(1, &saved).expect("can be read");
    assert_eq!(other.call("STATS", &[]), stats);
}
