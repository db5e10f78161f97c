//! `cargo xtask soak`: a cluster under load for hours, of the release build. `tests/soak` does it.

use anyhow::{Result, ensure};

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let built = crate::cargo::command().args(["build", "--release", "--package", "uhaha-server"]).status()?;
    ensure!(built.success(), "the server does not build");
    let soaked = crate::cargo::command()
        .args(["run", "--package", "uhaha-tests", "--bin", "soak", "--"])
        .args(options)
        .env("UHAHA_SERVER_BIN", crate::guests::root().join("target/release/uhaha-server"))
        .status()?;
    ensure!(soaked.success(), "something grew, or was lost: see the report");
    Ok(())
}
