//! One node: the server as it is shipped, in a process of a simulated host.

use crate::os::{self, Crash, HostId};
use crate::plan::{Guest, Plan};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use uhaha_server::cli::{self, Task};
use uhaha_server::guest::Guest as Loaded;
use uhaha_server::node::Node;

const PORT: u16 = 11001;

/// Where compiled guests are kept between runs: compiling takes threads and time that no run shall see.
static COMPILED: OnceLock<PathBuf> = OnceLock::new();

fn compiled() -> &'static Path {
    COMPILED.get_or_init(|| {
        let program = std::env::current_exe().expect("this program has a path");
        program.with_file_name("simulated-guests")
    })
}

/// Compiles all guests that runs may choose, each into a directory of its own.
pub(crate) fn prepare() -> ExitCode {
    for guest in Guest::ALL {
        let loaded = || {
            let config = config(&[], guest, Path::new("data"))?;
            let bytes = config.module.read().map_err(|error| error.to_string())?;
            Loaded::load(&bytes, config.guest_limits, &compiled().join(guest.name())).map_err(|error| error.to_string())
        };
        if let Err(message) = loaded() {
            eprintln!("the guest {} cannot be compiled: {message}", guest.name());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The same in a process of its own, whose threads are gone when the run begins.
pub(crate) fn prepare_aside() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let newer = |guest: &Guest| {
        let made = fs::metadata(compiled().join(guest.name())).and_then(|made| made.modified());
        let program = fs::metadata(&program).and_then(|program| program.modified());
        matches!((made, program), (Ok(made), Ok(program)) if made >= program)
    };
    if Guest::ALL.iter().all(newer) {
        return Ok(());
    }
    for guest in Guest::ALL {
        // Compiled code of an earlier build would never be found.
        let _ = fs::remove_dir_all(compiled().join(guest.name()));
    }
    let status = Command::new(&program).arg("--prepare").status().map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(()),
        false => Err("the guests cannot be compiled".to_owned()),
    }
}

fn config(words: &[String], guest: Guest, dir: &Path) -> Result<uhaha_server::config::Config, String> {
    let mut all: Vec<OsString> = vec!["uhaha-server".into(), "--module".into(), guest.module().into()];
    all.extend(["--dir".into(), dir.into()]);
    all.extend(words.iter().map(OsString::from));
    match cli::parse(all, Vec::new()) {
        Ok(Task::Run(config)) => Ok(*config),
        Ok(_) => Err("the arguments of a node do not run one".to_owned()),
        Err(_) => Err(format!("the arguments of a node are refused: {words:?}")),
    }
}

/// `HOST:PORT` of the node on a host.
pub(crate) fn address(host: HostId) -> String {
    let ip = os::enter(|os| os.hosts[host].address);
    format!("{ip}:{PORT}")
}

/// Starts the node of a host, on whatever its disk has.
pub(crate) fn start(host: HostId, plan: &Plan, founders: &[HostId], secret: &str) {
    let (name, root) = os::enter(|os| {
        os.revive(host);
        let name = os.hosts[host].name.clone();
        os.say(host, "starts");
        let root = os.disks.root(host);
        give_compiled(plan.guest, &root);
        (name, root)
    });
    let others: Vec<String> = founders.iter().map(|founder| address(*founder)).collect();
    let mut words: Vec<String> = vec!["--id".into(), name, "--addr".into(), address(host)];
    words.extend(["--join".into(), others.join(","), "--peer-secret".into(), secret.into()]);
    if founders.contains(&host) {
        words.extend(["--bootstrap-expect".into(), founders.len().to_string()]);
    }
    words.extend(plan.node_options());
    let guest = plan.guest;
    let multi_threaded = plan.threads;
    os::spawn_on(host, "main", move || {
        let config = match config(&words, guest, &root) {
            Ok(config) => config,
            Err(message) => return crate::verdict::report("harness", &message),
        };
        let message = match run(config, multi_threaded) {
            Ok(()) => "the process ends".to_owned(),
            Err(error) => format!("the process ends: {error}"),
        };
        os::end_process(&message);
    });
}

/// As `main` of the server does.
fn run(config: uhaha_server::config::Config, threads: usize) -> Result<(), String> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads)
        .thread_stack_size(uhaha_server::guest::THREAD_STACK_BYTES)
        .on_thread_start(uhaha_server::guest::declare_guest_thread)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        let node = Node::start(config).await.map_err(|error| uhaha_server::fault::chain(&error))?;
        node.run().await
    });
    runtime.shutdown_background();
    outcome
}

/// The node finds its guest compiled, as after its first start.
fn give_compiled(guest: Guest, root: &Path) {
    let to = root.join("cache");
    fs::create_dir_all(&to).expect("the simulation's directory can be written");
    for file in fs::read_dir(compiled().join(guest.name())).expect("the guests are compiled") {
        let file = file.expect("the directory can be read");
        fs::copy(file.path(), to.join(file.file_name())).expect("the simulation's directory can be written");
    }
}

/// Ends the node of a host, with or without its computer.
pub(crate) fn crash(host: HostId, crash: Crash) {
    os::enter(|os| {
        os.say(host, if crash == Crash::Power { "loses its power" } else { "is killed" });
        os.crash(host, crash);
    });
}
