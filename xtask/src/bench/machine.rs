//! What the numbers were measured on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const SYNC_TIME: Duration = Duration::from_secs(1);
const SYNC_BYTES: usize = 4096;
/// The unit in which the kernel counts, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// One line: cores, kernel, how often a second the disk of `dir` syncs, how busy it all is.
pub(super) fn describe(dir: &Path, versions: &str) -> Result<String> {
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's version")?;
    let load = load_average()?;
    let syncs = super::report::grouped(syncs_a_second(dir)?);
    let versions = if versions.is_empty() { String::new() } else { format!(", {versions}") };
    Ok(format!(
        "Machine: {cores} cores, Linux {}, {syncs} write+fdatasync a second, load average {load} at the start{versions}",
        kernel.trim()
    ))
}

/// Of 1, 5 and 15 minutes.
pub(super) fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("reading the load average")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// The most writes that one client, one at a time, could get answered.
fn syncs_a_second(dir: &Path) -> Result<f64> {
    let path = dir.join("syncs");
    let mut file = File::create(&path)?;
    let block = [7; SYNC_BYTES];
    let began = Instant::now();
    let mut count = 0.0;
    while began.elapsed() < SYNC_TIME {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1.0;
    }
    let rate = count / began.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// How many bytes were written to the disk of `dir` since the machine began; `None` where the kernel does not tell. What it
/// tells of a process is of no use: it counts a page of the cache as a whole, and those may have a mebibyte.
pub(super) fn written(dir: &Path) -> Option<u64> {
    let device = rustix::fs::stat(dir).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    stat.split_whitespace().nth(6)?.parse::<u64>().ok().map(|sectors| sectors * SECTOR_BYTES)
}

/// As `2026-01-31`.
pub(super) fn today() -> String {
    let output = std::process::Command::new("date").arg("+%F").output();
    output.map_or_else(
        |_| "an unknown day".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
