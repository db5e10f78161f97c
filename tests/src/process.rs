//! What the kernel says of a process.

use std::fs;

/// A process that runs, by its id.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// Resident memory now, in bytes.
    pub fn resident(self) -> u64 {
        self.status("VmRSS:") << 10
    }

    /// The most resident memory since the start or the last `forget_peak`, in bytes.
    pub fn peak(self) -> u64 {
        self.status("VmHWM:") << 10
    }

    /// Has the peak begin anew at what is resident now.
    pub fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").expect("the process is ours");
    }

    pub fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// Open file descriptors.
    pub fn descriptors(self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process is ours").count() as u64
    }

    fn status(self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
        line.trim().trim_end_matches(" kB").parse().expect("the field is a number")
    }
}
