//! The example in C. Its compiler is wanted by nothing else, so without one the module stays as it is.

use super::{hash, succeeds};
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "examples/c/ticket/ticket.c";
const MODULE: &str = "examples/prebuilt/ticket_c.wasm";
const KEPT: &str = "examples/prebuilt/sources_c.sha256";
/// It is to show how little is needed.
const MODULE_BYTES_MAX: usize = 20_000;
/// A reactor has no `main`. Of the stack it needs little, and it would be zeroes in every image's address space.
const FLAGS: [&str; 6] = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", "-Wl,-z,stack-size=65536"];
/// Ways to start Zig's C compiler, which brings the C library with it.
const COMPILERS: [&[&str]; 2] = [&["zig"], &["python3", "-m", "ziglang"]];

/// Builds the module if its source has changed.
pub(super) fn build(root: &Path) -> Result<()> {
    let source = hash(root, vec![root.join(SOURCE)])?;
    let kept = fs::read_to_string(root.join(KEPT));
    if root.join(MODULE).exists() && kept.is_ok_and(|hash| hash.trim() == source) {
        println!("guests in C: up to date");
        return Ok(());
    }
    let Some(compiler) = compiler() else { return Ok(()) };
    let bytes = compile(root, compiler, &root.join(MODULE))?;
    ensure!(bytes.len() <= MODULE_BYTES_MAX, "{MODULE} has {} bytes, more than {MODULE_BYTES_MAX}", bytes.len());
    println!("guests in C: {MODULE}, {} bytes", bytes.len());
    fs::write(root.join(KEPT), source + "\n")?;
    Ok(())
}

/// Says whether the compiler here gives the same bytes; other versions give others.
pub(super) fn check(root: &Path, dir: &Path) -> Result<()> {
    let Some(compiler) = compiler() else { return Ok(()) };
    let bytes = compile(root, compiler, &dir.join("ticket_c.wasm"))?;
    let kept = fs::read(root.join(MODULE)).unwrap_or_default();
    let verdict = if bytes == kept { "identical" } else { "different" };
    println!("guests in C: {MODULE}, {} bytes here, {} kept: {verdict}", bytes.len(), kept.len());
    Ok(())
}

fn compiler() -> Option<&'static [&'static str]> {
    let found = COMPILERS.into_iter().find(|words| succeeds(Command::new(words[0]).args(&words[1..]).arg("version")));
    if found.is_none() {
        println!("guests in C: no Zig here, so they stay as they are; to build them: pip install ziglang");
    }
    found
}

fn compile(root: &Path, compiler: &[&str], module: &PathBuf) -> Result<Vec<u8>> {
    let mut cc = Command::new(compiler[0]);
    cc.args(&compiler[1..]).arg("cc").args(FLAGS).args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(module);
    ensure!(cc.arg(SOURCE).current_dir(root).status()?.success(), "{SOURCE} does not compile");
    Ok(fs::read(module)?)
}
