use uhaha_guest::testing::Tester;

use super::*;

fn second(n: u64) -> u64 {
    n * 1_000_000_000
}

#[test]
fn keys_are_set_and_deleted() {
    let mut kvdb = Tester::<Database>::new();
    assert_eq!(kvdb.call("GET", &["a"]), Reply::Null);
    assert_eq!(kvdb.call("SET", &["a", "1"]), Reply::ok());
    assert_eq!(kvdb.call("SET", &["a", "2"]), Reply::ok());
    assert_eq!(kvdb.call_bytes("SET", &[b"\xff\r\n", b"\x00"]), Reply::ok());
    assert_eq!(kvdb.call("GET", &["a"]), Reply::from("2"));
    assert_eq!(kvdb.call_bytes("GET", &[b"\xff\r\n"]), Reply::Bulk(vec![0]));
    assert_eq!(kvdb.call("DBSIZE", &[]), Reply::Integer(2));
    assert_eq!(kvdb.call("DEL", &["a", "a", "b"]), Reply::Integer(1));
    assert_eq!(kvdb.call("DBSIZE", &[]), Reply::Integer(1));
    assert!(!kvdb.tick(), "nothing waits for time");
}

#[test]
fn an_expired_key_is_gone_before_and_after_the_tick() {
    let mut kvdb = Tester::<Database>::new();
    kvdb.set_time(second(100));
    kvdb.call("SET", &["a", "1", "EX", "10"]);
    kvdb.call("SET", &["b", "1", "ex", "0.5"]);
    kvdb.call("SET", &["c", "1"]);
    assert!(kvdb.tick());
    kvdb.set_time(second(105));
    assert_eq!(kvdb.call("GET", &["a"]), Reply::from("1"));
    assert_eq!(kvdb.call("GET", &["b"]), Reply::Null);
    let Reply::Array(keys) = kvdb.call("KEYS", &["*"]) else { panic!("an array") };
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&"a".into()) && keys.contains(&"c".into()));
    assert_eq!(kvdb.call("KEYS", &["[b-c]"]), Reply::Array(vec!["c".into()]));
    assert_eq!(kvdb.call("DBSIZE", &[]), Reply::Integer(2));
    assert_eq!(kvdb.call("DEL", &["b"]), Reply::Integer(0));
    assert!(kvdb.tick(), "a still waits");
    kvdb.set_time(second(111));
    assert!(!kvdb.tick());
    assert_eq!(kvdb.call("DBSIZE", &[]), Reply::Integer(1));
}

#[test]
fn a_new_value_forgets_the_old_expiry() {
    let mut kvdb = Tester::<Database>::new();
    kvdb.call("SET", &["a", "1", "EX", "1"]);
    kvdb.call("SET", &["a", "2"]);
    assert!(!kvdb.tick());
    kvdb.call("SET", &["b", "1", "EX", "1"]);
    kvdb.call("SET", &["b", "2", "EX", "100"]);
    kvdb.set_time(second(50));
    assert!(kvdb.tick());
    assert_eq!(kvdb.call("GET", &["a"]), Reply::from("2"));
    assert_eq!(kvdb.call("GET", &["b"]), Reply::from("2"));
    kvdb.call("DEL", &["b"]);
    assert!(!kvdb.tick());
}

#[test]
fn wrong_options_change_nothing() {
    let mut kvdb = Tester::<Database>::new();
    for options in [&["EX"][..], &["PX", "1"], &["EX", "1", "EX", "1"], &["EX", "1", "x"]] {
        let args = [&["a", "1"], options].concat();
        assert_eq!(kvdb.call("SET", &args), Error::SYNTAX.into(), "{options:?}");
    }
    assert_eq!(kvdb.call("SET", &["a", "1", "EX", "x"]), Error::NOT_A_FLOAT.into());
    for seconds in ["0", "-1", "inf", "1e300", "1e-30"] {
        let want = Error::new("invalid expire time in 'set' command");
        assert_eq!(kvdb.call("SET", &["a", "1", "EX", seconds]), want.into(), "{seconds}");
    }
    assert_eq!(kvdb.call("GET", &["a"]), Reply::Null);
    assert_eq!(kvdb.call("SET", &["a"]), Error::wrong_number_of_arguments("set").into());
    assert_eq!(kvdb.call("DEL", &[]), Error::wrong_number_of_arguments("del").into());
}

#[test]
fn what_was_saved_is_there_after_load() {
    let mut kvdb = Tester::<Database>::new();
    for i in 0..1000 {
        kvdb.call("SET", &[&format!("key:{i}"), "value"]);
    }
    kvdb.call("SET", &["key:7", "seven", "EX", "10"]);
    let saved = kvdb.save().expect("can be written");
    let mut other = Tester::<Database>::new();
    other.load(1, &saved).expect("can be read");
    assert_eq!(other.call("DBSIZE", &[]), Reply::Integer(1000));
    assert_eq!(other.call("GET", &["key:7"]), Reply::from("seven"));
    other.set_time(second(11));
    assert!(!other.tick());
    assert_eq!(other.call("DBSIZE", &[]), Reply::Integer(999));
    assert!(other.load(1, &saved[..saved.len() - 1]).is_err());
    assert!(other.load(2, &saved).is_err());
    assert_eq!(other.call("DBSIZE", &[]), Reply::Integer(999), "a failed load changes nothing");
}
