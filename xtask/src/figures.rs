//! `cargo xtask figures`: what failures of a cluster and the guarantees of the machine cost, measured with the release
//! build on this machine.

use crate::guests;
use anyhow::{Result, ensure};

/// What the machine's guarantees cost. It is a bench of the server crate, which alone can leave them out.
const OVERHEAD: &str = "overhead";

/// Only those whose name has this text in it.
pub(crate) fn run(which: Option<&str>) -> Result<()> {
    if which != Some(OVERHEAD) {
        of_processes(which, &[])?;
    }
    if which.is_none_or(|which| which == OVERHEAD) {
        let bench = ["bench", "--package", "uhaha-server", "--features", "figures", "--bench", OVERHEAD];
        let status = crate::cargo::command().args(bench).status()?;
        ensure!(status.success(), "the overhead could not be measured");
    }
    Ok(())
}

/// Of the hostile clients only those in whose name this text is.
pub(crate) fn hostile(which: &str) -> Result<()> {
    of_processes(Some("hostile_clients"), &[("UHAHA_HOSTILE", which)])
}

/// Of servers and clusters of them.
fn of_processes(which: Option<&str>, env: &[(&str, &str)]) -> Result<()> {
    let built = crate::cargo::command().args(["build", "--release", "--package", "uhaha-server"]).status()?;
    ensure!(built.success(), "the server does not build");
    guests::javascript()?;
    guests::python()?;
    // One after the other, for they would measure each other.
    let measured = crate::cargo::command()
        .args(["test", "--package", "uhaha-tests", "--test", "figures", "--"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .args(which)
        .envs(env.iter().copied())
        .env("UHAHA_SERVER_BIN", guests::root().join("target/release/uhaha-server"))
        .status()?;
    ensure!(measured.success(), "a figure could not be taken");
    Ok(())
}
