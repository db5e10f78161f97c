//! Reads leave no trace: a node that serves many ends with the state of those that serve none.

use uhaha_tests::Module;
use uhaha_tests::guarantees::reads_leave_no_trace;

/// Enough to meet a change of the state again and again; `cargo xtask figures reads` has more of them.
const READS: usize = 20_000;

#[test]
fn of_a_guest_that_writes_while_it_reads() {
    reads_leave_no_trace(Module::hostile(), &["INCR", "GROW", "RANDOM", "NOW"], &["DIRTY", "GET"], READS);
}

#[test]
fn of_a_guest_in_rust() {
    let writes = ["SET a 1", "SET b 2 EX 1000", "DEL a", "SET c xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"];
    reads_leave_no_trace(Module::kvdb(), &writes, &["GET b", "KEYS *", "DBSIZE", "GET nothing"], READS);
}

#[test]
fn of_a_guest_in_c() {
    reads_leave_no_trace(Module::ticket_in_c(), &["TICKET", "TICKET"], &["LAST", "LAST 3", "LAST 10"], READS);
}

#[test]
fn of_a_guest_in_javascript() {
    reads_leave_no_trace(Module::ticket_in_javascript(), &["TICKET", "TICKET"], &["LAST", "LAST 3", "LAST 10"], READS);
}

/// Its standard library opens streams in reads as well.
#[test]
fn of_a_guest_that_keeps_wasi_handles() {
    let reads = ["RETELL one", "RETELL another"];
    reads_leave_no_trace(Module::teller(), &["TELL one", "WAIT", "WARN two"], &reads, READS / 10);
}
