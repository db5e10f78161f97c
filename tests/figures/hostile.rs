//! Clients that mean harm, at full size, with a bystander beside them: the table of `docs/src/operating/hostile.md`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use uhaha_tests::hostile::{self, MIB, Scale};

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn hostile_clients() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let only = std::env::var("UHAHA_HOSTILE").ok();
    println!(
        "| what was sent | what came back | RSS before, max, after (MiB) | others' p99 before, during (ms) | ratio | longest |"
    );
    println!("|---|---|---:|---:|---:|---:|");
    let mut unbounded = Vec::new();
    for attack in hostile::all().filter(|attack| only.as_ref().is_none_or(|only| attack.name.contains(only))) {
        let outcome = attack.run(Scale::Full);
        let [before, peak, after] = [outcome.before, outcome.peak, outcome.after].map(|bytes| bytes / MIB);
        let (waits, before_it) = (outcome.waits_during, outcome.waits_before);
        let [p99_before, p99_during, longest] =
            [before_it.p99, waits.p99, waits.longest].map(|wait| wait.as_secs_f64() * 1e3);
        let ratio = p99_during / p99_before;
        println!(
            "| {} | {} | {before}, {peak}, {after} | {p99_before:.2}, {p99_during:.2} | {ratio:.1} | {longest:.0} |",
            attack.name, outcome.came_back
        );
        if peak.saturating_sub(before) > attack.growth_max_mib {
            unbounded.push(format!("{}: more than {} MiB", attack.name, attack.growth_max_mib));
        }
        assert!(waits.calls > 0, "{}: others were not served", attack.name);
    }
    assert!(unbounded.is_empty(), "{unbounded:?}");
}
