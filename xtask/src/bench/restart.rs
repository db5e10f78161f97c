//! A million keys: how long they take to set, to snapshot beside a writer, and to be back after a stop and a kill.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::machine;
use super::process::Server;
use super::report::grouped;
use super::resp::{self, Client};

const MODULE: &str = "builtin:kvdb";
/// How long the writer runs alone before the snapshot, to know its usual gaps.
const ALONE: Duration = Duration::from_secs(1);

/// `cargo xtask bench --only restart`
pub(super) fn run(program: &Path, dir: &Path, keys: u32) -> Result<()> {
    println!("## Snapshot and restart, kvdb with {} keys of 32 bytes\n", grouped(f64::from(keys)));
    println!("| what | how long, how much |\n|---|---|");
    let server = Server::uhaha(program, MODULE, dir)?;
    println!("| an empty node, resident | {} |", server.memory()?);
    // Beneath the table, which they would break.
    let mut warnings = String::new();

    fill(&server, keys, 'a', "all SETs, one connection")?;
    println!("| then resident | {} |", server.memory()?);

    let snapshot = snapshot_beside_a_writer(&server).context("the snapshot beside a writer")?;
    println!("| `RAFT SNAPSHOT NOW` beside a writer | {}, {} bytes |", seconds(snapshot.elapsed), snapshot.size);
    println!("| longest gap of the writer before, in {} | {} |", seconds(ALONE), millis(snapshot.gap_before));
    println!("| longest gap of the writer during the snapshot | {} |", millis(snapshot.gap_during));
    println!("| then resident | {} |", server.memory()?);
    warnings += &server.warnings();

    println!("| SIGTERM until it has ended | {} |", seconds(server.stop()?));
    let server = restarted(program, dir, keys, 'a', "restart, from the snapshot")?;

    // The same keys: what is in the log after the snapshot is as much as before.
    fill(&server, keys, 'b', "all SETs again")?;
    println!("| then resident | {} |", server.memory()?);
    warnings += &server.warnings();
    server.kill()?;
    let server = restarted(program, dir, keys, 'b', "restart after `kill -9`, from the snapshot and the log")?;
    println!("\nAt the end: load average {}.", machine::load_average()?);
    println!("\nIts log at that restart:\n");
    for line in server.log().lines().filter(|line| line.contains("replay") || line.contains(" ready")) {
        println!("    {line}");
    }
    println!("{warnings}{}", server.warnings());
    server.stop()?;
    Ok(())
}

fn fill(server: &Server, keys: u32, filling: char, name: &str) -> Result<()> {
    let filled = resp::fill(server.port(), keys, filling).with_context(|| format!("{name}; {}", server.log_tail()))?;
    let rate = grouped(f64::from(keys) / filled.elapsed.as_secs_f64());
    println!("| {name} | {}, {rate}/s, longest silence {} |", seconds(filled.elapsed), millis(filled.silence));
    check(server, keys, filling)
}

/// Whether all is there that was answered.
fn check(server: &Server, keys: u32, filling: char) -> Result<()> {
    let mut client = Client::connect(server.port())?;
    let size = client.text(&["DBSIZE"])?;
    ensure!(size == keys.to_string(), "DBSIZE is {size} and should be {keys}; {}", server.log_tail());
    for index in [1, keys / 2, keys - 1] {
        let value = client.text(&["GET", &resp::key(index)])?;
        ensure!(value == resp::value(index, filling), "key {index} has the value {value:?}; {}", server.log_tail());
    }
    Ok(())
}

fn restarted(program: &Path, dir: &Path, keys: u32, filling: char, name: &str) -> Result<Server> {
    let began = Instant::now();
    let server = Server::uhaha(program, MODULE, dir)?;
    let answered = began.elapsed();
    check(&server, keys, filling)?;
    println!("| {name} | PING after {}, DBSIZE right after {} |", seconds(answered), seconds(began.elapsed()));
    println!("| then resident | {} |", server.memory()?);
    Ok(server)
}

struct Snapshot {
    elapsed: Duration,
    size: String,
    gap_before: Duration,
    gap_during: Duration,
}

/// One write, from when to when.
type Write = (Instant, Instant);

fn snapshot_beside_a_writer(server: &Server) -> Result<Snapshot> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(server.port(), &done));
        let snapshot = (|| {
            let mut client = Client::connect(server.port())?;
            thread::sleep(ALONE);
            let began = Instant::now();
            let reply = client.text(&["RAFT", "SNAPSHOT", "NOW"])?;
            anyhow::Ok((began, Instant::now(), reply))
        })();
        // Also after an error: the scope waits for the writer.
        done.store(true, Ordering::Relaxed);
        let writes = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        let (began, ended, reply) = snapshot?;
        let mut fields = reply.lines();
        let size = fields.find(|field| *field == "size").and_then(|_| fields.next()).context("no size in the reply")?;
        Ok(Snapshot {
            elapsed: ended - began,
            size: size.parse().map(grouped)?,
            gap_before: longest(writes.iter().filter(|(_, answered)| *answered <= began)),
            gap_during: longest(writes.iter().filter(|(sent, answered)| *answered > began && *sent < ended)),
        })
    })
}

/// Sets one key that is there, to the value that it has, one command at a time.
fn write_until(port: u16, done: &AtomicBool) -> Result<Vec<Write>> {
    let mut client = Client::connect(port)?;
    let mut writes = Vec::new();
    let value = resp::value(0, 'a');
    while !done.load(Ordering::Relaxed) {
        let sent = Instant::now();
        client.text(&["SET", &resp::key(0), &value])?;
        writes.push((sent, Instant::now()));
    }
    Ok(writes)
}

fn longest<'a>(writes: impl Iterator<Item = &'a Write>) -> Duration {
    writes.map(|(sent, answered)| *answered - *sent).max().unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
