//! What must be true after a run: the history is linearizable, and the logs of all nodes give the same digests.

use crate::fleet::Fleet;
use crate::load::Work;
use std::fs;
use std::path::Path;
use uhaha_tests::Node;
use uhaha_tests::linearizability::{Operation, Outcome, Verdict, check};

/// Far more than a correct history takes: about two an operation.
const STEPS_MAX: u64 = 20_000_000;

pub(crate) fn history<M: Work>(operations: &[Operation<M>], dir: &Path) {
    match check(operations, STEPS_MAX) {
        Verdict::Linearizable => {}
        Verdict::Undecided { part, steps } => panic!("the history of {part} is not decided in {steps} steps"),
        Verdict::Violation(violation) => {
            fs::write(dir.join("violation.svg"), violation.svg()).unwrap();
            panic!("{violation}");
        }
    }
}

/// One operation a line, in the order of calls: from, to, client, what it was.
pub(crate) fn write_history<M: Work>(operations: &[Operation<M>], dir: &Path) {
    let mut lines: Vec<(u64, String)> = operations
        .iter()
        .map(|operation| {
            let to = match operation.outcome {
                Outcome::Returned { at, .. } => at.to_string(),
                Outcome::Unknown | Outcome::Refused => "-".to_owned(),
            };
            (operation.called, format!("{}\t{to}\t{}\t{operation}\n", operation.called, operation.client))
        })
        .collect();
    lines.sort();
    let text: String = lines.into_iter().map(|(_, line)| line).collect();
    if let Err(error) = fs::write(dir.join("history.tsv"), text) {
        println!("the history was not kept: {error}");
    }
}

/// Ends all nodes and has `uhaha-server replay` say what their logs up to `index` come to.
pub(crate) fn replays(fleet: &mut Fleet, index: u64) {
    // Not one after the other as told: those that are left would go on, and a snapshot could take `index` from the log.
    for position in fleet.running() {
        fleet.kill(position);
    }
    let digests = |position: usize| {
        let data = fleet.members[position].node.data();
        let ended = Node::bare()
            .args(&["replay", "--data", data.to_str().unwrap(), "--until", &index.to_string()])
            .run_to_end();
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let of = |name: &str| {
            let line = ended.stdout.lines().find_map(|line| line.trim_start().strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name:?} is not in {}", ended.stdout)).trim().to_owned()
        };
        [of("running digest"), of("state digest")]
    };
    let first = digests(0);
    for position in 1..fleet.members.len() {
        assert_eq!(digests(position), first, "the replays of nodes 1 and {} differ", position + 1);
    }
}
