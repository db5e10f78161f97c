//! The accessor: the last core module of a component, which copies every captured global to and from the keeper's
//! memory and grows memories.

use super::{SLOT_BYTES, keeper};
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, InstructionSink, MemArg, Module,
    TypeSection, ValType,
};
use wasmparser::{GlobalType, MemoryType};

/// Copies the captured globals into the keeper's memory.
pub(super) const SAVE: &str = "save";
/// Copies them back.
pub(super) const LOAD: &str = "load";

/// Returns the index of the handle that it is given.
pub(super) const ADOPT: &str = "adopt";

/// Grows memory `n` of the component by a number of wasm pages; -1 when it cannot.
pub(super) fn grow(memory: usize) -> String {
    format!("grow{memory}")
}

/// Builds the accessor from what it is to import: (instance, export, type) for each global and memory.
#[derive(Default)]
pub(super) struct Accessor {
    imports: ImportSection,
    globals: Vec<wasmparser::ValType>,
    /// True for 64-bit ones.
    memories: Vec<bool>,
    /// Whether it takes handles.
    pub(super) adopts: bool,
}

impl Accessor {
    pub(super) fn global(&mut self, instance: &str, export: &str, ty: GlobalType) -> Result<(), Error> {
        self.imports.import(instance, export, RoundtripReencoder.global_type(ty)?);
        self.globals.push(ty.content_type);
        Ok(())
    }

    pub(super) fn memory(&mut self, instance: &str, export: &str, ty: MemoryType) -> Result<(), Error> {
        self.imports.import(instance, export, RoundtripReencoder.memory_type(ty)?);
        self.memories.push(ty.memory64);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Module {
        let kept = self.memories.len() as u32;
        self.imports.import(keeper::NAME, keeper::MEMORY, keeper::memory(self.globals.len()));
        let (mut types, mut functions, mut exports, mut code) =
            (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
        let mut add = |name: &str, value: Option<ValType>, body: &dyn Fn(&mut InstructionSink<'_>)| {
            let index = functions.len();
            types.ty().function(value, value);
            functions.function(index);
            let mut function = Function::new([]);
            let mut instructions = function.instructions();
            body(&mut instructions);
            instructions.end();
            code.function(&function);
            exports.export(name, ExportKind::Func, index);
        };
        add(SAVE, None, &|out| {
            for (index, ty) in self.globals.iter().enumerate() {
                out.i32_const(0).global_get(index as u32);
                store(out, *ty, slot(index, kept));
            }
        });
        add(LOAD, None, &|out| {
            for (index, ty) in self.globals.iter().enumerate() {
                out.i32_const(0);
                load(out, *ty, slot(index, kept));
                out.global_set(index as u32);
            }
        });
        for (index, wide) in self.memories.iter().enumerate() {
            let value = if *wide { ValType::I64 } else { ValType::I32 };
            add(&grow(index), Some(value), &|out| {
                out.local_get(0).memory_grow(index as u32);
            });
        }
        if self.adopts {
            add(ADOPT, Some(ValType::I32), &|out| {
                out.local_get(0);
            });
        }
        let mut module = Module::new();
        module.section(&types).section(&self.imports).section(&functions).section(&exports).section(&code);
        module
    }
}

fn slot(index: usize, memory: u32) -> MemArg {
    MemArg { offset: (keeper::GLOBALS_OFFSET + index * SLOT_BYTES) as u64, align: 0, memory_index: memory }
}

fn store(out: &mut InstructionSink<'_>, ty: wasmparser::ValType, at: MemArg) {
    match ty {
        wasmparser::ValType::I32 => out.i32_store(at),
        wasmparser::ValType::I64 => out.i64_store(at),
        wasmparser::ValType::F32 => out.f32_store(at),
        wasmparser::ValType::F64 => out.f64_store(at),
        wasmparser::ValType::V128 => out.v128_store(at),
        wasmparser::ValType::Ref(_) => unreachable!("references are refused when a module is scanned"),
    };
}

fn load(out: &mut InstructionSink<'_>, ty: wasmparser::ValType, at: MemArg) {
    match ty {
        wasmparser::ValType::I32 => out.i32_load(at),
        wasmparser::ValType::I64 => out.i64_load(at),
        wasmparser::ValType::F32 => out.f32_load(at),
        wasmparser::ValType::F64 => out.f64_load(at),
        wasmparser::ValType::V128 => out.v128_load(at),
        wasmparser::ValType::Ref(_) => unreachable!("references are refused when a module is scanned"),
    };
}
