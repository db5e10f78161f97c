//! One core module: exports for its memories and mutable globals, and a counted call stack.

use super::stack::{self, Charge};
use super::{Error, keeper};
use std::convert::Infallible;
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{BlockType, CodeSection, EntityType, ExportKind, ExportSection, ImportSection, Module, SectionId};
use wasmparser::{
    CompositeInnerType, FuncValidatorAllocations, FunctionBody, GlobalType, KnownCustom, MemoryType, Operator, Parser,
    Payload, TypeRef, ValType, ValidPayload, Validator, WasmFeatures,
};

/// A core module as it takes the place of the guest's.
pub(super) struct CoreModule {
    pub(super) bytes: Vec<u8>,
    /// Export name and type of each mutable global that the module defines.
    pub(super) globals: Vec<(String, GlobalType)>,
    /// Export name and type of each memory that the module defines.
    pub(super) memories: Vec<(String, MemoryType)>,
    /// Whether it counts its calls, for which it imports from the keeper.
    pub(super) counts_calls: bool,
}

impl CoreModule {
    /// Rewrites a module. `name` is how messages call it.
    pub(super) fn new(name: &str, wasm: &[u8], counts_calls: bool) -> Result<CoreModule, Error> {
        let mut found = Found::scan(name, wasm)?;
        if !counts_calls {
            found.frames.fill(None);
        }
        let mut module = CoreModule {
            bytes: wasm.to_vec(),
            globals: found.globals.iter().map(|(index, ty)| (global(*index), *ty)).collect(),
            memories: found.memories.iter().map(|(index, ty)| (memory(*index), *ty)).collect(),
            counts_calls: found.frames.iter().any(Option::is_some),
        };
        if module.is_rewritten() {
            let mut rewritten = Module::new();
            Rewrite::new(&found, module.counts_calls).parse_core_module(&mut rewritten, Parser::new(0), wasm)?;
            module.bytes = rewritten.finish();
        }
        Ok(module)
    }

    /// Whether it has anything that the server captures or counts.
    pub(super) fn is_rewritten(&self) -> bool {
        self.counts_calls || self.is_captured()
    }

    /// Whether it has anything that the server captures.
    pub(super) fn is_captured(&self) -> bool {
        !self.globals.is_empty() || !self.memories.is_empty()
    }
}

fn global(index: u32) -> String {
    format!("uhaha-global-{index}")
}

fn memory(index: u32) -> String {
    format!("uhaha-memory-{index}")
}

/// What is to be known of a module before it is rewritten.
#[derive(Default)]
struct Found {
    /// Results of each type that is a function's.
    types: Vec<Vec<ValType>>,
    imported_functions: u32,
    imported_globals: u32,
    /// The mutable globals that it defines.
    globals: Vec<(u32, GlobalType)>,
    /// The memories that it defines.
    memories: Vec<(u32, MemoryType)>,
    /// Types of the functions that it defines.
    functions: Vec<u32>,
    /// Slots of the stack that each of them takes, if it calls.
    frames: Vec<Option<u32>>,
}

impl Found {
    /// Looks through the module and refuses what an image cannot hold.
    fn scan(name: &str, wasm: &[u8]) -> Result<Found, Error> {
        let module = || format!("core module {name}");
        let mut found = Found::default();
        let (mut global_index, mut memory_index) = (0, 0);
        let mut validator = Validator::new_with_features(WasmFeatures::default());
        let mut allocations = FuncValidatorAllocations::default();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
                let validator = function.into_validator(allocations);
                let (frame, validator) = stack::frame(validator, &body, |operator| refuse(operator, module))?;
                found.frames.push(frame);
                allocations = validator.into_allocations();
            }
            match payload {
                Payload::TypeSection(section) => {
                    for group in section {
                        found.types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(function) => function.results().to_vec(),
                            _ => Vec::new(),
                        }));
                    }
                }
                Payload::FunctionSection(section) => {
                    found.functions = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => found.imported_functions += 1,
                            TypeRef::Global(_) => global_index += 1,
                            TypeRef::Memory(_) => memory_index += 1,
                            _ => {}
                        }
                    }
                    found.imported_globals = global_index;
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let ty = global?.ty;
                        if ty.mutable {
                            if matches!(ty.content_type, ValType::Ref(_)) {
                                return Err(Error::ReferenceGlobal { module: module() });
                            }
                            found.globals.push((global_index, ty));
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
                        found.memories.push((memory_index, ty));
                        memory_index += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

impl Found {
    /// Slots and results of a function that it defines, if it calls.
    fn frame(&self, function: usize) -> Option<(u32, &[ValType])> {
        let slots = self.frames.get(function).copied().flatten()?;
        let results = self.types.get(*self.functions.get(function)? as usize)?;
        Some((slots, results))
    }
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

/// Copies a module with what is new in it. Imports come first in their index spaces, so the function and the global
/// that a counting module imports move up those that it defines.
struct Rewrite<'a> {
    found: &'a Found,
    counts_calls: bool,
    /// Results of several values that a block must have, for which types are added behind that of `exhausted`.
    blocks: Vec<&'a [ValType]>,
    next_body: usize,
    has_imports: bool,
    has_exports: bool,
}

impl<'a> Rewrite<'a> {
    fn new(found: &'a Found, counts_calls: bool) -> Rewrite<'a> {
        let mut blocks: Vec<&[ValType]> = Vec::new();
        for (_, results) in (0..found.frames.len()).filter_map(|function| found.frame(function)) {
            if results.len() > 1 && !blocks.contains(&results) {
                blocks.push(results);
            }
        }
        Rewrite { found, counts_calls, blocks, next_body: 0, has_imports: false, has_exports: false }
    }

    fn add_imports(&mut self, imports: &mut ImportSection) {
        self.has_imports = true;
        if self.counts_calls {
            imports.import(keeper::NAME, keeper::EXHAUSTED, EntityType::Function(self.found.types.len() as u32));
            imports.import(keeper::NAME, keeper::LEFT, keeper::left());
        }
    }

    fn add_exports(&mut self, exports: &mut ExportSection) -> Result<(), reencode::Error> {
        self.has_exports = true;
        for (index, _) in &self.found.globals {
            exports.export(&global(*index), ExportKind::Global, self.global_index(*index)?);
        }
        for (index, _) in &self.found.memories {
            exports.export(&memory(*index), ExportKind::Memory, *index);
        }
        Ok(())
    }

    /// The type of a block with these results.
    fn block(&mut self, results: &[ValType]) -> Result<BlockType, reencode::Error> {
        Ok(match results {
            [] => BlockType::Empty,
            [result] => BlockType::Result(self.val_type(*result)?),
            several => {
                let position = self.blocks.iter().position(|block| *block == several);
                BlockType::FunctionType((self.found.types.len() + 1 + position.unwrap_or_default()) as u32)
            }
        })
    }
}

impl Reencode for Rewrite<'_> {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, reencode::Error> {
        Ok(index + u32::from(self.counts_calls && index >= self.found.imported_functions))
    }

    fn global_index(&mut self, index: u32) -> Result<u32, reencode::Error> {
        Ok(index + u32::from(self.counts_calls && index >= self.found.imported_globals))
    }

    fn parse_type_section(
        &mut self,
        types: &mut wasm_encoder::TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        utils::parse_type_section(self, types, section)?;
        if self.counts_calls {
            types.ty().function([], []);
            for results in self.blocks.clone() {
                let results = self.val_types(results.to_vec())?;
                types.ty().function([], results);
            }
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        utils::parse_import_section(self, imports, section)?;
        self.add_imports(imports);
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        utils::parse_export_section(self, exports, section)?;
        self.add_exports(exports)
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), reencode::Error> {
        let frame = self.found.frame(self.next_body);
        self.next_body += 1;
        let Some((slots, results)) = frame else {
            return utils::parse_function_body(self, code, body);
        };
        let (exhausted, left) = (self.found.imported_functions, self.found.imported_globals);
        let charge = Charge { left, exhausted, slots, results: self.block(results)? };
        let mut function = self.new_function_with_parsed_locals(&body)?;
        charge.surround(&mut function, &body, self)?;
        code.function(&function);
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        match section.as_known() {
            // Names are for backtraces only: what cannot be read is no reason to refuse the module.
            KnownCustom::Name(names) => {
                if let Ok(names) = self.custom_name_section(names) {
                    module.section(&names);
                }
            }
            // They name places in the code, which is rewritten.
            KnownCustom::BranchHints(_) => {}
            _ => {
                module.section(&self.custom_section(section)?);
            }
        }
        Ok(())
    }

    /// Adds the sections that the module does not have.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), reencode::Error> {
        let precedes_imports = matches!(before, Some(SectionId::Type | SectionId::Import));
        if !self.has_imports && !precedes_imports {
            let mut imports = ImportSection::new();
            self.add_imports(&mut imports);
            if !imports.is_empty() {
                module.section(&imports);
            }
        }
        let follows_exports = match before {
            None => true,
            Some(section) => matches!(
                section,
                SectionId::Start | SectionId::Element | SectionId::DataCount | SectionId::Code | SectionId::Data
            ),
        };
        if !self.has_exports && follows_exports {
            let mut exports = ExportSection::new();
            self.add_exports(&mut exports)?;
            if !exports.is_empty() {
                module.section(&exports);
            }
        }
        Ok(())
    }
}
