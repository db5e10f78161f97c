//! What the attribute makes of a block, called as the server calls it.

use std::collections::BTreeMap;

use uhaha_guest::prelude::*;
use uhaha_guest::testing::Tester;
use uhaha_guest::{Argument, ArgumentType, CommandSpec, Kind, Machine, state};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    count: u64,
    values: BTreeMap<Bytes, Bytes>,
    deadline: Option<Time>,
}

/// The state of version 1.
#[derive(Serialize, Deserialize)]
struct Before {
    count: u32,
}

#[uhaha_guest::machine(name = "sample-1", version = "9.8", state_version = 3, init = Sample::first, migrate = Sample::from_before)]
impl Sample {
    /// Adds an amount
    /// to the count. More is not said.
    fn add(&mut self, amount: Option<u64>) -> Result<u64, Error> {
        self.count = self.count.checked_add(amount.unwrap_or(1)).ok_or("LIMIT it is full")?;
        Ok(self.count)
    }

    #[command(name = "S.SET", group = "values")]
    fn set(
        &mut self,
        key: Key<'_>,
        #[key] other: &str,
        value: Bytes,
        #[token = "EX"] _seconds: Option<f64>,
        #[token = "NX"] only_new: bool,
    ) -> (bool, usize) {
        let new = !self.values.contains_key(&*key);
        if new || !only_new {
            self.values.insert(Bytes::from(&*key), value);
        }
        (new, other.len())
    }

    fn many<'a>(&'a self, keys: &[Key<'a>]) -> Vec<Option<&'a Bytes>> {
        keys.iter().map(|key| self.values.get(&**key)).collect()
    }

    fn sum(&self, first: i32, rest: Rest<i64>) -> i64 {
        i64::from(first) + rest.iter().sum::<i64>()
    }

    fn join(&self, words: Vec<String>) -> String {
        words.join("-")
    }

    fn bytes(&self, one: &[u8], two: Vec<u8>) -> Vec<u8> {
        [one, &two].concat()
    }

    #[command(arity = -2)]
    fn free(&self, mut args: Args<'_>) -> Result<u64, Error> {
        let mut limit = 0;
        while !args.is_empty() {
            if args.token("LIMIT") {
                limit = args.value()?;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(limit)
    }

    fn nothing(&mut self) {
        log::info!("{} done", "nothing");
    }

    fn r#move(&self) -> Status<&'static str> {
        Status("MOVED ON")
    }

    fn time(&mut self) -> (u64, u64) {
        (now(), now())
    }

    fn last_time(&self) -> (u64, u64) {
        (now(), now())
    }

    fn draw(&mut self) -> u64 {
        random::u64()
    }

    fn peek(&self) -> u64 {
        random::u64()
    }

    fn nest(&self) -> Reply {
        Reply::Map(vec![(Reply::from("pi"), Reply::Double(3.25)), (Reply::Null, Reply::Array(vec![true.into()]))])
    }

    fn fault(&mut self) {
        self.count += 1;
        panic!("a fault of the guest");
    }

    fn wait(&mut self, seconds: u64) {
        self.deadline = Some(Time::now() + std::time::Duration::from_secs(seconds));
    }

    #[tick]
    fn look(&mut self) -> bool {
        self.deadline = self.deadline.filter(|deadline| *deadline > Time::now());
        self.deadline.is_some()
    }
}

impl Sample {
    fn first() -> Self {
        Sample { count: 10, values: BTreeMap::new(), deadline: None }
    }

    fn from_before(version: u32, bytes: &[u8]) -> Result<Self, Error> {
        match version {
            1 => Ok(Sample { count: state::decode::<Before>(bytes)?.count.into(), ..Sample::first() }),
            _ => Err(Error::new(format!("no state of version {version}"))),
        }
    }
}

fn spec(name: &str) -> &'static CommandSpec {
    Sample::COMMANDS.iter().find(|spec| spec.name == name).expect("declared")
}

fn argument(name: &'static str, argument_type: ArgumentType) -> Argument {
    Argument { name, argument_type, optional: false, multiple: false, token: "" }
}

#[test]
fn the_machine_says_what_it_is() {
    assert_eq!((Sample::NAME, Sample::VERSION, Sample::STATE_VERSION), ("sample-1", "9.8", 3));
    let add = spec("ADD");
    assert_eq!((add.kind, add.arity, add.summary, add.group), (Kind::Write, -1, "Adds an amount to the count.", ""));
    assert_eq!(add.arguments, [Argument { optional: true, ..argument("amount", ArgumentType::Integer) }]);
    let set = spec("S.SET");
    assert_eq!((set.arity, set.group), (-4, "values"));
    assert_eq!(
        set.arguments,
        [
            argument("key", ArgumentType::Key),
            argument("other", ArgumentType::Key),
            argument("value", ArgumentType::Text),
            Argument { optional: true, token: "EX", ..argument("seconds", ArgumentType::Double) },
            Argument { optional: true, token: "NX", ..argument("", ArgumentType::Text) },
        ]
    );
    let many = spec("MANY");
    assert_eq!((many.kind, many.arity), (Kind::Read, -2));
    assert_eq!(many.arguments, [Argument { multiple: true, ..argument("keys", ArgumentType::Key) }]);
    assert_eq!(spec("SUM").arity, -2);
    assert_eq!(spec("BYTES").arity, 3);
    assert_eq!(spec("FREE").arity, -2);
    assert_eq!(spec("MOVE").arity, 1);
    assert!(Sample::COMMANDS.iter().all(|spec| spec.name != "LOOK"), "the tick is no command");
}

#[test]
fn arguments_are_taken_by_their_types() {
    let mut t = Tester::<Sample>::new();
    assert_eq!(t.call("add", &[]), Reply::Integer(11));
    assert_eq!(t.call("ADD", &["5"]), Reply::Integer(16));
    assert_eq!(t.call("ADD", &["x"]), Error::NOT_AN_INTEGER.into());
    assert_eq!(t.call("ADD", &["1", "2"]), Error::wrong_number_of_arguments("ADD").into());
    assert_eq!(t.call("ADD", &["18446744073709551615"]), Reply::Error("LIMIT it is full".to_owned()));
    assert_eq!(t.call("SUM", &["1"]), Reply::Integer(1));
    assert_eq!(t.call("SUM", &["1", "2", "-4"]), Reply::Integer(-1));
    assert_eq!(t.call("SUM", &["1", "2", "x"]), Error::NOT_AN_INTEGER.into());
    assert_eq!(t.call("JOIN", &["a", "b"]), Reply::from("a-b"));
    assert_eq!(t.call("JOIN", &[]), Error::wrong_number_of_arguments("join").into());
    assert_eq!(t.call_bytes("JOIN", &[b"\xff"]), Error::NOT_UTF8.into());
    assert_eq!(t.call_bytes("BYTES", &[b"\xff", b"\x00"]), Reply::Bulk(vec![0xff, 0]));
    assert_eq!(t.call("FREE", &["limit", "3"]), Reply::Integer(3));
    assert_eq!(t.call("FREE", &["LIMIT"]), Error::SYNTAX.into());
    assert_eq!(t.call("FREE", &["x"]), Error::SYNTAX.into());
    assert_eq!(t.call("UNKNOWN", &[]), Reply::Error("ERR unknown command 'UNKNOWN'".to_owned()));
}

#[test]
fn options_come_in_any_order_and_once() {
    let mut t = Tester::<Sample>::new();
    let reply = |new: bool| Reply::Array(vec![new.into(), Reply::Integer(1)]);
    assert_eq!(t.call("S.SET", &["a", "b", "1"]), reply(true));
    assert_eq!(t.call("s.set", &["a", "b", "2", "nx", "EX", "1.5"]), reply(false));
    assert_eq!(t.call("S.SET", &["c", "b", "3", "EX", "2", "NX"]), reply(true));
    let values = vec![Reply::from("1"), Reply::Null, Reply::from("3")];
    assert_eq!(t.call("MANY", &["a", "b", "c"]), Reply::Array(values));
    for options in [&["EX"][..], &["NX", "NX"], &["EX", "1", "EX", "1"], &["XX"]] {
        assert_eq!(t.call("S.SET", &[&["a", "b", "9"], options].concat()), Error::SYNTAX.into(), "{options:?}");
    }
    assert_eq!(t.call("S.SET", &["a", "b", "9", "EX", "nan"]), Error::NOT_A_FLOAT.into());
}

#[test]
fn no_bytes_make_it_panic() {
    let mut t = Tester::<Sample>::new();
    let odd: [&[u8]; 8] = [b"", b"\xff", b"-", b"EX", b"NX", b"\r\n", &[0; 300], b"99999999999999999999999"];
    for spec in Sample::COMMANDS.iter().filter(|spec| spec.name != "FAULT") {
        for count in 0..6 {
            for shift in 0..odd.len() {
                let args: Vec<&[u8]> = (0..count).map(|i| odd[(i * 3 + shift) % odd.len()]).collect();
                t.call_bytes(spec.name, &args);
            }
        }
    }
}

#[test]
fn replies_are_of_the_methods_types() {
    let mut t = Tester::<Sample>::new();
    assert_eq!(t.call("NOTHING", &[]), Reply::ok());
    assert_eq!(t.log(), [(log::Level::Info, "nothing done".to_owned())]);
    assert_eq!(t.call("MOVE", &[]), Reply::Simple("MOVED ON".to_owned()));
    assert_eq!(t.call("NEST", &[]), t.machine().nest());
}

#[test]
fn time_passes_in_writes_only() {
    let mut t = Tester::<Sample>::new();
    let times = |a: i64, b: i64| Reply::Array(vec![a.into(), b.into()]);
    assert_eq!(t.call("TIME", &[]), times(1, 2));
    t.set_time(100);
    assert_eq!(t.call("LAST_TIME", &[]), times(100, 100));
    assert_eq!(t.call("TIME", &[]), times(101, 102));
    t.set_time(50);
    assert_eq!(t.call("LAST_TIME", &[]), times(102, 102));
}

#[test]
fn reads_draw_from_a_copy() {
    let mut t = Tester::<Sample>::new();
    t.seed(7);
    let peeked = t.call("PEEK", &[]);
    assert_eq!(t.call("PEEK", &[]), peeked);
    assert_eq!(t.call("DRAW", &[]), peeked);
    assert_ne!(t.call("DRAW", &[]), peeked);
    t.seed(7);
    assert_eq!(t.call("DRAW", &[]), peeked);
}

#[test]
fn the_tick_says_whether_something_waits() {
    let mut t = Tester::<Sample>::new();
    assert!(!t.tick());
    t.call("WAIT", &["10"]);
    assert!(t.tick());
    t.advance(std::time::Duration::from_secs(11));
    assert!(!t.tick());
}

#[test]
fn state_goes_over_and_older_state_is_migrated() {
    let mut t = Tester::<Sample>::new();
    t.call_bytes("S.SET", &[b"big", b"", &vec![b'x'; 3 << 20]]);
    t.call("ADD", &["32"]);
    let saved = t.save().expect("can be written");
    let mut other = Tester::<Sample>::new();
    other.load(3, &saved).expect("can be read");
    assert_eq!(other.machine(), t.machine());
    let before = postcard::to_stdvec(&Before { count: 7 }).expect("can be written");
    other.load(1, &before).expect("can be read");
    assert_eq!(other.machine(), &Sample { count: 7, ..Sample::first() });
    assert_eq!(other.load(2, &before), Err(Error::new("no state of version 2")));
    assert!(other.load(3, &saved[..9]).is_err());
    assert_eq!(other.machine().count, 7, "a failed load changes nothing");
}

/// A batch of commands by position.
fn batch(commands: &[(u32, &[&str])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let number = |number: usize| (number as u32).to_le_bytes();
    bytes.extend(number(commands.len()));
    for (command, args) in commands {
        bytes.extend(number(*command as usize));
        bytes.extend(number(args.len()));
        for arg in *args {
            bytes.extend(number(arg.len()));
            bytes.extend(arg.as_bytes());
        }
    }
    bytes
}

#[test]
fn a_batch_replies_in_resp3_by_command() {
    let mut t = Tester::<Sample>::new();
    let replies = t.call_batch(&batch(&[(0, &[]), (0, &["5"]), (0, &["x"]), (1, &["k", "o", "v"]), (99, &[])]));
    let mut want = 5u32.to_le_bytes().to_vec();
    for reply in [
        ":11\r\n",
        ":16\r\n",
        "-ERR value is not an integer or out of range\r\n",
        "*2\r\n#t\r\n:1\r\n",
        "-ERR no command at position 99\r\n",
    ] {
        want.extend((reply.len() as u32).to_le_bytes());
        want.extend(reply.as_bytes());
    }
    assert_eq!(replies, want);
    assert_eq!(t.call("ADD", &[]), Reply::Integer(17), "the batch had the same effect");
}

#[test]
fn a_malformed_batch_panics_and_reads_nothing_else() {
    let whole = batch(&[(0, &["5"])]);
    for length in 0..whole.len() {
        let part = whole[..length].to_vec();
        let result = std::panic::catch_unwind(move || Tester::<Sample>::new().call_batch(&part));
        assert!(result.is_err(), "{length} bytes");
    }
}

#[test]
#[should_panic(expected = "a fault of the guest")]
fn a_panic_goes_to_the_test() {
    Tester::<Sample>::new().call("FAULT", &[]);
}

#[test]
fn random_values_are_in_their_ranges() {
    let mut t = Tester::<Sample>::new();
    t.seed(1);
    let mut seen = [0; 6];
    for _ in 0..6000 {
        seen[random::range(0..6) as usize] += 1;
        assert!((0.0..1.0).contains(&random::f64()));
        assert!((u64::MAX - 3..u64::MAX).contains(&random::range(u64::MAX - 3..u64::MAX)));
    }
    assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    let mut values: Vec<u32> = (0..100).collect();
    random::shuffle(&mut values);
    assert_ne!(values, (0..100).collect::<Vec<_>>());
    values.sort_unstable();
    assert_eq!(values, (0..100).collect::<Vec<_>>());
    assert_eq!(random::bytes((1 << 20) + 3).len(), (1 << 20) + 3);
    for _ in 0..100 {
        let uuid = random::uuid_v4();
        let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(&uuid[14..15], "4", "the version in {uuid}");
        assert!("89ab".contains(&uuid[19..20]), "the variant in {uuid}");
    }
}
