//! Ends of processes and of computers, at any moment and without a word to them.

use super::Os;
use super::descriptors::Kind;
use super::scheduler::HostId;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process: its system goes on, has all that was written, and tells others that connections are gone.
    Process,
    /// The computer: what was not synced may be lost, and nobody is told anything.
    Power,
}

impl Os {
    /// Ends whatever runs on a host. It is without a process, and perhaps without power, until it is `revived`.
    pub(crate) fn crash(&mut self, host: HostId, crash: Crash) {
        self.event("crash", [host as u64, u64::from(crash == Crash::Power)]);
        self.scheduler.kill(host);
        self.hosts[host].life += 1;
        self.hosts[host].has_power = crash == Crash::Process;
        self.hosts[host].is_running = false;
        for id in self.descriptors.of(host) {
            let Some(object) = self.descriptors.remove(id) else { continue };
            self.forget_watched(&object, id);
            match &object.kind {
                Kind::Listener(listener) => self.close_listener(host, listener),
                Kind::Stream { connection, side } => self.lose_end(*connection, *side, crash == Crash::Process),
                _ => {}
            }
        }
        let root = std::path::PathBuf::from(format!("{}/{}", self.hosts[host].name, self.hosts[host].life));
        self.disks.crash(host, root, crash == Crash::Power);
    }

    /// Gives a host its power back; a process of it begins.
    pub(crate) fn revive(&mut self, host: HostId) {
        self.hosts[host].has_power = true;
        self.hosts[host].is_running = true;
        self.hosts[host].ended_itself = false;
    }
}

/// Ends the process of the calling thread.
pub(crate) fn end_process(message: &str) -> ! {
    super::threads::switch(|os| {
        let host = os.here();
        os.say(host, message);
        os.crash(host, Crash::Process);
        os.hosts[host].ended_itself = true;
    });
    unreachable!("a dead thread does not run again")
}
