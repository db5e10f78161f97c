//! The servers under test: started on a free port of loopback, and ended by their process id whatever happens.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::resp::Client;

/// How long a server may take until it answers, and until it has stopped.
const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// In which the kernel counts processor time for programs, on every architecture that we build for.
const TICKS_A_SECOND: f64 = 100.0;
/// How much of a log is shown when a server failed.
const LOG_TAIL_LINES: usize = 20;

/// A process that does not outlive this value.
pub(super) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts it with its output in two files, which nobody has to read for it to go on.
    pub(super) fn start(command: &mut Command, stdout: &Path, stderr: &Path) -> Result<Process> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(stdout)?)
            .stderr(File::create(stderr)?)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process { child, name })
    }

    pub(super) fn wait(&mut self, longest: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + longest;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end in {} s", self.name, longest.as_secs());
            }
            thread::sleep(POLL);
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that ended and was waited for is left alone by the standard library.
        let _ = self.kill();
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Mebibytes of memory, now.
    pub(super) resident: f64,
}

pub(super) struct Server {
    process: Process,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts our server with its data in `dir` and waits until it answers. The log of an earlier start there is lost.
    pub(super) fn uhaha(program: &Path, module: &str, dir: &Path) -> Result<Server> {
        let mut server = Server::uhaha_at(program, module, dir, free_port()?, &[])?;
        server.wait_for_answer()?;
        Ok(server)
    }

    /// The same of a build that has the machine that does nothing, with it.
    pub(super) fn native(program: &Path, what: &str, module: &str, dir: &Path) -> Result<Server> {
        let mut server = Server::uhaha_with(program, module, dir, free_port()?, &[], &[("UHAHA_NATIVE", what)])?;
        server.wait_for_answer()?;
        Ok(server)
    }

    /// Starts our server at a port, and does not wait.
    pub(super) fn uhaha_at(program: &Path, module: &str, dir: &Path, port: u16, args: &[&str]) -> Result<Server> {
        Server::uhaha_with(program, module, dir, port, args, &[])
    }

    fn uhaha_with(
        program: &Path,
        module: &str,
        dir: &Path,
        port: u16,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Server> {
        fs::create_dir_all(dir)?;
        // A relative name would be looked up in the path.
        let mut command = Command::new(std::path::absolute(program)?);
        command.args(["--module", module, "--addr", &format!("{}:{port}", Ipv4Addr::LOCALHOST), "--dir"]);
        command.arg(dir.join("data")).args(args);
        // Settings of whoever runs this are not what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UHAHA_") {
                command.env_remove(name);
            }
        }
        command.envs(env.iter().copied());
        Server::start(&mut command, port, dir)
    }

    /// Starts a node of etcd, which listens to clients at a port, and does not wait.
    pub(super) fn etcd(dir: &Path, port: u16, args: &[&str]) -> Result<Server> {
        fs::create_dir_all(dir)?;
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir.join("data")).args(args);
        Server::start(&mut command, port, dir)
    }

    /// Starts redis-server with the same promise: an answered write is on disk.
    pub(super) fn redis(dir: &Path) -> Result<Server> {
        fs::create_dir_all(dir)?;
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", &Ipv4Addr::LOCALHOST.to_string(), "--port", &port.to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]).arg(dir);
        let mut server = Server::start(&mut command, port, dir)?;
        server.wait_for_answer()?;
        Ok(server)
    }

    fn start(command: &mut Command, port: u16, dir: &Path) -> Result<Server> {
        // Ours logs to one, redis-server to the other.
        let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
        let process = Process::start(command, &stdout, &stderr)?;
        let log = if process.name == "redis-server" { stdout } else { stderr };
        Ok(Server { process, port, log })
    }

    pub(super) fn wait_for_answer(&mut self) -> Result<()> {
        // Refused while it starts, and an error while it loads.
        self.wait_until("answer PING", |port| {
            Client::connect(port).and_then(|mut client| client.text(&["PING"])).is_ok_and(|answer| answer == "PONG")
        })
    }

    pub(super) fn wait_until(&mut self, what: &str, is_so: impl Fn(u16) -> bool) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !is_so(self.port) {
            if let Some(status) = self.process.child.try_wait()? {
                bail!("{} ended at its start: {status}\n{}", self.process.name, self.log_tail());
            }
            if Instant::now() >= deadline {
                bail!("{} does not {what}\n{}", self.process.name, self.log_tail());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn name(&self) -> &str {
        &self.process.name
    }

    pub(super) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of the log, for an error message.
    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("its log ends:\n{}", lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
    }

    /// What our server found worth a warning, a line each: it may explain a number.
    pub(super) fn warnings(&self) -> String {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        lines
            .map(|line| {
                format!(
                    "    {line}
"
                )
            })
            .collect()
    }

    /// Resident memory, now and at most, as the kernel counts it.
    pub(super) fn memory(&self) -> Result<String> {
        let mebibytes = |name| anyhow::Ok(self.field("status", name)? / 1024);
        Ok(format!("{} MiB (peak {} MiB)", mebibytes("VmRSS:")?, mebibytes("VmHWM:")?))
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.child.id()))?;
        // Behind the name, which may have blanks, come the state and then numbers.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).context("no such field");
        Ok(Usage {
            cpu: Duration::from_secs_f64((ticks(11)? + ticks(12)?) as f64 / TICKS_A_SECOND),
            resident: self.field("status", "VmRSS:")? as f64 / 1024.0,
        })
    }

    /// A number of a file that the kernel has on the process.
    fn field(&self, file: &str, name: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.process.child.id()))?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)).context("no such field of a process")?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    /// `SIGTERM`; how long it took to end.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.process.child), Signal::TERM)?;
        let status = self.process.wait(STOP_MAX)?;
        if !status.success() {
            bail!("{} stopped with {status}\n{}", self.process.name, self.log_tail());
        }
        Ok(began.elapsed())
    }

    /// `SIGKILL`.
    pub(super) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}

/// A port that is free now. Another process may take it before the server does, which then fails and says so.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("output");
        let process = Process::start(Command::new("sleep").arg("1000"), &output, &output).unwrap();
        let status = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(status.exists());
        drop(process);
        assert!(!status.exists());
    }
}
