//! One core module: exports for its memories and mutable globals.

use super::Error;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{GlobalType, MemoryType, Operator, Parser, Payload, TypeRef, ValType};

/// A core module with its state exported.
pub(super) struct Instrumented {
    pub(super) bytes: Vec<u8>,
    /// Export name and type of each mutable global that the module defines.
    pub(super) globals: Vec<(String, GlobalType)>,
    /// Export name and type of each memory that the module defines.
    pub(super) memories: Vec<(String, MemoryType)>,
}

/// `name` is how messages call the module.
pub(super) fn instrument(name: &str, wasm: &[u8]) -> Result<Instrumented, Error> {
    let mut exports = ExportSection::new();
    let (globals, memories) = scan(name, wasm, &mut exports)?;
    for (export, index, _) in &globals {
        exports.export(export, ExportKind::Global, *index);
    }
    for (export, index, _) in &memories {
        exports.export(export, ExportKind::Memory, *index);
    }
    Ok(Instrumented {
        bytes: with_exports(wasm, &exports)?,
        globals: globals.into_iter().map(|(export, _, ty)| (export, ty)).collect(),
        memories: memories.into_iter().map(|(export, _, ty)| (export, ty)).collect(),
    })
}

type Found<T> = Vec<(String, u32, T)>;

/// Finds what is to be exported, copies the module's own exports, and refuses what an image cannot hold.
fn scan(name: &str, wasm: &[u8], exports: &mut ExportSection) -> Result<(Found<GlobalType>, Found<MemoryType>), Error> {
    let (mut globals, mut memories) = (Vec::new(), Vec::new());
    let (mut global_index, mut memory_index) = (0, 0);
    let module = || format!("core module {name}");
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import?.ty {
                        TypeRef::Global(_) => global_index += 1,
                        TypeRef::Memory(_) => memory_index += 1,
                        _ => {}
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let ty = global?.ty;
                    if ty.mutable {
                        if matches!(ty.content_type, ValType::Ref(_)) {
                            return Err(Error::ReferenceGlobal { module: module() });
                        }
                        globals.push((format!("uhaha-global-{global_index}"), global_index, ty));
                    }
                    global_index += 1;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let ty = memory?;
                    if ty.shared {
                        return Err(Error::SharedMemory { module: module() });
                    }
                    memories.push((format!("uhaha-memory-{memory_index}"), memory_index, ty));
                    memory_index += 1;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    RoundtripReencoder.parse_export(exports, export?).map_err(|error| Error::Reencode(error.into()))?;
                }
            }
            Payload::CodeSectionEntry(body) => {
                let mut operators = body.get_operators_reader()?;
                while !operators.eof() {
                    refuse(&operators.read()?, module)?;
                }
            }
            _ => {}
        }
    }
    Ok((globals, memories))
}

fn refuse(operator: &Operator<'_>, module: impl Fn() -> String) -> Result<(), Error> {
    let table = |instruction| Err(Error::TableChanges { module: module(), instruction });
    let segment = |instruction| Err(Error::SegmentDrops { module: module(), instruction });
    match operator {
        Operator::TableSet { .. } => table("table.set"),
        Operator::TableGrow { .. } => table("table.grow"),
        Operator::TableFill { .. } => table("table.fill"),
        Operator::TableCopy { .. } => table("table.copy"),
        Operator::TableInit { .. } => table("table.init"),
        Operator::DataDrop { .. } => segment("data.drop"),
        Operator::ElemDrop { .. } => segment("elem.drop"),
        _ => Ok(()),
    }
}

/// The module with its export section replaced, every other section as it was.
fn with_exports(wasm: &[u8], exports: &ExportSection) -> Result<Vec<u8>, Error> {
    let mut module = Module::new();
    let mut written = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let Some((id, range)) = payload?.as_section() else { continue };
        if id == SectionId::Export as u8 {
            module.section(exports);
            written = true;
            continue;
        }
        let follows_exports =
            [SectionId::Start, SectionId::Element, SectionId::Code, SectionId::Data, SectionId::DataCount];
        if !written && follows_exports.iter().any(|section| *section as u8 == id) {
            module.section(exports);
            written = true;
        }
        module.section(&RawSection { id, data: &wasm[range] });
    }
    if !written {
        module.section(exports);
    }
    Ok(module.finish())
}
