//! Reads leave no trace: a node that serves many ends with the state of those that serve none.

use uhaha_tests::{Cluster, Module, Value, ok, wait};

/// Enough to meet a change of the state again and again; `UHAHA_TEST_READS` asks for another number.
const READS: usize = 20_000;
const ROUNDS: usize = 40;

fn reads() -> usize {
    std::env::var("UHAHA_TEST_READS").map_or(READS, |reads| reads.parse().unwrap())
}

/// Writes on the leader; after each round of them many reads on one follower, of what that one has.
#[track_caller]
fn leaves_no_trace(module: Module, writes: &[&str], reads_of: &[&str]) {
    let words = |line: &&str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let writes: Vec<Vec<String>> = writes.iter().map(words).collect();
    let all = reads();
    let reads: Vec<Vec<String>> = reads_of.iter().map(words).cycle().take(all / ROUNDS).collect();
    let cluster = Cluster::start(module, 3);
    let (leader, busy) = (cluster.leader(), cluster.follower());
    let (mut writer, mut reader) = (cluster.client(leader), cluster.client(busy));
    assert_eq!(reader.call(&["READONLY"]), ok());
    for _ in 0..ROUNDS {
        assert!(writer.pipeline(&writes).iter().all(|reply| !matches!(reply, Value::Error(_))));
        assert!(reader.pipeline(&reads).iter().all(|reply| !matches!(reply, Value::Error(_))));
    }
    // The mark of a snapshot makes everybody look at all of its state.
    let state = |position| {
        let info = cluster.client(position).call(&["RAFT", "INFO", "state_digest*"]);
        let fields = info.fields();
        (fields["state_digest_index"].to_owned(), fields["state_digest"].to_owned())
    };
    let (before, _) = state(leader);
    cluster.client(leader).call(&["RAFT", "SNAPSHOT", "NOW"]).fields();
    let states = wait::until("a mark that all have reached", || {
        writer.pipeline(&writes);
        let states = [0, 1, 2].map(state);
        (states[0].0 != before && states.iter().all(|other| other.0 == states[0].0)).then_some(states)
    });
    assert_eq!(states, [states[0].clone(), states[0].clone(), states[0].clone()]);
    let differences = |position| {
        let info = cluster.client(position).call(&["INFO", "machine"]);
        info.text().lines().any(|line| line == "machine_digest_differences:0")
    };
    assert!((0..3).all(differences));
}

#[test]
fn of_a_guest_that_writes_while_it_reads() {
    leaves_no_trace(Module::hostile(), &["INCR", "GROW", "RANDOM", "NOW"], &["DIRTY", "GET"]);
}

#[test]
fn of_a_guest_in_rust() {
    let writes = ["SET a 1", "SET b 2 EX 1000", "DEL a", "SET c xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"];
    leaves_no_trace(Module::kvdb(), &writes, &["GET b", "KEYS *", "DBSIZE", "GET nothing"]);
}

#[test]
fn of_a_guest_in_c() {
    leaves_no_trace(Module::ticket_in_c(), &["TICKET", "TICKET"], &["LAST", "LAST 3", "LAST 10"]);
}
