//! One run: start, faults, an end without faults, judgement, report.

use crate::arguments::Arguments;
use crate::client::{Client, STOP};
use crate::cluster::Cluster;
use crate::faults;
use crate::nemesis::Nemesis;
use crate::os::{self, HostId};
use crate::pipelines::Pipelines;
use crate::plan::{Guest, Mutation, Plan};
use crate::reader::Reader;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::{checks, history, node, reader, telemetry, verdict};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

const SECOND: u64 = 1_000_000_000;
/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 60;

/// Memory, if there is a file system of it: nothing here needs to outlive the run.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("simulation-");
        builder
    };
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir())
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let started = std::time::Instant::now();
    os::raise_file_limit();
    let scratch = match scratch() {
        Ok(scratch) => scratch,
        Err(error) => {
            eprintln!("no directory for the simulated disks: {error}");
            return ExitCode::from(2);
        }
    };
    let disks = scratch.path().to_owned();
    os::end_on_signals(move || drop(std::fs::remove_dir_all(disks)));
    // Paths are relative, so that no run has others than the one before.
    let events = arguments.events.as_ref().map(File::create).transpose();
    let entered = std::env::set_current_dir(scratch.path());
    let (events, ()) = match (events, entered) {
        (Ok(events), Ok(())) => (events, ()),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("the run cannot begin: {error}");
            return ExitCode::from(2);
        }
    };
    telemetry::init();
    let plan = Plan::new(arguments);
    let mut trace = Trace::default();
    if let Some(file) = events {
        trace.write_every_event(file);
    }
    os::begin(arguments.seed, trace);
    os::say(&format!("seed {}: {plan}", arguments.seed));
    simulate(arguments, &plan);
    let failed = report(arguments, &plan, scratch, started);
    os::leave(i32::from(failed))
}

/// A computer with an empty disk, for a node.
fn add_node(seed: u64, name: &str, plan: &Plan) -> HostId {
    let host = os::add_host(seed, name);
    os::enter(|os| {
        let root = PathBuf::from(format!("{name}/{}", os.hosts[host].life));
        os.disks.add(host, root, plan.sync_ns);
    });
    host
}

fn simulate(arguments: &Arguments, plan: &Plan) {
    let seed = arguments.seed;
    os::enter(|os| {
        os.disks.ignores_file_syncs = plan.mutation == Some(Mutation::FileSync);
        os.disks.ignores_directory_syncs = plan.mutation == Some(Mutation::DirectorySync);
    });
    let nodes: Vec<HostId> =
        (1..=plan.founders + plan.spare).map(|number| add_node(seed, &format!("n{number}"), plan)).collect();
    let addresses: Vec<String> = nodes.iter().map(|host| node::address(*host)).collect();
    let mut nemesis = Nemesis::new(seed, arguments.only.as_deref());
    let stranger = add_node(seed, "stranger", plan);
    let mut cluster = Cluster::start(plan, nodes, stranger);
    for number in 1..=plan.clients {
        let host = os::add_host(seed, &format!("c{number}"));
        let rng = Rng::new(seed, &format!("client {number}"));
        let (guest, think_ns, nodes) = (plan.guest, plan.think_ns, addresses.clone());
        Client { number, guest, nodes, think_ns, rng }.start(host);
    }
    if plan.guest == Guest::Kvdb {
        let (rng, think_ns, nodes) = (Rng::new(seed, "reader"), plan.think_ns, addresses.clone());
        Reader { nodes, think_ns, rng }.start(os::add_host(seed, "reader"));
        let (rng, think_ns, nodes) = (Rng::new(seed, "pipelines"), plan.think_ns, addresses);
        Pipelines { nodes, think_ns, rng }.start(os::add_host(seed, "pipelines"));
    }
    let begin = os::now();
    nemesis.rage(&mut cluster, begin + plan.faults_ns);
    // Clients see a while without faults too.
    os::sleep(3 * SECOND);
    STOP.store(true, Ordering::Relaxed);
    cluster.settle();
    cluster.look_at_stranger();
    cluster.ask_for_the_last();
    cluster.end();
    checks::judge(plan.guest, &history::all());
    reader::judge(&history::all());
    os::enter(|os| {
        faults::count_many("(segments lost or held)", os.network.lost);
        faults::count_many("(connections reset)", os.network.resets);
        faults::count_many("(unsynced writes lost)", os.disks.lost_writes);
        faults::count_many("(writes torn)", os.disks.torn_writes);
        faults::count_many("(names lost)", os.disks.lost_names);
        for (kind, many) in std::mem::take(&mut os.disks.failed) {
            faults::count_many(kind, many);
        }
    });
}

/// Prints what came of it; returns whether anything is wrong.
fn report(arguments: &Arguments, plan: &Plan, scratch: tempfile::TempDir, started: std::time::Instant) -> bool {
    let findings = verdict::findings();
    let history = history::all();
    os::enter(|os| {
        os.trace.flush();
        let simulated = os.scheduler.now() as f64 / 1e9;
        let (hash, events, switches) = (os.trace.hash(), os.trace.events(), os.scheduler.switches());
        let failed = !findings.is_empty();
        let file = arguments.trace.clone().or_else(|| {
            failed.then(|| std::env::temp_dir().join(format!("uhaha-simulation-{}.trace", arguments.seed)))
        });
        if failed {
            let lines = os.trace.lines();
            let skipped = lines.len().saturating_sub(LINES_SHOWN);
            lines.skip(skipped).for_each(|line| println!("{line}"));
        }
        if let Some(file) = &file {
            let written = File::create(file).and_then(|file| {
                let mut file = std::io::BufWriter::new(file);
                os.trace.lines().try_for_each(|line| writeln!(file, "{line}"))?;
                file.flush()
            });
            match written {
                Ok(()) if failed => println!("the whole trace: {}", file.display()),
                Ok(()) => {}
                Err(error) => println!("the trace cannot be written: {error}"),
            }
        }
        for finding in &findings {
            println!("VIOLATION {} at {:.6} s: {}", finding.check, finding.at_ns as f64 / 1e9, finding.what);
        }
        for (kind, many) in faults::counts() {
            println!("fault {many} {kind}");
        }
        println!("plan {plan}");
        println!(
            "seed {} {}: {} operations, {simulated:.1} s simulated, {switches} switches, {events} events, hash {hash:016x}",
            arguments.seed,
            if failed { "FAILED" } else { "passed" },
            history.len(),
        );
        println!("took {:.1} s", started.elapsed().as_secs_f64());
        if failed {
            println!("again: cargo xtask sim --seed {}", arguments.seed);
        }
        drop(scratch);
        failed
    })
}
