//! The keeper: the first core module of a component, which holds what the server keeps inside it.
//!
//! That is the counter of the call stack, which all modules of the component share, and a memory that the host can
//! see: a mark that the counter ran out, and behind it a slot for each captured global.

use super::SLOT_BYTES;
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, MemArg,
    MemorySection, MemoryType, Module, NameSection, TypeSection, ValType,
};

/// What the keeper is called where others import from it, and in backtraces, which leave it out.
pub(in crate::guest) const NAME: &str = "uhaha:keeper";
/// A mutable `i32` global: slots of the call stack that are left.
pub(super) const LEFT: &str = "left";
/// A function that marks the call stack as exhausted and traps.
pub(super) const EXHAUSTED: &str = "exhausted";
pub(super) const MEMORY: &str = "memory";

/// Where the captured globals begin; the mark stands before them.
pub(in crate::guest) const GLOBALS_OFFSET: usize = SLOT_BYTES;

const WASM_PAGE_BYTES: usize = 1 << 16;

/// Whether the call stack was used up, from the content of the keeper's memory.
pub(in crate::guest) fn is_exhausted(memory: &[u8]) -> bool {
    memory.first().is_some_and(|mark| *mark != 0)
}

/// The type of the keeper's memory, with slots for so many globals.
pub(super) fn memory(globals: usize) -> MemoryType {
    let pages = (GLOBALS_OFFSET + globals * SLOT_BYTES).div_ceil(WASM_PAGE_BYTES) as u64;
    MemoryType { minimum: pages, maximum: Some(pages), memory64: false, shared: false, page_size_log2: None }
}

/// The type of the counter.
pub(super) fn left() -> GlobalType {
    GlobalType { val_type: ValType::I32, mutable: true, shared: false }
}

/// Builds the keeper.
pub(super) fn module(stack_slots: u32, globals: usize) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(memory(globals));
    let mut counter = GlobalSection::new();
    counter.global(left(), &ConstExpr::i32_const(stack_slots as i32));
    let mut exports = ExportSection::new();
    exports.export(LEFT, ExportKind::Global, 0);
    exports.export(EXHAUSTED, ExportKind::Func, 0);
    exports.export(MEMORY, ExportKind::Memory, 0);
    let mut exhausted = Function::new([]);
    let mark = MemArg { offset: 0, align: 0, memory_index: 0 };
    exhausted.instructions().i32_const(0).i32_const(1).i32_store8(mark).unreachable().end();
    let mut code = CodeSection::new();
    code.function(&exhausted);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&counter).section(&exports).section(&code);
    let mut names = NameSection::new();
    names.module(NAME);
    module.section(&names);
    module
}
