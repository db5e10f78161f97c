//! `cargo xtask bench`: the server beside redis-server and etcd, on one machine, one disk and with one promise, that an
//! answered write is on disk. They take turns, so that what else the machine does meets all of them.

mod chart;
mod compare;
mod etcd;
mod growth;
mod load;
mod machine;
mod process;
mod report;
mod resp;
mod restart;
mod service;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use load::{Ask, Cell, Load};
use report::{Measurement, Report, Round, Row};
use service::Service;
use workload::{Peer, Workload};

const USAGE: &str = "\
Usage: cargo xtask bench [options]
       cargo xtask bench --compare A.json B.json

Measures the server beside redis-server (appendonly yes, appendfsync always) and etcd, and prints Markdown tables.

  --server PATH   the server to measure [default: builds the release profile]
  --rounds N      how often each cell is measured; medians are printed [default: 5]
  --quick         one shorter round and fewer keys, to see whether it works
  --only PART     ticket, set, get, payload, mix, cluster, etcd or restart; native or growth, which are measured on
                  request alone
  --json FILE     writes all that was measured
  --chart FILE    writes an SVG of the rates in parts of the peers'
  --compare A B   of two such JSON files, what has changed from the first to the second
  --help          this";

const RESTART: &str = "restart";
const GROWTH: &str = "growth";
const ROUNDS_MAX: usize = 1000;

struct Options {
    server: Option<PathBuf>,
    rounds: usize,
    quick: bool,
    only: Option<String>,
    json: Option<PathBuf>,
    chart: Option<PathBuf>,
    compare: Option<[PathBuf; 2]>,
}

impl Options {
    /// `None` if help was asked for.
    fn parse(args: &[&str]) -> Result<Option<Options>> {
        let mut options =
            Options { server: None, rounds: 5, quick: false, only: None, json: None, chart: None, compare: None };
        let mut rounds = None;
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (arg, None),
            };
            let mut value = || value.or_else(|| args.next()).with_context(|| format!("{name} needs a value"));
            match name {
                "--server" => options.server = Some(PathBuf::from(value()?)),
                "--rounds" => {
                    let count = value()?.parse().ok().filter(|count| (1..=ROUNDS_MAX).contains(count));
                    rounds = Some(count.with_context(|| format!("--rounds is a count from 1 to {ROUNDS_MAX}"))?);
                }
                "--quick" => options.quick = true,
                "--only" => {
                    let part = value()?;
                    ensure!(
                        [RESTART, GROWTH].contains(&part)
                            || Workload::all().iter().any(|workload| workload.part == part),
                        "--only is ticket, set, get, payload, mix, cluster, etcd, restart, native or growth"
                    );
                    options.only = Some(part.to_owned());
                }
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--chart" => options.chart = Some(PathBuf::from(value()?)),
                "--compare" => {
                    let first = PathBuf::from(value()?);
                    let second = args.next().context("--compare needs two files")?;
                    options.compare = Some([first, PathBuf::from(second)]);
                }
                "-h" | "--help" => return Ok(None),
                _ => bail!("no such option: {arg}\n\n{USAGE}"),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { options.rounds });
        Ok(Some(options))
    }

    fn wants(&self, part: &str) -> bool {
        // One takes another build, and one as long as all others.
        let on_request = [workload::NATIVE, GROWTH].contains(&part);
        self.only.as_ref().map_or(!on_request, |only| only == part)
    }

    /// How long one run should take. Less says little: connecting and the first syncs weigh too much.
    fn run_time(&self) -> Duration {
        if self.quick { Duration::from_millis(500) } else { Duration::from_secs(2) }
    }
}

/// `cargo xtask bench`
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let Some(options) = Options::parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if let Some([before, after]) = &options.compare {
        print!("{}", compare::compare(&Report::read(before)?, &Report::read(after)?));
        return Ok(());
    }
    let workloads: Vec<Workload> =
        Workload::all().into_iter().filter(|workload| options.wants(workload.part)).collect();
    // Before a build of minutes, not after it.
    let versions = versions(&workloads, options.wants(GROWTH))?;
    // On the disk of the build and not in a temporary folder, which is often in memory, where syncing costs nothing.
    let parent = crate::guests::root().join("target/bench");
    fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
    let native = parent.join("native");
    if options.wants(workload::NATIVE) {
        // Out of the way of the server, which then takes its place.
        fs::copy(build_server(&["--features", "figures"])?, &native).context("keeping a build")?;
    }
    let server = match &options.server {
        Some(server) => server.clone(),
        None => build_server(&[])?,
    };
    ensure!(server.is_file(), "no server at {}", server.display());
    let programs = Programs { server: &server, native: &native };
    let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;

    let mut report = Report::new(machine::describe(dir.path(), &versions)?, commit());
    println!("{}, {}; {}\n", report.machine, report.date, report.server);
    for workload in &workloads {
        let dir = dir.path().join("services");
        let remarks = measure(&options, programs, &dir, workload, &mut report)?;
        println!("{}{remarks}", report.table(&workload.title));
        // A full disk would be a failure of this program alone.
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        // What was measured is not lost with what comes.
        options.json.as_ref().map_or(Ok(()), |path| report.write(path))?;
    }
    if options.wants(RESTART) {
        restart::run(&server, &dir.path().join(RESTART), if options.quick { 100_000 } else { 1_000_000 })?;
    }
    if options.wants(GROWTH) {
        growth::run(&server, &dir.path().join(GROWTH), &options)?;
    }
    if let Some(path) = &options.chart {
        fs::write(path, chart::chart(&report)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The commit of the sources, as far as git knows it.
fn commit() -> String {
    let described =
        Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(crate::guests::root()).output();
    match described {
        Ok(output) if output.status.success() => {
            format!("commit {}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => "an unknown commit".to_owned(),
    }
}

/// The versions of the programs that the workloads need, and growth.
fn versions(workloads: &[Workload], growth: bool) -> Result<String> {
    let mut programs = Vec::new();
    if growth || !workloads.is_empty() {
        programs.extend(["redis-server", "redis-benchmark"]);
    }
    if workloads.iter().any(|workload| workload.peer == Peer::Etcd) {
        programs.push("etcd");
    }
    let mut versions = Vec::new();
    for program in programs {
        let output = match Command::new(program).arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{program} is not installed; in Debian: apt-get install redis-server redis-tools etcd-server")
            }
            output => output.with_context(|| format!("running {program}"))?,
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix("v=").unwrap_or(word);
            word.starts_with(|first: char| first.is_ascii_digit()).then(|| word.to_owned())
        });
        versions.push(format!("{program} {}", version.as_deref().unwrap_or("of unknown version")));
    }
    Ok(versions.join(", "))
}

/// What is built by us and measured.
#[derive(Clone, Copy)]
struct Programs<'a> {
    server: &'a Path,
    /// The one that may leave out the guest and the log.
    native: &'a Path,
}

fn build_server(features: &[&str]) -> Result<PathBuf> {
    let root = crate::guests::root();
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(dir)?,
        None => root.join("target"),
    };
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release", "--package", "uhaha-server"]).args(features);
    cargo.arg("--target-dir").arg(&target).current_dir(&root);
    ensure!(cargo.status()?.success(), "the server does not build");
    Ok(target.join("release/uhaha-server"))
}

/// Measures all cells of a workload. Returns what may explain a number.
fn measure(
    options: &Options,
    programs: Programs<'_>,
    dir: &Path,
    workload: &Workload,
    report: &mut Report,
) -> Result<String> {
    let ours = Service::ours(programs.server, workload.module, workload.nodes, &dir.join("ours"))?;
    let peer = match workload.peer {
        Peer::Native(what) => Service::native(programs.native, what, workload.module, &dir.join("native"))?,
        Peer::Redis => Service::redis(&dir.join("redis"))?,
        Peer::Etcd => Service::etcd(workload.nodes, &dir.join("etcd"))?,
    };
    if let Some(keys) = workload.keys.filter(|_| workload.filled) {
        resp::fill(ours.leader().port(), keys, 'a').context("filling the server")?;
        resp::fill(peer.leader().port(), keys, 'a').context("filling the peer")?;
    }
    let load = Load { dir, keys: workload.keys, run_time: options.run_time() };
    let [our_words, their_words] =
        [&workload.ours, &workload.theirs].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
    let asked = [(&ours, workload.ask(&our_words, false)), (&peer, workload.ask(&their_words, true))];
    for cell in workload.cells.iter().copied() {
        let mut counts = Vec::new();
        for (service, ask) in asked {
            counts.push(load.calibrate(service.leader(), cell, ask)?);
        }
        let mut rounds = [Vec::new(), Vec::new()];
        for round in 0..options.rounds {
            // Who is first changes: what one leaves to the disk to do meets the other.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for which in order {
                let (service, ask) = asked[which];
                rounds[which].push(run_round(&load, service, cell, ask, counts[which])?);
            }
        }
        let names = [ours.name, peer.name].map(str::to_owned);
        let servers = names.into_iter().zip(rounds).map(|(name, rounds)| Measurement { name, rounds }).collect();
        let row = Row { workload: workload.title.clone(), cell: cell.to_string(), servers };
        eprintln!("{}: {}", workload.title, row.line());
        report.rows.push(row);
    }
    ours.remarks()
}

fn run_round(load: &Load<'_>, service: &Service, cell: Cell, ask: Ask<'_>, count: u64) -> Result<Round> {
    let (before, written_before) = (service.usage()?, machine::written(load.dir));
    let measured = load.run(service.leader(), cell, ask, count)?;
    let (after, written) = (service.usage()?, machine::written(load.dir));
    Ok(Round {
        rate: measured.rate,
        p50: Some(measured.p50),
        p99: Some(measured.p99),
        p999: Some(measured.p999),
        cpu: (after.cpu.saturating_sub(before.cpu)).as_secs_f64() * 1e6 / count as f64,
        written: written_before.zip(written).map(|(before, after)| after.saturating_sub(before) as f64 / count as f64),
        resident: after.resident,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_both_forms() {
        let options = Options::parse(&["--server=a", "--quick", "--only", "get"]).unwrap().unwrap();
        assert_eq!(options.server, Some(PathBuf::from("a")));
        assert_eq!(options.rounds, 1);
        assert!(options.wants("get") && !options.wants("set"));
        let all = Options::parse(&[]).unwrap().unwrap();
        assert!(all.wants("get") && !all.wants(GROWTH) && !all.wants(workload::NATIVE));
        assert_eq!(Options::parse(&["--rounds", "5", "--quick"]).unwrap().unwrap().rounds, 5);
        let options = Options::parse(&["--compare", "a.json", "b.json"]).unwrap().unwrap();
        assert_eq!(options.compare, Some(["a.json", "b.json"].map(PathBuf::from)));
        assert!(Options::parse(&["--compare", "a.json"]).is_err());
        assert!(Options::parse(&["--rounds", "0"]).is_err());
        assert!(Options::parse(&["--only"]).is_err());
        assert!(Options::parse(&["--only", "everything"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
        assert!(Options::parse(&["--help"]).unwrap().is_none());
    }
}
