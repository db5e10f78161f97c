//! Installs the client libraries that the tests of `tests/clients` want, beside the build.

use crate::guests;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// `cargo xtask clients`
pub(crate) fn install() -> Result<()> {
    let target = guests::root().join("target");
    once(&target.join("venv"), "requirements.txt", python)?;
    once(&target.join("node"), "package.json", node)
}

/// Installs into `home` what a file beside the tests wants, unless that has been done.
fn once(home: &Path, file: &str, install: fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let source = guests::root().join("tests/clients").join(file);
    let installed = home.join("installed");
    let wanted = std::fs::read(&source)?;
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        println!("clients of {file}: up to date");
        return Ok(());
    }
    install(home, &source)?;
    // Last, so that an installation that was cut short is done again.
    std::fs::write(&installed, wanted)?;
    println!("clients of {file}: installed");
    Ok(())
}

fn python(home: &Path, requirements: &Path) -> Result<()> {
    run(
        Command::new("python3").args(["-m", "venv"]).arg(home),
        "python3-venv is needed to make a virtual environment",
    )?;
    let mut pip = Command::new(home.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    run(&mut pip, "pip could not install redis-py")
}

/// Without a lock file, which would name where the packages came from; the versions are exact.
fn node(home: &Path, package: &Path) -> Result<()> {
    std::fs::create_dir_all(home)?;
    std::fs::copy(package, home.join("package.json"))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    run(npm.current_dir(home), "npm could not install ioredis and node-redis")
}

fn run(command: &mut Command, failure: &str) -> Result<()> {
    ensure!(command.status()?.success(), "{failure}");
    Ok(())
}
