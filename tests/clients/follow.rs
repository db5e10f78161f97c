//! Client libraries follow a leader that changes while they draw tickets, by their own means alone.
//!
//! What they run is what the chapter "Client libraries" tells people to write: the snippets are taken from the page, and
//! only a loop is added and the ports are changed.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use uhaha_tests::{Cluster, Module, Value, wait};

const PAGE: &str = include_str!("../../docs/src/clients.md");

/// The ports that the page gives to the nodes.
const PORTS: [&str; 3] = ["11001", "11002", "11003"];

/// Draws tickets until its input ends.
const PYTHON: &str = r#"
import sys, threading, time
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    try:
        print("ticket", int(ticket()), flush=True)
    except Exception as error:
        print("error", type(error).__name__, error, flush=True)
        time.sleep(0.01)
"#;

const JAVASCRIPT: &str = r#"
let stopped = false;
process.stdin.on("end", () => { stopped = true; }).resume();
while (!stopped) {
  try {
    console.log("ticket", Number(await ticket()));
  } catch (error) {
    console.log("error", String(error).replaceAll("\n", " "));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
process.exit(0);
"#;

/// The code of the page below the line `<!-- name -->`.
pub(crate) fn snippet(name: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("<!-- {name} -->\n```")).unwrap_or_else(|| panic!("no snippet {name}"));
    let (_, code) = rest.split_once('\n').unwrap();
    code.split_once("\n```").unwrap().0.to_owned()
}

/// A process that draws tickets.
struct Drawing {
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    tickets: Vec<i64>,
    errors: Vec<String>,
    ended: bool,
}

impl Drawing {
    /// Runs a snippet against a cluster whose nodes have the ports of the page, in their order.
    fn start(name: &str, cluster: &Cluster) -> Drawing {
        let mut code = snippet(name);
        for (position, port) in PORTS.iter().enumerate() {
            code = code.replace(port, &cluster.address(position).port().to_string());
        }
        let target = uhaha_tests::root().join("target");
        let (program, home, suffix, driver) = match name.ends_with(".py") {
            true => (target.join("venv/bin/python"), target.join("venv"), ".py", PYTHON),
            false => (PathBuf::from("node"), target.join("node"), ".mjs", JAVASCRIPT),
        };
        assert!(home.exists(), "client libraries are needed: run .ci/run or cargo xtask clients");
        // Below the place where the libraries are, for there Node.js looks for them.
        let mut script = tempfile::Builder::new().suffix(suffix).tempfile_in(&home).unwrap();
        script.write_all(format!("{code}\n{driver}").as_bytes()).unwrap();
        let mut command = Command::new(program);
        let child = command.arg(script.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = child.spawn().expect("node is needed: apt-get install nodejs npm, or run .ci/run");
        let (seen, lines) = (Arc::<Mutex<Seen>>::default(), BufReader::new(child.stdout.take().unwrap()).lines());
        let writer = Arc::clone(&seen);
        std::thread::spawn(move || {
            // Kept until the process has read it.
            let _script = script;
            for line in lines.map_while(Result::ok) {
                let mut seen = writer.lock().unwrap();
                match line.strip_prefix("ticket ") {
                    Some(ticket) => seen.tickets.push(ticket.parse().unwrap()),
                    None => seen.errors.push(line),
                }
            }
            writer.lock().unwrap().ended = true;
        });
        let drawing = Drawing { child, seen };
        wait_for(30, &drawing.seen);
        drawing
    }

    fn stop(mut self) -> Seen {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        // It has ended already unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client in this process.
pub(crate) trait Draw: Send + 'static {
    fn draw(&mut self) -> impl Future<Output = Result<i64, String>> + Send;
}

/// The same for a client that is a part of the tests; returns the errors that it saw.
pub(crate) async fn follow_in_process<C: Draw>(
    name: &str,
    redirect: &str,
    open: impl AsyncFn(&Cluster) -> C,
) -> Vec<String> {
    let start = || Cluster::start_with(Module::ticket(), 3, &["--redirect", redirect]);
    let mut cluster = tokio::task::block_in_place(start);
    let (mut client, seen) = (open(&cluster).await, Arc::<Mutex<Seen>>::default());
    let writer = Arc::clone(&seen);
    let drawing = tokio::spawn(async move {
        while !writer.lock().unwrap().ended {
            match client.draw().await {
                Ok(ticket) => writer.lock().unwrap().tickets.push(ticket),
                Err(error) => writer.lock().unwrap().errors.push(error),
            }
        }
    });
    tokio::task::block_in_place(|| change_leaders(name, &mut cluster, &seen));
    seen.lock().unwrap().ended = true;
    drawing.await.unwrap();
    let seen = seen.lock().unwrap().clone();
    check(name, &cluster, &seen);
    seen.errors
}

/// What a client may see of a leader that is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// Nothing, for it is connected to another node.
    Unseen,
    /// Errors, until it has found the others.
    Seen,
}

/// Waits until so many more tickets are drawn.
fn wait_for(tickets: usize, seen: &Mutex<Seen>) {
    let before = seen.lock().unwrap().tickets.len();
    wait::until("tickets", || {
        let seen = seen.lock().unwrap();
        assert!(!seen.ended, "the client ended: {:?}", seen.errors);
        assert!(seen.errors.len() < 1000, "the client goes astray: {:?}", &seen.errors[..10]);
        (seen.tickets.len() >= before + tickets).then_some(())
    });
}

/// Leaders that hand over, and at last one that is killed.
fn change_leaders(name: &str, cluster: &mut Cluster, seen: &Mutex<Seen>) {
    for to in [1, 2, 1] {
        cluster.lead(to);
        wait_for(50, seen);
    }
    assert_eq!(seen.lock().unwrap().errors, Vec::<String>::new(), "{name}: a transfer is not seen");
    cluster.kill(1);
    wait_for(50, seen);
}

fn check(name: &str, cluster: &Cluster, seen: &Seen) {
    assert!(seen.tickets.windows(2).all(|pair| pair[0] < pair[1]), "{name}: tickets rise");
    if let (Value::Integer(next), Some(last)) = (cluster.client(0).call(&["TICKET"]), seen.tickets.last()) {
        assert!(next > *last, "{name}: {next} again, after {last}");
    }
    let unexpected = |error: &&String| error.contains("MOVED") || error.contains("UNKNOWN");
    assert_eq!(seen.errors.iter().find(unexpected), None, "{name}");
}

fn follows(name: &str, redirect: &str, kill: Kill) {
    // The snippet with keys counts in kvdb; the others draw tickets.
    let module = if name.contains("keys") { Module::kvdb() } else { Module::ticket() };
    let mut cluster = Cluster::start_with(module, 3, &["--redirect", redirect]);
    let drawing = Drawing::start(name, &cluster);
    change_leaders(name, &mut cluster, &drawing.seen);
    let seen = drawing.stop();
    check(name, &cluster, &seen);
    assert!(kill == Kill::Seen || seen.errors.is_empty(), "{name}: {:?}", seen.errors);
}

#[test]
fn redis_py_single() {
    follows("redis-py.py", "forward", Kill::Unseen);
}

#[test]
fn redis_py_cluster() {
    follows("redis-py-cluster.py", "forward", Kill::Seen);
}

#[test]
fn redis_py_cluster_redirected() {
    follows("redis-py-cluster-keys.py", "moved", Kill::Seen);
}

#[test]
fn redis_py_sentinel() {
    follows("redis-py-sentinel.py", "forward", Kill::Seen);
}

#[test]
fn ioredis_single() {
    follows("ioredis.mjs", "forward", Kill::Unseen);
}

#[test]
fn ioredis_cluster() {
    follows("ioredis-cluster.mjs", "forward", Kill::Seen);
}

#[test]
fn ioredis_cluster_redirected() {
    follows("ioredis-cluster.mjs", "moved", Kill::Seen);
}

#[test]
fn ioredis_sentinel() {
    follows("ioredis-sentinel.mjs", "forward", Kill::Seen);
}

#[test]
fn node_redis_single() {
    follows("node-redis.mjs", "forward", Kill::Unseen);
}

#[test]
fn node_redis_cluster() {
    follows("node-redis-cluster.mjs", "forward", Kill::Seen);
}

#[test]
fn node_redis_cluster_redirected() {
    follows("node-redis-cluster.mjs", "moved", Kill::Seen);
}

#[test]
fn node_redis_sentinel() {
    follows("node-redis-sentinel.mjs", "forward", Kill::Seen);
}
