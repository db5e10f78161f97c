use super::*;
use fastrand::Rng;

const STEPS_MAX: u64 = 1_000_000;

fn verdict<M: Model>(history: &[Operation<M>]) -> &'static str {
    match check(history, STEPS_MAX) {
        Verdict::Linearizable => "linearizable",
        Verdict::Violation(_) => "violation",
        Verdict::Undecided { .. } => "undecided",
    }
}

fn returned<M: Model>(client: usize, called: u64, at: u64, input: M::Input, output: M::Output) -> Operation<M> {
    Operation { client, input, called, outcome: Outcome::Returned { output, at } }
}

fn unknown<M: Model>(client: usize, called: u64, input: M::Input) -> Operation<M> {
    Operation { client, input, called, outcome: Outcome::Unknown }
}

fn refused<M: Model>(client: usize, called: u64, input: M::Input) -> Operation<M> {
    Operation { client, input, called, outcome: Outcome::Refused }
}

fn write(client: usize, called: u64, at: u64, value: u64) -> Operation<Register> {
    returned(client, called, at, RegisterInput::Write(value), RegisterOutput::Written)
}

fn read(client: usize, called: u64, at: u64, value: impl Into<Option<u64>>) -> Operation<Register> {
    returned(client, called, at, RegisterInput::Read, RegisterOutput::Value(value.into()))
}

fn ticket(client: usize, called: u64, at: u64, number: u64) -> Operation<Counter> {
    returned(client, called, at, Counter::NEXT, number)
}

fn set(client: usize, called: u64, at: u64, key: &str, value: &str) -> Operation<Kvdb> {
    returned(client, called, at, KvdbInput::Set(key.into(), value.into()), KvdbOutput::Ok)
}

fn get(client: usize, called: u64, at: u64, key: &str, value: Option<&str>) -> Operation<Kvdb> {
    returned(client, called, at, KvdbInput::Get(key.into()), KvdbOutput::Value(value.map(str::to_owned)))
}

fn del(client: usize, called: u64, at: u64, key: &str, count: i64) -> Operation<Kvdb> {
    returned(client, called, at, KvdbInput::Del(key.into()), KvdbOutput::Deleted(count))
}

#[test]
fn operations_at_the_same_time_may_be_in_any_order() {
    assert_eq!(verdict::<Register>(&[]), "linearizable");
    assert_eq!(verdict(&[read(1, 0, 1, None), write(1, 2, 3, 1), read(2, 4, 5, 1)]), "linearizable");
    for value in [None, Some(1), Some(2)] {
        assert_eq!(verdict(&[write(1, 0, 10, 1), write(2, 1, 9, 2), read(3, 2, 8, value)]), "linearizable");
    }
    assert_eq!(verdict(&[ticket(1, 0, 10, 2), ticket(2, 1, 9, 3), ticket(3, 2, 8, 1)]), "linearizable");
}

#[test]
fn finds_a_stale_read() {
    assert_eq!(verdict(&[write(1, 0, 1, 1), write(1, 2, 3, 2), read(2, 4, 5, 1)]), "violation");
    assert_eq!(verdict(&[write(1, 0, 1, 1), read(2, 2, 3, None)]), "violation");
    // Whoever has read the new value has shown that it is there.
    assert_eq!(verdict(&[write(1, 0, 9, 1), read(2, 1, 2, 1), read(3, 3, 4, None)]), "violation");
    assert_eq!(verdict(&[set(1, 0, 1, "a", "1"), del(1, 2, 3, "a", 1), get(2, 4, 5, "a", Some("1"))]), "violation");
}

#[test]
fn finds_a_lost_update() {
    assert_eq!(verdict(&[ticket(1, 0, 1, 1), ticket(2, 2, 3, 3)]), "violation");
    assert_eq!(verdict(&[set(1, 0, 1, "a", "1"), get(2, 2, 3, "a", None)]), "violation");
    assert_eq!(verdict(&[set(1, 0, 1, "a", "1"), del(2, 2, 3, "a", 0)]), "violation");
}

#[test]
fn finds_a_duplicate() {
    assert_eq!(verdict(&[ticket(1, 0, 5, 1), ticket(2, 0, 5, 1)]), "violation");
    // One command that was run twice.
    assert_eq!(verdict(&[ticket(1, 0, 1, 2)]), "violation");
    assert_eq!(verdict(&[set(1, 0, 1, "a", "1"), del(1, 2, 9, "a", 1), del(2, 3, 8, "a", 1)]), "violation");
}

#[test]
fn finds_acknowledgements_out_of_order() {
    assert_eq!(verdict(&[ticket(1, 0, 1, 2), ticket(2, 2, 3, 1)]), "violation");
    assert_eq!(verdict(&[write(1, 0, 1, 1), write(2, 2, 3, 2), read(1, 4, 5, 2), read(1, 6, 7, 1)]), "violation");
}

#[test]
fn finds_a_read_from_the_future() {
    assert_eq!(verdict(&[read(1, 0, 1, 7), write(2, 2, 3, 7)]), "violation");
    assert_eq!(verdict(&[get(1, 0, 1, "a", Some("7"))]), "violation");
    let unknown_write = unknown(2, 2, RegisterInput::Write(7));
    assert_eq!(verdict(&[read(1, 0, 1, 7), unknown_write]), "violation");
}

#[test]
fn an_unknown_outcome_may_come_true_later_or_never_and_once() {
    let late = || unknown(1, 0, RegisterInput::Write(1));
    assert_eq!(verdict(&[late(), read(2, 5, 6, None)]), "linearizable");
    assert_eq!(verdict(&[late(), read(2, 5, 6, None), read(2, 7, 8, 1)]), "linearizable");
    assert_eq!(verdict(&[late(), write(2, 1, 2, 2), read(2, 3, 4, 2), read(2, 5, 6, 1)]), "linearizable");
    let twice = [late(), read(2, 1, 2, 1), write(2, 3, 4, 2), read(2, 5, 6, 1)];
    assert_eq!(verdict(&twice), "violation");
    assert_eq!(verdict(&[unknown(1, 0, Counter::NEXT), ticket(2, 1, 2, 2)]), "linearizable");
    assert_eq!(verdict(&[unknown(1, 0, Counter::NEXT), ticket(2, 1, 2, 3)]), "violation");
    assert_eq!(verdict(&[unknown(1, 3, Counter::NEXT), ticket(2, 1, 2, 2)]), "violation");
}

#[test]
fn what_was_refused_is_not_there() {
    assert_eq!(verdict(&[refused(1, 0, RegisterInput::Write(1)), read(2, 5, 6, None)]), "linearizable");
    assert_eq!(verdict(&[refused(1, 0, RegisterInput::Write(1)), read(2, 5, 6, 1)]), "violation");
}

#[test]
fn keys_do_not_see_each_other() {
    let one = [set(1, 0, 1, "a", "1"), set(1, 2, 3, "b", "2"), get(2, 4, 5, "a", Some("1"))];
    assert_eq!(verdict(&one), "linearizable");
    let other = [set(1, 0, 1, "a", "1"), set(1, 2, 3, "b", "2"), get(2, 4, 5, "a", Some("2"))];
    let Verdict::Violation(violation) = check(&other, STEPS_MAX) else { panic!("b's value is not a's") };
    assert_eq!((violation.part.as_str(), violation.operations.len()), ("\"a\"", 2));
}

/// What clients of a correct system may see: each operation takes effect at a moment between call and return; some
/// replies are lost, and of those some take effect later.
fn correct<M: Model>(
    seed: u64,
    clients: usize,
    operations: usize,
    unknown_percent: u8,
    input: impl Fn(&mut Rng) -> M::Input,
) -> Vec<Operation<M>> {
    let mut rng = Rng::with_seed(seed);
    let mut free = vec![0; clients];
    let mut pending: Vec<(u64, usize)> = Vec::new();
    let mut history: Vec<Operation<M>> = Vec::new();
    for _ in 0..operations {
        let client = rng.usize(..clients);
        let called = free[client] + rng.u64(1..10);
        let at = called + rng.u64(1..30);
        free[client] = at;
        let is_known = rng.u8(..100) >= unknown_percent;
        let moment = match is_known {
            true => Some(rng.u64(called..=at)),
            false => rng.bool().then(|| called + rng.u64(..200)),
        };
        pending.extend(moment.map(|moment| (moment, history.len())));
        let (input, output) = (input(&mut rng), M::step(&M::initial(), &input(&mut rng)).1);
        let outcome = if is_known { Outcome::Returned { output, at } } else { Outcome::Unknown };
        history.push(Operation { client, input, called, outcome });
    }
    pending.sort();
    let mut states: BTreeMap<M::Part, M::State> = BTreeMap::new();
    for (_, position) in pending {
        let input = history[position].input.clone();
        let state = states.entry(M::part(&input)).or_insert_with(M::initial);
        let (next, reply) = M::step(state, &input);
        *state = next;
        if let Outcome::Returned { output, .. } = &mut history[position].outcome {
            *output = reply;
        }
    }
    history
}

fn register_input(rng: &mut Rng) -> RegisterInput {
    if rng.bool() { RegisterInput::Read } else { RegisterInput::Write(rng.u64(..4)) }
}

fn kvdb_input(rng: &mut Rng) -> KvdbInput {
    let key = format!("key-{}", rng.u8(..8));
    match rng.u8(..10) {
        0..4 => KvdbInput::Get(key),
        4..9 => KvdbInput::Set(key, rng.u32(..).to_string()),
        _ => KvdbInput::Del(key),
    }
}

/// Every order is tried, with every selection of those of unknown outcome.
fn by_force<M: Model>(history: &[Operation<M>]) -> bool {
    fn from<M: Model>(history: &[Operation<M>], done: &mut Vec<bool>, state: &M::State) -> bool {
        let owed =
            |position: &usize| matches!(history[*position].outcome, Outcome::Returned { .. }) && !done[*position];
        let returns = (0..history.len()).filter(owed).map(|position| match history[position].outcome {
            Outcome::Returned { at, .. } => at,
            _ => u64::MAX,
        });
        let Some(first_return) = returns.min() else { return true };
        for position in 0..history.len() {
            let operation = &history[position];
            if done[position] || operation.outcome == Outcome::Refused || operation.called > first_return {
                continue;
            }
            let (next, reply) = M::step(state, &operation.input);
            if matches!(&operation.outcome, Outcome::Returned { output, .. } if *output != reply) {
                continue;
            }
            done[position] = true;
            let found = from(history, done, &next);
            done[position] = false;
            if found {
                return true;
            }
        }
        false
    }
    from(history, &mut vec![false; history.len()], &M::initial())
}

#[test]
fn it_agrees_with_a_search_by_force_on_thousands_of_small_histories() {
    let mut counts = [0; 2];
    for seed in 0..3000 {
        let mut history: Vec<Operation<Register>> = correct(seed, 3, 8, 20, register_input);
        let mut rng = Rng::with_seed(!seed);
        if seed % 3 > 0 {
            let position = rng.usize(..history.len());
            if let Outcome::Returned { output: RegisterOutput::Value(value), .. } = &mut history[position].outcome {
                *value = Some(rng.u64(..4));
            }
        }
        let expected = by_force(&history);
        counts[usize::from(expected)] += 1;
        assert_eq!(verdict(&history), if expected { "linearizable" } else { "violation" }, "{seed}: {history:#?}");
    }
    assert!(counts.iter().all(|count| *count > 300), "both happen often: {counts:?}");
}

#[test]
fn long_histories_with_many_unknown_outcomes_are_decided() {
    let tickets: Vec<Operation<Counter>> = correct(1, 20, 10_000, 5, |_| Counter::NEXT);
    assert_eq!(verdict(&tickets), "linearizable");
    let keys: Vec<Operation<Kvdb>> = correct(2, 20, 10_000, 5, kvdb_input);
    assert_eq!(verdict(&keys), "linearizable");
}

#[test]
fn two_replies_that_changed_places_are_found_in_a_long_history() {
    let mut history: Vec<Operation<Counter>> = correct(3, 20, 1000, 2, |_| Counter::NEXT);
    let of_client =
        (900..1000).filter(|at| history[*at].client == 3 && matches!(history[*at].outcome, Outcome::Returned { .. }));
    let [early, late] = of_client.take(2).collect::<Vec<_>>()[..] else { panic!("the client has two replies") };
    let outcomes = (history[early].outcome.clone(), history[late].outcome.clone());
    let (Outcome::Returned { output: one, at: first }, Outcome::Returned { output: other, at: second }) = outcomes
    else {
        unreachable!("both returned")
    };
    history[early].outcome = Outcome::Returned { output: other, at: first };
    history[late].outcome = Outcome::Returned { output: one, at: second };
    assert_eq!(verdict(&history), "violation");
}

#[test]
fn what_is_not_decided_in_time_is_not_fine() {
    // All at once, and the only read is of a value that nobody wrote.
    let mut history: Vec<Operation<Register>> = (0..40).map(|client| write(client, 0, 100, client as u64)).collect();
    history.push(read(40, 0, 100, 77));
    let Verdict::Undecided { steps, .. } = check(&history, 10_000) else { panic!("it takes 2^40 steps") };
    assert_eq!(steps, 10_000);
}

#[test]
fn a_violation_is_drawn() {
    let history = [
        write(1, 0, 10, 1),
        write(2, 15, 40, 2),
        read(3, 20, 30, 2),
        unknown(4, 25, RegisterInput::Write(9)),
        read(3, 50, 60, 1),
    ];
    let Verdict::Violation(violation) = check(&history, STEPS_MAX) else { panic!("the last read is stale") };
    assert_eq!(
        violation.to_string(),
        "not linearizable, part (): after 3 of 5 operations the state is Some(2), in which client 3's read would give 2
numbers are places in the longest order that was found, ✗ cannot be given one

      1  client 1   ├┤          write 1 → done
      2  client 2     ├───┤     write 2 → done
      3  client 3      ├─┤      read → 2
         client 4       ├────┄  write 9 → ?
      ✗  client 3          ├┤   read → 1
"
    );
    let svg = violation.svg();
    assert_eq!(svg.matches("<rect").count(), 1 + 5);
    assert!(svg.contains("client 3") && svg.contains("read → 1"));
}
