//! Cargo, as a person would start it in a shell.

use std::process::Command;

/// What cargo has told this task of its package is left out: build scripts that look at it would run anew, and all
/// that depends on them would be compiled again, each time that a task is followed by something else.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_this_task = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_this_task) {
            cargo.env_remove(name);
        }
    }
    cargo
}
