//! The command line: parse, run, exit code.

use serde::Serialize;
use std::fmt;
use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;
use uhaha_server::cli::{self, Task};
use uhaha_server::config::Config;
use uhaha_server::dispatch::acl;
use uhaha_server::export;
use uhaha_server::fault::chain;
use uhaha_server::inspect;
use uhaha_server::node::{self, Node};
use uhaha_server::replay;
use uhaha_server::telemetry;

/// Buffers of commands and replies are made on one thread and dropped on another, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages and uses a part of each: an idle node would take half as much memory again. Where
    // the system does not know the call, it does.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(Task::Print(text)) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Task::HashPassword) => hash_password(),
        Ok(Task::Inspect(task)) => inspect(&task),
        Ok(Task::Replay(task)) => replay(task),
        Ok(Task::Export(task)) => export(task),
        Ok(Task::Run(config)) => run(*config),
        Err(error) => error.report(),
    }
}

/// Argon2 of the first line of stdin.
fn hash_password() -> ExitCode {
    let mut password = String::new();
    if let Err(error) = std::io::stdin().read_line(&mut password) {
        return failed(&format!("cannot read the password: {error}"));
    }
    match acl::hash_password(password.trim_end_matches(['\n', '\r'])) {
        Ok(hash) => {
            // A closed pipe is the reader's choice.
            let _ = writeln!(std::io::stdout(), "{hash}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&format!("cannot hash the password: {error}")),
    }
}

fn inspect(task: &cli::Inspect) -> ExitCode {
    match inspect::inspect(&task.config.module, task.config.guest_limits) {
        Ok(report) => {
            // A closed pipe is the reader's choice.
            let _ = put(&mut std::io::stdout(), &report, task.json);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&chain(&error)),
    }
}

fn replay(task: cli::Replay) -> ExitCode {
    let limits = task.config.guest_limits;
    let cli::Replay { config: _, data, module, original, from, until, trace, json } = task;
    let options = replay::Options { data, module, original, limits, from, until };
    let mut out = BufWriter::new(std::io::stdout());
    let mut print_line = |line: &replay::Line| put(&mut out, line, json);
    let outcome = replay::replay(&options, if trace { Some(&mut print_line) } else { None });
    let printed = match &outcome {
        Ok(outcome) => put(&mut out, outcome, json).and_then(|()| out.flush()),
        Err(_) => out.flush(),
    };
    match (outcome, printed) {
        // A closed pipe is the reader's choice.
        (Err(replay::Error::Print(error)), _) | (Ok(_), Err(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        (Err(error), _) => failed(&chain(&error)),
        (Ok(_), Err(error)) => failed(&format!("cannot print: {error}")),
        (Ok(outcome), Ok(())) if outcome.differs() => ExitCode::FAILURE,
        (Ok(_), Ok(())) => ExitCode::SUCCESS,
    }
}

fn export(task: cli::Export) -> ExitCode {
    let limits = task.config.guest_limits;
    let cli::Export { config: _, data, to, module, bytes_max, json } = task;
    match export::export(&export::Options { data, to, module, limits, bytes_max }) {
        Ok(report) => {
            // A closed pipe is the reader's choice.
            let _ = put(&mut std::io::stdout(), &report, json);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&chain(&error)),
    }
}

/// As a line of JSON for a program, or as text for a person.
fn put(out: &mut impl Write, value: &(impl Serialize + fmt::Display), json: bool) -> std::io::Result<()> {
    match json {
        true => writeln!(out, "{}", serde_json::to_string(value)?),
        // A report ends its lines itself.
        false => writeln!(out, "{}", value.to_string().trim_end()),
    }
}

fn run(config: Config) -> ExitCode {
    if let Err(error) = telemetry::init(config.log_level, config.log_format) {
        return failed(&chain(&error));
    }
    let runtime = match node::runtime(config.threads) {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime does not start: {error}")),
    };
    let outcome = runtime.block_on(async {
        let node = Node::start(config).await.map_err(|error| chain(&error))?;
        node.run().await
    });
    // Whatever still waits for a client or a disk must not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}

fn failed(message: &str) -> ExitCode {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{}: {message}", env!("CARGO_PKG_NAME"));
    ExitCode::FAILURE
}
