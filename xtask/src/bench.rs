//! Measures the server beside redis-server with its append-only file synced always: the same disk, the same driver
//! (redis-benchmark), cell by cell in turn, so that what else the machine does hits both.

use crate::guests;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections and pipeline depth of each cell.
const CELLS: [(u32, u32); 6] = [(1, 1), (1, 64), (50, 1), (50, 16), (50, 64), (256, 1)];
const START_TIMEOUT: Duration = Duration::from_secs(30);
const KEYS: &str = "100000";
const VALUE: &str = "01234567890123456789012345678901";

/// What is measured: the guest, our command and the one of Redis.
struct Load {
    module: &'static str,
    ours: &'static [&'static str],
    redis: &'static [&'static str],
}

const LOADS: [Load; 3] = [
    Load { module: "ticket", ours: &["TICKET"], redis: &["INCR", "ticket"] },
    Load { module: "kvdb", ours: &["SET", "__rand_int__", VALUE], redis: &["SET", "__rand_int__", VALUE] },
    Load { module: "kvdb", ours: &["GET", "__rand_int__"], redis: &["GET", "__rand_int__"] },
];

/// What one cell gave.
struct Cell {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// `cargo xtask bench [--quick] [--seconds N] [--module NAME]`
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let (mut seconds, mut module) = (2.5, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--quick" => seconds = 0.5,
            "--seconds" => seconds = options.next().context("--seconds wants a number")?.parse()?,
            "--module" => module = Some(*options.next().context("--module wants ticket or kvdb")?),
            other => bail!("no such option: {other}"),
        }
    }
    let loads: Vec<&Load> = LOADS.iter().filter(|load| module.is_none_or(|module| module == load.module)).collect();
    ensure!(!loads.is_empty(), "there are loads for the modules ticket and kvdb");
    let root = guests::root();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--package", "uhaha-server"]).current_dir(&root);
    ensure!(cargo.status()?.success(), "the server does not build");

    println!("| command | c | P | ours req/s | p50 ms | p99 ms | redis req/s | p50 ms | p99 ms | ours ÷ redis |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for load in loads {
        let data = tempfile::tempdir_in(root.join("target"))?;
        let ours = Server::start_ours(&root, data.path(), load.module)?;
        let redis = Server::start_redis(data.path())?;
        for (connections, depth) in CELLS {
            let ours = measure(&ours, load.ours, connections, depth, seconds)?;
            let redis = measure(&redis, load.redis, connections, depth, seconds)?;
            println!(
                "| {} | {connections} | {depth} | {} | {} | {:.2} |",
                load.ours[0],
                columns(&ours),
                columns(&redis),
                ours.per_second / redis.per_second
            );
        }
    }
    Ok(())
}

fn columns(cell: &Cell) -> String {
    format!("{:.0} | {:.2} | {:.2}", cell.per_second, cell.p50_ms, cell.p99_ms)
}

/// A short run tells how many requests take so many seconds.
fn measure(server: &Server, words: &[&str], connections: u32, depth: u32, seconds: f64) -> Result<Cell> {
    let at_once = u64::from(connections * depth);
    let probe = redis_benchmark(server, words, connections, depth, (at_once * 4).max(500))?;
    let requests = (probe.per_second * seconds) as u64;
    redis_benchmark(server, words, connections, depth, requests.clamp(at_once * 4, 5_000_000))
}

fn redis_benchmark(server: &Server, words: &[&str], connections: u32, depth: u32, requests: u64) -> Result<Cell> {
    let numbers = [("-p", u64::from(server.port)), ("-n", requests), ("-c", connections.into()), ("-P", depth.into())];
    let mut command = Command::new("redis-benchmark");
    for (flag, number) in numbers {
        command.args([flag, &number.to_string()]);
    }
    let output = command.args(["--csv", "-r", KEYS]).args(words).output();
    let output = output.context("redis-benchmark is needed: apt-get install redis-tools")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "redis-benchmark failed: {text}");
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…
    let line = text.lines().last().context("redis-benchmark printed nothing")?;
    let field = |at: usize| -> Result<f64> {
        // Counted from the end, for the command may have commas.
        let field = line.rsplit(',').nth(6 - at).context("redis-benchmark printed no such column")?;
        Ok(field.trim_matches('"').parse()?)
    };
    Ok(Cell { per_second: field(0)?, p50_ms: field(3)?, p99_ms: field(5)? })
}

/// A process of ours, ended with the value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start_ours(root: &Path, data: &Path, module: &str) -> Result<Server> {
        let mut command = Command::new(root.join("target/release/uhaha-server"));
        let port = free_port()?;
        command.args(["--module", &format!("builtin:{module}"), "--addr", &format!("127.0.0.1:{port}"), "--dir"]);
        Server::start(command.arg(data.join("uhaha")).stderr(File::create(data.join("uhaha.log"))?), port)
    }

    fn start_redis(data: &Path) -> Result<Server> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(data);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        Server::start(&mut command, port).context("redis-server is needed: apt-get install redis-server")
    }

    fn start(command: &mut Command, port: u16) -> Result<Server> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Server { child, port };
        let started = Instant::now();
        while !answers(port) {
            let ended = server.child.try_wait()?;
            ensure!(ended.is_none() && started.elapsed() < START_TIMEOUT, "the server does not start");
            // Only paces the asking.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody else takes it in the moment until the server does: the system hands ports out in turn.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply)?;
        Ok(&reply == b"+PONG\r\n")
    };
    ask().unwrap_or(false)
}
