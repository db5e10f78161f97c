//! Clients that are stock libraries, each in a process of its own: redis-py and ioredis, as clients of one node, of a
//! cluster, or by Sentinel.
//!
//! A process gets a command a line and answers each with a line: `+status`, `$text`, `:number`, `_` for nil, `-` and an
//! error reply, or `?` and why it does not know what came of the command. Times are taken here, before the one line and
//! after the other, so an operation may be recorded as longer than it was, and never as shorter.
//!
//! The scripts have their libraries send nothing again when a connection breaks. What a library repeats all the same are
//! commands that were refused, for want of a leader or because it is elsewhere, when nothing was done.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use uhaha_tests::Value;

/// More than a library takes to give up, unless it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    RedisPy,
    Ioredis,
}

impl Library {
    pub(crate) const ALL: [Library; 2] = [Library::RedisPy, Library::Ioredis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Library::RedisPy => "redis-py",
            Library::Ioredis => "ioredis",
        }
    }

    /// Whether `cargo xtask clients` has installed it.
    pub(crate) fn is_installed(self) -> bool {
        let has_run =
            |command: &mut Command| command.stderr(Stdio::null()).output().is_ok_and(|ran| ran.status.success());
        match self {
            Library::RedisPy => has_run(self.command().args(["-c", "import redis"])),
            Library::Ioredis => has_run(self.command().args(["-e", "require('ioredis')"])),
        }
    }

    fn command(self) -> Command {
        let target = uhaha_tests::root().join("target");
        match self {
            Library::RedisPy => Command::new(target.join("venv/bin/python")),
            Library::Ioredis => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", target.join("node/node_modules"));
                node
            }
        }
    }

    fn script(self) -> PathBuf {
        let name = match self {
            Library::RedisPy => "load.py",
            Library::Ioredis => "load.js",
        };
        uhaha_tests::root().join("tests/faults").join(name)
    }
}

/// A library, and how it finds the leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) library: Library,
    way: &'static str,
}

impl Kind {
    pub(crate) fn all() -> impl Iterator<Item = Kind> {
        let ways = ["single", "cluster", "sentinel"];
        Library::ALL.into_iter().flat_map(move |library| ways.map(|way| Kind { library, way }))
    }

    pub(crate) fn name(self) -> String {
        format!("{} {}", self.library.name(), self.way)
    }

    /// Whether it reads from nodes that it has told `READONLY`: ioredis says that to all that it takes for replicas, and
    /// sends what it has no connection to a master for to any of them.
    pub(crate) fn may_read_replicas(self) -> bool {
        self.library == Library::Ioredis && self.way == "cluster"
    }

    /// Starts one that knows these nodes, in this order.
    pub(crate) fn start(self, nodes: &[SocketAddr], dir: &Path) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(dir.join("libraries.log")).unwrap();
        let mut command = self.library.command();
        command.arg(self.library.script()).arg(self.way).args(nodes.iter().map(SocketAddr::to_string));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // Until the process ends, or nobody waits for its answers any more.
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Process { child, input, answers, is_lost: false }
    }
}

/// Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    is_lost: bool,
}

impl Process {
    /// The reply, or why there is none that could be trusted.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<Value, String> {
        let answer = match writeln!(self.input, "{}", words.join(" ")) {
            Ok(()) => self.answers.recv_timeout(ANSWER_TIMEOUT),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        let line = answer.map_err(|error| {
            self.is_lost = true;
            format!("the process gave no answer: {error}")
        })?;
        reply(&line)
    }

    /// Whether it has ended, or might still answer what it was asked before.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nobody to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reply(line: &str) -> Result<Value, String> {
    let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
    match kind {
        "+" => Ok(Value::Simple(rest.to_owned())),
        "$" => Ok(uhaha_tests::bulk(rest)),
        ":" => rest.parse().map(Value::Integer).map_err(|_| format!("{rest} is no number")),
        "_" => Ok(Value::Null),
        "-" => Ok(Value::Error(rest.to_owned())),
        "?" => Err(rest.to_owned()),
        _ => panic!("{line:?} is no answer"),
    }
}

/// Says which libraries the runs are without.
pub(crate) fn say_what_is_missing() {
    for library in Library::ALL.into_iter().filter(|library| !library.is_installed()) {
        println!("{} is not installed: its clients are ours instead; cargo xtask clients installs it", library.name());
    }
}
