//! Installs the client libraries that the tests of `tests/clients` want, beside the build.

use crate::guests;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// `cargo xtask clients`
pub(crate) fn install() -> Result<()> {
    let venv = guests::root().join("target/venv");
    let requirements = guests::root().join("tests/clients/requirements.txt");
    let installed = venv.join("requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        println!("clients: up to date");
        return Ok(());
    }
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "python3-venv is needed to make a virtual environment",
    )?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
    run(&mut pip, "pip could not install redis-py")?;
    // Last, so that an installation that was cut short is done again.
    std::fs::copy(&requirements, Path::new(&installed))?;
    println!("clients: installed");
    Ok(())
}

fn run(command: &mut Command, failure: &str) -> Result<()> {
    ensure!(command.status()?.success(), "{failure}");
    Ok(())
}
