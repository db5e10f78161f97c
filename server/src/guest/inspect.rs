//! `Inspection`: what a module is made of and how it is served here, for those who build guests.

use super::load::{Error, Guest};
use super::spec::ModuleInfo;
use super::{Limits, encode};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use wasmparser::{KnownCustom, MemoryType, Name, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

const WASM_PAGE_BYTES_LOG2: u32 = 16;

#[derive(Clone, Debug)]
pub struct Inspection {
    pub module: ModuleInfo,
    /// Whether it was given as a core module, of which the server made a component.
    pub wrapped: bool,
    /// By interface, and for each by what stands behind it.
    pub imports: Vec<Import>,
    /// All of them, also those that a toolchain or the server put in.
    pub core_modules: Vec<CoreModule>,
    /// What a state image holds.
    pub state_memories: usize,
    pub state_globals: usize,
    pub compile_time: Duration,
}

/// Functions of one interface that the guest imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    pub interface: String,
    pub functions: Vec<String>,
    pub supply: Supply,
}

/// What stands behind an import. All of it is the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supply {
    /// The contract's own.
    Host,
    /// WASI, answered from the log or with nothing.
    Virtual(&'static str),
    /// WASI that every call of fails.
    Refused(&'static str),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreModule {
    /// As its name section has it.
    pub name: Option<String>,
    pub bytes: usize,
    /// Those that it defines.
    pub memories: Vec<MemorySize>,
    pub mutable_globals: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySize {
    pub initial_bytes: u64,
    /// None if only the limit of the server holds.
    pub maximum_bytes: Option<u64>,
}

impl Inspection {
    /// Loads the module as a node would, so it is refused exactly if a node would refuse it.
    pub fn of(module: &[u8], limits: Limits, cache: &Path) -> Result<Inspection, Error> {
        let guest = Guest::load(module, limits, cache)?;
        let module = wat::parse_bytes(module).map_err(|error| Error::NotWasm(error.into()))?;
        let wrapped = !Parser::is_component(&module);
        let component = if wrapped { encode::component(&module)? } else { module.to_vec() };
        let invalid = |error: wasmparser::BinaryReaderError| Error::Invalid(error.into());
        let imported = if wrapped {
            imports_of_core(&module).map_err(invalid)?
        } else {
            imports_of(guest.engine(), guest.component())
        };
        let (state_memories, state_globals) = guest.captured();
        Ok(Inspection {
            module: guest.info(),
            wrapped,
            imports: by_supply(imported),
            core_modules: core_modules(&component).map_err(invalid)?,
            state_memories,
            state_globals,
            compile_time: guest.compile_time(),
        })
    }
}

fn imports_of(engine: &Engine, component: &Component) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (interface, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        for (function, item) in instance.exports(engine) {
            if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
                found.push((interface.to_owned(), function.to_owned()));
            }
        }
    }
    found
}

fn imports_of_core(module: &[u8]) -> Result<Vec<(String, String)>, wasmparser::BinaryReaderError> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let import = import?;
                found.push((import.module.to_owned(), import.name.to_owned()));
            }
        }
    }
    Ok(found)
}

fn by_supply(imported: Vec<(String, String)>) -> Vec<Import> {
    let mut groups: BTreeMap<(String, Supply), Vec<String>> = BTreeMap::new();
    for (interface, function) in imported {
        let supply = supply(&interface, &function);
        groups.entry((interface, supply)).or_default().push(function);
    }
    let import = |((interface, supply), functions)| Import { interface, functions, supply };
    groups.into_iter().map(import).collect()
}

const CLOCK: Supply = Supply::Virtual("the machine's time");
const RANDOM: Supply = Supply::Virtual("the log's generator");
const PRINTED: Supply = Supply::Virtual("lines of the server's log");
const EMPTY: Supply = Supply::Virtual("empty");
const AT_ONCE: Supply = Supply::Virtual("over at once");
const EXIT: Supply = Supply::Virtual("ends the command as a trap does");
const NO_FILES: Supply = Supply::Refused("there are no files");
const NO_NETWORK: Supply = Supply::Refused("there is no network");

/// As `wasi.rs` and `preview1.wat` have it.
fn supply(interface: &str, function: &str) -> Supply {
    if let Some(wasi) = interface.strip_prefix("wasi:") {
        let sleeps = function.starts_with("subscribe");
        return match wasi.split_once('@').map_or(wasi, |(name, _)| name) {
            "clocks/monotonic-clock" if sleeps => AT_ONCE,
            name if name.starts_with("clocks/") => CLOCK,
            name if name.starts_with("random/") => RANDOM,
            "cli/stdout" | "cli/stderr" => PRINTED,
            "cli/exit" => EXIT,
            name if name.starts_with("cli/") => EMPTY,
            name if name.starts_with("filesystem/") => NO_FILES,
            name if name.starts_with("sockets/") => NO_NETWORK,
            _ => Supply::Virtual("streams of the others"),
        };
    }
    if interface != encode::PREVIEW1_NAME {
        return Supply::Host;
    }
    match function {
        "clock_time_get" | "clock_res_get" => CLOCK,
        "random_get" => RANDOM,
        "fd_write" | "fd_fdstat_get" => PRINTED,
        "sched_yield" | "poll_oneoff" => AT_ONCE,
        "proc_exit" | "proc_raise" => EXIT,
        name if name.starts_with("args_") || name.starts_with("environ_") => EMPTY,
        name if name.starts_with("sock_") => NO_NETWORK,
        _ => NO_FILES,
    }
}

fn core_modules(component: &[u8]) -> Result<Vec<CoreModule>, wasmparser::BinaryReaderError> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { unchecked_range, .. } => {
                found.push(CoreModule { bytes: unchecked_range.len(), ..CoreModule::default() });
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let size = memory_size(&memory?);
                    if let Some(module) = found.last_mut() {
                        module.memories.push(size);
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let mutable = usize::from(global?.ty.mutable);
                    if let Some(module) = found.last_mut() {
                        module.mutable_globals += mutable;
                    }
                }
            }
            Payload::CustomSection(section) => {
                // A name section that cannot be read is nobody's loss.
                let KnownCustom::Name(names) = section.as_known() else { continue };
                for name in names.into_iter().map_while(Result::ok) {
                    if let (Name::Module { name, .. }, Some(module)) = (name, found.last_mut()) {
                        module.name = Some(name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn memory_size(memory: &MemoryType) -> MemorySize {
    let page_bytes = 1 << memory.page_size_log2.unwrap_or(WASM_PAGE_BYTES_LOG2);
    let bytes = |pages: u64| pages.saturating_mul(page_bytes);
    MemorySize { initial_bytes: bytes(memory.initial), maximum_bytes: memory.maximum.map(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_grouped_by_what_stands_behind_them() {
        let imported = [
            (encode::PREVIEW1_NAME, "fd_write"),
            ("uhaha:machine/host@0.1.0", "now"),
            (encode::PREVIEW1_NAME, "path_open"),
            (encode::PREVIEW1_NAME, "fd_fdstat_get"),
            ("wasi:clocks/monotonic-clock@0.2.3", "now"),
            ("wasi:clocks/monotonic-clock@0.2.3", "subscribe-duration"),
            ("wasi:sockets/tcp@0.2.3", "[method]tcp-socket.start-bind"),
        ];
        let imports = by_supply(imported.map(|(interface, function)| (interface.into(), function.into())).into());
        let shown = imports.iter().map(|import| (&*import.interface, import.functions.len(), import.supply));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                ("uhaha:machine/host@0.1.0", 1, Supply::Host),
                ("wasi:clocks/monotonic-clock@0.2.3", 1, AT_ONCE),
                ("wasi:clocks/monotonic-clock@0.2.3", 1, CLOCK),
                ("wasi:sockets/tcp@0.2.3", 1, NO_NETWORK),
                (encode::PREVIEW1_NAME, 2, PRINTED),
                (encode::PREVIEW1_NAME, 1, NO_FILES),
            ]
        );
    }

    #[test]
    fn core_modules_have_their_names_and_sizes() {
        let wat = "(component
            (core module $outer)
            (core module (memory 2) (memory 1 3) (global (mut i32) (i32.const 0)) (global i32 (i32.const 0))))";
        let found = core_modules(&wat::parse_str(wat).unwrap()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_deref(), found[0].memories.len()), (Some("outer"), 0));
        let size = |initial: u64, maximum: Option<u64>| MemorySize {
            initial_bytes: initial << 16,
            maximum_bytes: maximum.map(|pages| pages << 16),
        };
        assert_eq!(found[1].memories, [size(2, None), size(1, Some(3))]);
        assert_eq!((found[1].mutable_globals, &found[1].name), (1, &None));
    }
}
