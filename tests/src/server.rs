//! Real server processes: started on a free port, watched by their log, ended by their id.

use crate::client::{Client, Value};
use crate::guests::Module;
use crate::wait::{self, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Instant;

/// The server binary: `UHAHA_SERVER_BIN`, or what cargo builds now, once a test process.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("UHAHA_SERVER_BIN") {
            return path.into();
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "uhaha-server"]).current_dir(crate::root());
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        // What cargo has told a test of its package is left out: build scripts that look at it would run anew, and all that
        // depends on them would be compiled again.
        let of_the_test = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(of_the_test) {
                cargo.env_remove(name);
            }
        }
        assert!(cargo.status().expect("cargo runs").success(), "the server does not build");
        // Test binaries are in `deps` beside the binaries of the same profile.
        let test = std::env::current_exe().expect("a test has a path");
        test.ancestors().nth(2).expect("tests are two levels down").join("uhaha-server")
    })
}

/// A directory of its own for one test. A test that fails keeps it and says where it is.
#[derive(Debug)]
pub struct Scratch(Option<tempfile::TempDir>);

impl Scratch {
    pub fn new() -> Scratch {
        // On the disk of the workspace and not in memory, as /tmp may be, where a sync is no sync.
        let parent = crate::root().join("target/tmp");
        std::fs::create_dir_all(&parent).unwrap();
        Scratch(Some(tempfile::Builder::new().prefix("test-").tempdir_in(parent).unwrap()))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("taken only on drop").path()
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take()
            && thread::panicking()
        {
            eprintln!("the data of the test is kept in {}", dir.keep().display());
        }
    }
}

/// What a node is started with, so that it can be started again on its data.
#[derive(Clone, Debug)]
pub struct Node {
    module: Option<Module>,
    scratch: Arc<Scratch>,
    dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What the command begins with.
    prefix: Vec<String>,
}

impl Node {
    pub fn new(module: Module) -> Node {
        Node { module: Some(module), ..Node::bare() }
    }

    /// With nothing on its command line but what the test adds.
    pub fn bare() -> Node {
        let scratch = Arc::new(Scratch::new());
        let dir = scratch.path().join("data");
        Node { module: None, scratch, dir, args: Vec::new(), env: Vec::new(), prefix: Vec::new() }
    }

    pub fn args(mut self, args: &[&str]) -> Node {
        self.args.extend(args.iter().map(|arg| arg.to_string()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Node {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same by way of another command, which becomes the server.
    pub fn prefix(mut self, prefix: Vec<String>) -> Node {
        self.prefix = prefix;
        self
    }

    /// The same with another guest.
    pub fn module(mut self, module: Module) -> Node {
        self.module = Some(module);
        self
    }

    /// The same with a guest on data that is elsewhere.
    pub fn data_of(self, module: Module, dir: PathBuf) -> Node {
        Node { module: Some(module), dir, ..self }
    }

    /// The same with a data directory beside its own, which is kept as long as this one.
    pub fn with_dir(&self, name: &str) -> Node {
        Node { dir: self.scratch.path().join(name), ..self.clone() }
    }

    /// The same on a copy of the data, which nobody may be writing.
    pub fn with_copy(&self, name: &str) -> Node {
        let copy = self.with_dir(name);
        copy_dir(&self.dir, &copy.dir);
        copy
    }

    /// `--dir`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The only directory `DIR/GUEST/ID`, where this node keeps its data.
    pub fn data(&self) -> PathBuf {
        let found = files(&self.dir).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "redb"));
        found.expect("the node has a log").parent().unwrap().to_owned()
    }

    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The command that starts the node.
    pub fn command(&self) -> Command {
        let mut words = self.prefix.iter().map(std::ffi::OsStr::new).chain([binary().as_os_str()]);
        let mut command = Command::new(words.next().expect("there is the binary"));
        command.args(words);
        if let Some(Module(module)) = &self.module {
            command.args(["--module", module, "--addr", "127.0.0.1:0", "--dir"]).arg(&self.dir);
        }
        command.args(&self.args).stdin(Stdio::null()).current_dir(self.scratch.path());
        // What is set where the tests run must not change what they test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UHAHA_") {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the node and waits until it answers.
    pub fn start(&self) -> Server {
        let server = self.launch();
        server.wait_until_ready();
        server
    }

    /// Starts the node and waits until it listens, which it may do before it serves.
    pub fn launch(&self) -> Server {
        if self.module.as_ref().is_some_and(Module::is_large) {
            self.share_compiled_code();
        }
        Server::spawn(self)
    }

    /// The node finds its module compiled if another one has compiled it. The names of compiled code are hashes of all
    /// that it depends on, and the server removes the oldest.
    pub fn share_compiled_code(&self) {
        let (own, shared) = (self.dir.join("cache"), crate::root().join("target/compiled"));
        if !own.exists() {
            std::fs::create_dir_all(&self.dir).unwrap();
            std::fs::create_dir_all(&shared).unwrap();
            std::os::unix::fs::symlink(shared, own).unwrap();
        }
    }

    /// Starts what shall not come to serve, and waits for its end.
    pub fn run_to_end(&self) -> Ended {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Log::follow(child.stderr.take().unwrap());
        let stdout = Log::follow(child.stdout.take().unwrap());
        let status = wait_for_end(&mut child);
        Ended { code: status.code(), stdout: stdout.all(), stderr: stderr.all() }
    }
}

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The lines a process has written, gathered by a thread of its own so that the process never blocks on them.
#[derive(Clone, Debug)]
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn follow(stream: impl Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let writer = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                writer.0.0.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                writer.0.1.notify_all();
            }
            writer.0.0.lock().unwrap().ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    /// What `find` finds in a line, as soon as there is one; `None` when the log ends without.
    fn wait<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let started = Instant::now();
        let mut lines = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = lines.lines.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            if lines.ended {
                return None;
            }
            let left = PATIENCE.checked_sub(started.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited in vain for {what} in:\n{}", lines.lines.join("\n")));
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything, once the process has ended.
    fn all(&self) -> String {
        let mut lines = self.0.0.lock().unwrap();
        while !lines.ended {
            lines = self.0.1.wait(lines).unwrap();
        }
        lines.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn so_far(&self) -> String {
        self.0.0.lock().unwrap().lines.join("\n")
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: Log,
    address: SocketAddr,
    ended: bool,
    _scratch: Arc<Scratch>,
}

impl Server {
    /// A node with a new data directory, which nobody starts again.
    pub fn start(module: Module) -> Server {
        Node::new(module).start()
    }

    fn spawn(node: &Node) -> Server {
        let mut child = node.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let mut server = Server {
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ended: false,
            _scratch: Arc::clone(&node.scratch),
        };
        let Some(address) = server.log.wait("the address", listening_address) else {
            panic!("the server ended before it listened:\n{}", server.log.all());
        };
        server.address = address;
        server
    }

    /// One that wants a password is as ready as it will be.
    pub fn wait_until_ready(&self) {
        let ready = wait::until("an answer to PING", || Client::try_connect(self.address)?.try_call(&["PING"]));
        match ready {
            Value::Simple(pong) if pong == "PONG" => {}
            Value::Error(error) if error.starts_with("NOAUTH") => {}
            Value::Error(error) if error.contains("speaks TLS") => drop(self.wait_for_log("ready")),
            other => panic!("PING gave {other:?}"),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client that speaks RESP3.
    pub fn client3(&self) -> Client {
        let mut client = self.client();
        client.hello(3);
        client
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.so_far()
    }

    /// Waits for a line of the log with that text in it.
    pub fn wait_for_log(&self, text: &str) -> String {
        let line = self.log.wait(text, |line| line.contains(text).then(|| line.to_owned()));
        line.unwrap_or_else(|| panic!("the log has no {text:?}:\n{}", self.log.all()))
    }

    /// As a power failure would end it, but for what the system has not written yet.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended = true;
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn signal(&mut self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
    }

    /// Waits for an end that the test has brought about.
    pub fn wait(&mut self) -> Ended {
        let status = wait_for_end(&mut self.child);
        self.ended = true;
        let log = self.log.all();
        if let Some(signal) = status.signal() {
            eprintln!("signal {signal} ended the server");
        }
        Ended { code: status.code(), stdout: String::new(), stderr: log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself, and then there is nobody to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the log of the server at {}:\n{}", self.address, self.log.so_far());
        }
    }
}

fn wait_for_end(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the server did not end");
        }
        // Only paces the asking.
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The address in the line that says where the server listens.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(" listening ")?;
    let (_, address) = rest.split_once("address=")?;
    address.split_whitespace().next()?.trim_matches('"').parse().ok()
}

/// All files below a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy_dir(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, &copy).unwrap();
    }
}
