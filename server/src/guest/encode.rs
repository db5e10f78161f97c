//! Makes a component of a core module, as `wasm-tools component new` does, so that guests need no such tool.

use wasmparser::{Parser, Payload, TypeRef};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// The contract, as one package.
const WIT: [&str; 4] = [
    include_str!("../../../wit/types.wit"),
    include_str!("../../../wit/host.wit"),
    include_str!("../../../wit/guest.wit"),
    include_str!("../../../wit/world.wit"),
];
const PACKAGE: &str = "package uhaha:machine@0.1.0;";
/// Answers WASI preview 1 with the host's imports.
const PREVIEW1: &str = include_str!("preview1.wat");
pub(super) const PREVIEW1_NAME: &str = "wasi_snapshot_preview1";
/// The exports that make up the worlds, by interface.
const INTERFACES: [&str; 4] = ["handler", "batch", "ticker", "portable"];

/// Why a core module is not a guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the module is not valid WebAssembly")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    #[error("the module uses a shared memory; threads are not deterministic, so build the guest without them")]
    SharedMemory,
    #[error("the module does not fit the world `uhaha:machine/machine`; {}", super::HANDLER_EXPECTED)]
    Misfit(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("building the server's own adapter failed")]
    Adapter(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The component of `module`, whose type is its `component-type` section or, without one, what it exports.
pub(super) fn component(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut module = module.to_vec();
    let found = scan(&module)?;
    if !found.has_type {
        let mut resolve = Resolve::default();
        let world = world(&mut resolve, "guest", &found.guest_world()).map_err(Error::Misfit)?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| Error::Misfit(error.into()))?;
    }
    let misfit = |error: anyhow::Error| Error::Misfit(error.into());
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).map_err(misfit)?;
    if found.has_preview1 {
        encoder = encoder.adapter(PREVIEW1_NAME, &preview1().map_err(Error::Adapter)?).map_err(misfit)?;
    }
    encoder.encode().map_err(misfit)
}

/// What matters of a core module.
#[derive(Default)]
struct Found {
    has_type: bool,
    has_preview1: bool,
    /// The interfaces of the contract that it exports and imports.
    exports: Vec<&'static str>,
    imports_portable_io: bool,
}

impl Found {
    fn guest_world(&self) -> String {
        let mut items = String::from("import host;\n");
        if self.imports_portable_io {
            items.push_str("import portable-io;\n");
        }
        // Without `handler` the encoder is left to say what is missing.
        items.push_str("export handler;\n");
        for interface in self.exports.iter().filter(|interface| **interface != "handler") {
            items.push_str(&format!("export {interface};\n"));
        }
        items
    }
}

fn scan(module: &[u8]) -> Result<Found, Error> {
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::CustomSection(section) => found.has_type |= section.name().starts_with("component-type"),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    found.has_preview1 |= import.module == PREVIEW1_NAME;
                    found.imports_portable_io |= import.module == super::host::PORTABLE_IO;
                    check_memory(&import.ty)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    check_memory(&TypeRef::Memory(memory?))?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let name = export?.name;
                    let interface = INTERFACES
                        .into_iter()
                        .find(|interface| name.starts_with(&format!("uhaha:machine/{interface}@0.1.0#")));
                    if let Some(interface) = interface.filter(|interface| !found.exports.contains(interface)) {
                        found.exports.push(interface);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The encoder would refuse it too, but not say why.
fn check_memory(item: &TypeRef) -> Result<(), Error> {
    if matches!(item, TypeRef::Memory(memory) if memory.shared) { Err(Error::SharedMemory) } else { Ok(()) }
}

/// Resolves the contract with one more world of the given items.
pub(super) fn world(
    resolve: &mut Resolve,
    name: &str,
    items: &str,
) -> Result<WorldId, Box<dyn std::error::Error + Send + Sync>> {
    let contract: String = WIT.iter().map(|file| file.replacen(PACKAGE, "", 1)).collect();
    let package = resolve.push_str("uhaha.wit", &format!("{PACKAGE}\n{contract}\nworld {name} {{ {items} }}"))?;
    Ok(resolve.select_world(&[package], Some(name))?)
}

fn preview1() -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut adapter = wat::parse_str(PREVIEW1)?;
    let mut resolve = Resolve::default();
    let world = world(&mut resolve, "adapter", "import host; import stdio;")?;
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)?;
    Ok(adapter)
}
