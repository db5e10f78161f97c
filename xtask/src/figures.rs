//! `cargo xtask figures`: what failures of a cluster cost, measured with the release build on this machine.

use crate::guests;
use anyhow::{Result, ensure};

/// Only those whose name has this text in it.
pub(crate) fn run(which: Option<&str>) -> Result<()> {
    measure(which, &[])
}

/// Of the hostile clients only those in whose name this text is.
pub(crate) fn hostile(which: &str) -> Result<()> {
    measure(Some("hostile_clients"), &[("UHAHA_HOSTILE", which)])
}

fn measure(which: Option<&str>, env: &[(&str, &str)]) -> Result<()> {
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
