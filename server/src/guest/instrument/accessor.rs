//! The accessor: a core module that copies every captured global to and from its own memory and grows memories.

use super::{LOAD, SAVE, SLOT_BYTES, grow};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, InstructionSink, MemArg,
    MemorySection, Module, TypeSection, ValType,
};
use wasmparser::{GlobalType, MemoryType};

const WASM_PAGE_BYTES: usize = 1 << 16;

/// A function that the accessor exports, for lifting: its name and the type of its parameter and result, if any.
pub(super) struct Export {
    pub(super) name: String,
    pub(super) value: Option<ValType>,
}

/// Builds the accessor from what it is to import: (instance, export, type) for each global and memory.
pub(super) struct Accessor {
    imports: ImportSection,
    globals: Vec<wasmparser::ValType>,
    memories: Vec<bool>,
}

impl Accessor {
    pub(super) fn new() -> Accessor {
        Accessor { imports: ImportSection::new(), globals: Vec::new(), memories: Vec::new() }
    }

    pub(super) fn global(&mut self, instance: &str, export: &str, ty: GlobalType) -> Result<(), super::Error> {
        let global = RoundtripReencoder.global_type(ty).map_err(|error| super::Error::Reencode(error.into()))?;
        self.imports.import(instance, export, global);
        self.globals.push(ty.content_type);
        Ok(())
    }

    pub(super) fn memory(&mut self, instance: &str, export: &str, ty: MemoryType) -> Result<(), super::Error> {
        let memory = RoundtripReencoder.memory_type(ty).map_err(|error| super::Error::Reencode(error.into()))?;
        self.imports.import(instance, export, memory);
        self.memories.push(ty.memory64);
        Ok(())
    }

    pub(super) fn plan(&self) -> super::Plan {
        super::Plan { globals: self.globals.len(), memories: self.memories.clone() }
    }

    pub(super) fn finish(self) -> (Module, Vec<Export>) {
        let own_memory = self.memories.len() as u32;
        let (mut types, mut functions, mut exports, mut code) =
            (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
        let mut lifted = Vec::new();
        let mut add = |name: String, value: Option<ValType>, body: &dyn Fn(&mut InstructionSink<'_>)| {
            let index = lifted.len() as u32;
            types.ty().function(value, value);
            functions.function(index);
            let mut function = Function::new([]);
            let mut instructions = function.instructions();
            body(&mut instructions);
            instructions.end();
            code.function(&function);
            exports.export(&name, ExportKind::Func, index);
            lifted.push(Export { name, value });
        };
        add(SAVE.to_owned(), None, &|out| {
            for (index, ty) in self.globals.iter().enumerate() {
                out.i32_const(0).global_get(index as u32);
                store(out, *ty, slot(index, own_memory));
            }
        });
        add(LOAD.to_owned(), None, &|out| {
            for (index, ty) in self.globals.iter().enumerate() {
                out.i32_const(0);
                load(out, *ty, slot(index, own_memory));
                out.global_set(index as u32);
            }
        });
        for (index, wide) in self.memories.iter().enumerate() {
            let value = if *wide { ValType::I64 } else { ValType::I32 };
            add(grow(index), Some(value), &|out| {
                out.local_get(0).memory_grow(index as u32);
            });
        }
        let mut memories = MemorySection::new();
        let bytes = (self.globals.len() * SLOT_BYTES).max(1);
        let pages = bytes.div_ceil(WASM_PAGE_BYTES) as u64;
        memories.memory(wasm_encoder::MemoryType {
            minimum: pages,
            maximum: Some(pages),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut module = Module::new();
        module.section(&types).section(&self.imports).section(&functions).section(&memories);
        module.section(&exports).section(&code);
        (module, lifted)
    }
}

fn slot(index: usize, memory: u32) -> MemArg {
    MemArg { offset: (index * SLOT_BYTES) as u64, align: 0, memory_index: memory }
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
