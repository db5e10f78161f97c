//! `uhaha-server inspect`: what a module is and how it would be served, or why it would be refused.
//!
//! The module is loaded as a node loads it, with nothing kept of it.

use crate::dispatch;
use crate::guest::spec::Kind;
use crate::guest::{self, Inspection, Limits, MemorySize, Supply};
use crate::module::Module;
use serde::Serialize;
use std::fmt;
use std::io;

/// Why a module would be refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the module {name}")]
    Read { name: String, source: io::Error },
    #[error("the module {name} is refused")]
    Guest { name: String, source: guest::Error },
    #[error("the module {name} is refused")]
    Commands { name: String, source: dispatch::Error },
    #[error("cannot make a directory for the compiled module")]
    Cache(#[source] io::Error),
}

/// What `--json` prints; without it a person reads the same.
#[derive(Debug, Serialize)]
pub struct Report {
    /// As it was typed.
    file: String,
    name: String,
    version: String,
    hash: String,
    bytes: usize,
    /// `component`, or `core module` if the server makes the component.
    kind: &'static str,
    commands: Vec<Command>,
    batch: bool,
    tick: bool,
    portable: bool,
    state_version: u32,
    imports: Vec<Import>,
    core_modules: Vec<CoreModule>,
    snapshot: Snapshot,
    memory_limit_bytes: u64,
    engine: String,
    compile_ms: u64,
}

#[derive(Debug, Serialize)]
struct Command {
    name: String,
    kind: &'static str,
    arity: i32,
    summary: String,
}

#[derive(Debug, Serialize)]
struct Import {
    interface: String,
    functions: Vec<String>,
    /// `host`, `virtual` or `refused`: deterministic all three.
    supply: &'static str,
    note: &'static str,
}

#[derive(Debug, Serialize)]
struct CoreModule {
    name: Option<String>,
    bytes: usize,
    memories: Vec<Memory>,
    mutable_globals: usize,
}

#[derive(Debug, Serialize)]
struct Memory {
    initial_bytes: u64,
    maximum_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Snapshot {
    mode: &'static str,
    memories: usize,
    globals: usize,
}

/// Loads a module and reports on it.
pub fn inspect(module: &Module, limits: Limits) -> Result<Report, Error> {
    let name = || module.to_string();
    let bytes = module.read().map_err(|source| Error::Read { name: name(), source })?;
    // Not the cache of a node: what is inspected need not be what is served, and compiling is measured.
    let cache = tempfile::tempdir().map_err(Error::Cache)?;
    let inspection = Inspection::of(&bytes, limits, cache.path());
    let inspection = inspection.map_err(|source| Error::Guest { name: name(), source })?;
    let checked = dispatch::check_commands(&inspection.module.description);
    checked.map_err(|source| Error::Commands { name: name(), source })?;
    Ok(Report::new(name(), limits, inspection))
}

impl Report {
    fn new(file: String, limits: Limits, inspection: Inspection) -> Report {
        let module = inspection.module;
        let commands = module.description.commands.iter().map(|command| Command {
            name: command.name.clone(),
            kind: match command.kind {
                Kind::Write => "write",
                Kind::Read => "read",
                Kind::Intermediate => "intermediate",
            },
            arity: command.arity,
            summary: command.summary.clone(),
        });
        let imports = inspection.imports.into_iter().map(|import| {
            let (supply, note) = match import.supply {
                Supply::Host => ("host", "the contract's own"),
                Supply::Virtual(note) => ("virtual", note),
                Supply::Refused(note) => ("refused", note),
            };
            Import { interface: import.interface, functions: import.functions, supply, note }
        });
        let memory = |size: MemorySize| Memory { initial_bytes: size.initial_bytes, maximum_bytes: size.maximum_bytes };
        let core_modules = inspection.core_modules.into_iter().map(|module| CoreModule {
            name: module.name,
            bytes: module.bytes,
            memories: module.memories.into_iter().map(memory).collect(),
            mutable_globals: module.mutable_globals,
        });
        Report {
            file,
            name: module.description.name.clone(),
            version: module.description.version.clone(),
            hash: module.hash,
            bytes: module.bytes,
            kind: if inspection.wrapped { "core module" } else { "component" },
            commands: commands.collect(),
            batch: module.batch,
            tick: module.tick,
            portable: module.portable,
            state_version: module.description.state_version,
            imports: imports.collect(),
            core_modules: core_modules.collect(),
            snapshot: Snapshot {
                mode: "memory image",
                memories: inspection.state_memories,
                globals: inspection.state_globals,
            },
            memory_limit_bytes: limits.memory_bytes_max,
            engine: module.engine,
            compile_ms: inspection.compile_time.as_millis() as u64,
        }
    }

    fn interfaces(&self) -> String {
        let optional = [("batch", self.batch), ("tick", self.tick), ("portable", self.portable)];
        let names = |has: bool| {
            let names = optional.iter().filter(|(_, exported)| *exported == has).map(|(name, _)| *name);
            names.collect::<Vec<_>>().join(", ")
        };
        match (names(true), names(false)) {
            (has, hasnt) if has.is_empty() => format!("none of {hasnt}"),
            (has, hasnt) if hasnt.is_empty() => has,
            (has, hasnt) => format!("{has}; not {hasnt}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.name, self.version)?;
        let wrapped = if self.kind == "component" { "" } else { ", of which the server makes a component" };
        let state = &self.snapshot;
        let facts = [
            ("file", format!("{}, {}", self.file, size(self.bytes as u64))),
            ("sha256", self.hash.clone()),
            ("kind", format!("{}{wrapped}", self.kind)),
            ("interfaces", self.interfaces()),
            (
                "snapshots",
                format!("{}: {}, {}", state.mode, count(state.memories, "memor", "y", "ies"), globals(state.globals)),
            ),
            ("state version", self.state_version.to_string()),
            ("engine", self.engine.clone()),
            ("compiled in", format!("{} ms", self.compile_ms)),
        ];
        columns(f, &facts.map(|(name, fact)| [name.to_owned(), fact]))?;

        writeln!(f, "\ncommands")?;
        let command = |command: &Command| {
            let arity = match command.arity {
                -1 => "any words".to_owned(),
                arity if arity < 0 => format!("{} words or more", arity.unsigned_abs()),
                arity => count(arity.unsigned_abs() as usize, "word", "", "s"),
            };
            [command.name.clone(), command.kind.to_owned(), arity, command.summary.clone()]
        };
        columns(f, &self.commands.iter().map(command).collect::<Vec<_>>())?;

        writeln!(f, "\nimports, all of them deterministic")?;
        let import = |import: &Import| {
            let supply = format!("{}: {}", import.supply, import.note);
            [import.interface.clone(), supply, import.functions.join(", ")]
        };
        columns(f, &self.imports.iter().map(import).collect::<Vec<_>>())?;

        writeln!(f, "\ncore modules")?;
        let module = |module: &CoreModule| {
            let memories: Vec<String> = module.memories.iter().map(|memory| self.memory(memory)).collect();
            let memories = if memories.is_empty() { "no memory".to_owned() } else { memories.join("; ") };
            let name = module.name.clone().unwrap_or_else(|| "without a name".to_owned());
            [name, size(module.bytes as u64), globals(module.mutable_globals), memories]
        };
        columns(f, &self.core_modules.iter().map(module).collect::<Vec<_>>())
    }
}

impl Report {
    fn memory(&self, memory: &Memory) -> String {
        let most = memory.maximum_bytes.unwrap_or(u64::MAX).min(self.memory_limit_bytes);
        format!("memory of {}, at most {}", size(memory.initial_bytes), size(most))
    }
}

fn globals(number: usize) -> String {
    count(number, "mutable global", "", "s")
}

fn count(number: usize, word: &str, one: &str, many: &str) -> String {
    format!("{number} {word}{}", if number == 1 { one } else { many })
}

/// Rounded to a tenth.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0x4000_0000.. => (1_u64 << 30, "GiB"),
        0x10_0000.. => (1 << 20, "MiB"),
        0x400.. => (1 << 10, "KiB"),
        _ => return count(bytes as usize, "byte", "", "s"),
    };
    let tenths = format!("{:.1}", bytes as f64 / unit as f64);
    format!("{}{name}", tenths.trim_end_matches(".0"))
}

/// Indented rows whose columns stand below each other; the last one takes what it needs.
fn columns<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    if rows.is_empty() { writeln!(f, "  none") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1, 512, 1536, 1 << 16, 1_234_567, 17 << 16, 4 << 30];
        assert_eq!(sizes.map(size), ["0 bytes", "1 byte", "512 bytes", "1.5KiB", "64KiB", "1.2MiB", "1.1MiB", "4GiB"]);
    }

    #[test]
    fn a_report_tells_all_of_an_example() {
        let module = "builtin:kvdb".parse().unwrap();
        let report = inspect(&module, Limits::default()).unwrap();
        assert!(report.batch && report.portable && report.kind == "core module");
        assert!(report.commands.iter().any(|command| command.name == "SET" && command.kind == "write"));
        assert!(report.core_modules.iter().any(|module| !module.memories.is_empty()));
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("kvdb "), "{text}");
        for start in ["commands", "imports", "core modules", "  sha256 ", "  GET ", "  uhaha:machine/host@0.1.0"] {
            assert!(lines.iter().any(|line| line.starts_with(start)), "{start:?} is not in {text}");
        }
    }
}
