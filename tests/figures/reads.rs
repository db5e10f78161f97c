//! Many reads on one node of three, for guests in all languages that there are examples of: the fuel of a write, and that
//! neither it nor the state has anything of the reads.

use std::time::Instant;
use uhaha_tests::guarantees::{Counted, images_are_enough, reads_leave_no_trace};
use uhaha_tests::{Module, Node};

const READS: usize = 100_000;
const WRITES: [&str; 2] = ["TICKET", "TICKET"];
const LAST: [&str; 3] = ["LAST", "LAST 3", "LAST 10"];

fn reads(what: &str, module: Module, writes: &[&str], reads_of: &[&str]) {
    let begun = Instant::now();
    let Counted { writes, reads, fuel } = reads_leave_no_trace(module, writes, reads_of, READS);
    let took = begun.elapsed();
    println!(
        "{what}: {reads} reads on one of three nodes, {writes} writes of {} fuel each: equal; {took:.1?}",
        fuel / writes as u64
    );
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn reads_of_rust() {
    let writes = ["SET a 1", "SET b 2 EX 1000", "DEL a", "SET c xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"];
    reads("Rust", Module::kvdb(), &writes, &["GET b", "KEYS *", "DBSIZE", "GET nothing"]);
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn reads_of_c() {
    reads("C", Module::ticket_in_c(), &WRITES, &LAST);
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn reads_of_javascript() {
    reads("JavaScript", Module::ticket_in_javascript(), &WRITES, &LAST);
}

/// Compiling it takes longer than the harness waits for a node.
fn python() -> Module {
    let module = Module::ticket_in_python();
    let node = Node::new(module.clone()).args(&["--init-run-quit"]);
    node.share_compiled_code();
    let begun = Instant::now();
    let ended = node.command().output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    println!("Python: compiled and started in {:.1?}", begun.elapsed());
    module
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn reads_of_python() {
    reads("Python", python(), &WRITES, &LAST);
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn images_of_python() {
    images_are_enough(python());
    println!("Python: restarted, joined and restored by images");
}
