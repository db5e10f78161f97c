//! The call stack, counted: what a function's frame costs, and the code that charges it and gives it back.
//!
//! A native stack overflows at a depth that depends on the code generator, so two replicas could disagree about a
//! deep recursion. Here every function that calls takes slots from a counter before its body and gives them back
//! after it, and a counter that has too few left is a trap. What a frame costs is computed from the function's
//! WebAssembly alone, generously enough that the counter strikes well before the native stack (`engine`). A function
//! that calls nothing is only ever the last one on the stack and costs nothing.

use super::Error;
use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, Function};
use wasmparser::{FuncValidator, FunctionBody, Operator, ValType, WasmModuleResources};

/// Bytes of native stack that one slot stands for.
pub(super) const SLOT_BYTES: u32 = 8;
/// What every frame costs. Far more than its return address and saved registers, so that a recursion of small frames
/// ends before it has touched much of the native stack.
const FRAME_SLOTS: u32 = 64;
/// What an operand costs: a vector takes two.
const SLOTS_PER_OPERAND: u32 = 2;
/// What is computed twice the compiler may compute once and keep meanwhile, which no local shows. It takes four
/// operators that compute to make a value and to use it twice, so this is half of what could be kept.
const OPERATORS_PER_SLOT: u32 = 8;
/// The same where there are vectors, each of which takes two slots.
const VECTOR_OPERATORS_PER_SLOT: u32 = 4;

/// The slots that a call of a function takes; none if it calls nothing itself. Validates the function, and shows
/// `visit` each of its operators.
pub(super) fn frame<T: WasmModuleResources>(
    mut validator: FuncValidator<T>,
    body: &FunctionBody<'_>,
    mut visit: impl FnMut(&Operator<'_>) -> Result<(), Error>,
) -> Result<(Option<u32>, FuncValidator<T>), Error> {
    validator.read_locals(&mut body.get_binary_reader())?;
    let (mut computing, mut height, mut calls, mut vectors) = (0_u32, 0_u32, false, false);
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        visit(&operator)?;
        validator.op(offset, &operator)?;
        computing = computing.saturating_add(u32::from(computes(&operator)));
        height = height.max(validator.operand_stack_height());
        calls |= matches!(operator, Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. });
        vectors |= validator.get_operand_type(0) == Some(Some(ValType::V128));
    }
    reader.finish()?;
    let locals = (0..validator.len_locals()).filter_map(|local| validator.get_local_type(local));
    let locals: u32 = locals.map(|ty| if ty == ValType::V128 { 2 } else { 1 }).sum();
    let operands = height.saturating_mul(SLOTS_PER_OPERAND);
    let kept = computing / if vectors { VECTOR_OPERATORS_PER_SLOT } else { OPERATORS_PER_SLOT };
    let slots = FRAME_SLOTS.saturating_add(locals).saturating_add(operands).saturating_add(kept);
    Ok((calls.then_some(slots), validator))
}

/// Whether an operator makes a value, or an address, that was not there before. Constants are made anew at each use.
fn computes(operator: &Operator<'_>) -> bool {
    !matches!(
        operator,
        Operator::LocalGet { .. }
            | Operator::LocalSet { .. }
            | Operator::LocalTee { .. }
            | Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Nop
            | Operator::Drop
    )
}

/// Where a module finds the counter, and what a frame costs.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    /// The global that holds the slots that are left.
    pub(super) left: u32,
    /// The function that traps.
    pub(super) exhausted: u32,
    pub(super) slots: u32,
    /// The type of a block that gives what the function returns.
    pub(super) results: BlockType,
}

impl Charge {
    /// Writes the body's operators to `out`, inside a block between taking and giving back.
    ///
    /// The block stands where the function's own label stood, so a branch to it leaves the block instead and its depth
    /// is unchanged; a `return` becomes such a branch. A tail call leaves the frame before it calls.
    pub(super) fn surround<R: Reencode>(
        self,
        out: &mut Function,
        body: &FunctionBody<'_>,
        reencoder: &mut R,
    ) -> Result<(), wasm_encoder::reencode::Error<R::Error>> {
        self.take(out);
        out.instructions().block(self.results);
        let mut depth = 0_u32;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let operator = operators.read()?;
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    depth += 1;
                }
                Operator::End => depth = depth.saturating_sub(1),
                Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } | Operator::ReturnCallRef { .. } => {
                    self.give_back(out);
                }
                Operator::Return => {
                    out.instructions().br(depth);
                    continue;
                }
                _ => {}
            }
            out.instruction(&reencoder.instruction(operator)?);
        }
        self.give_back(out);
        out.instructions().end();
        Ok(())
    }

    fn take(self, out: &mut Function) {
        let slots = self.slots as i32;
        let mut out = out.instructions();
        out.global_get(self.left).i32_const(slots).i32_lt_u().if_(BlockType::Empty);
        out.call(self.exhausted).unreachable().end();
        out.global_get(self.left).i32_const(slots).i32_sub().global_set(self.left);
    }

    fn give_back(self, out: &mut Function) {
        out.instructions().global_get(self.left).i32_const(self.slots as i32).i32_add().global_set(self.left);
    }
}
