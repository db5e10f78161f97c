//! `cargo xtask fixtures` and `cargo xtask flips`: data directories for later versions, and what becomes of damaged ones.

use anyhow::{Result, ensure};

/// Makes the fixtures of this version anew, by a development build.
pub(crate) fn fixtures() -> Result<()> {
    let root = crate::guests::root();
    let server = root.join("target/debug/uhaha-server");
    let cargo =
        |args: &[&str]| crate::cargo::command().args(args).current_dir(&root).env("UHAHA_SERVER_BIN", &server).status();
    ensure!(cargo(&["build", "--locked", "--package", "uhaha-server"])?.success(), "the server does not build");
    let run = ["run", "--quiet", "--locked", "--package", "uhaha-tests", "--bin", "make-fixtures"];
    ensure!(cargo(&run)?.success(), "the fixtures are not made");
    Ok(())
}

/// Damages every byte of the fixtures, or a sample of them, and prints what came of it.
pub(crate) fn flips(options: &[&str]) -> Result<()> {
    // As in a release, redb has no debug assertions that find damage before the server does.
    let redb = ["--config", "profile.dev.package.redb.debug-assertions=false"];
    let fast = ["--config", "profile.dev.package.redb.opt-level=3"];
    let run = ["run", "--quiet", "--locked", "--package", "uhaha-tests", "--bin", "flips", "--"];
    let status = crate::cargo::command()
        .args(redb)
        .args(fast)
        .args(run)
        .args(options)
        .current_dir(crate::guests::root())
        .status()?;
    ensure!(status.success(), "some damage is not found");
    Ok(())
}
