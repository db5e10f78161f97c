//! Rewrites a component at load so that the host can read and set all of its state.
//!
//! The component model hides the memories and globals inside a component. So every core module gets exports for its
//! memories and mutable globals, and one more core module, the *accessor*, is appended to the component: it imports
//! them all and copies the globals to and from a memory of its own, which the host can see. The guest knows nothing
//! of this. What cannot be captured so (tables changed at run time, references in globals, …) is refused here, with
//! the reason, rather than restored wrongly later.

mod accessor;
mod component;
mod core_module;

pub(super) use component::instrument;

/// Raised when a rewritten module computes or costs something else than before: part of the engine's fingerprint.
pub(super) const INSTRUMENTATION_VERSION: u32 = 1;

/// What the accessor exports, as an instance of the component.
pub(super) const ACCESS: &str = "uhaha:state/access";
/// Copies every captured global into the accessor's memory.
pub(super) const SAVE: &str = "save";
/// Copies them back.
pub(super) const LOAD: &str = "load";
/// Bytes that one global takes in the accessor's memory, whatever its type.
pub(super) const SLOT_BYTES: usize = 16;

/// The accessor's function that grows memory `n` by a number of wasm pages; -1 when it cannot.
pub(super) fn grow(memory: usize) -> String {
    format!("grow{memory}")
}

/// What a rewritten component offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many globals `save` and `load` copy.
    pub(super) globals: usize,
    /// The guest's memories in the order of their creation; true for 64-bit ones. The accessor's own comes after them.
    pub(super) memories: Vec<bool>,
}

/// Why a component's state cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the module is not valid WebAssembly")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    #[error("{module} changes a table at run time ({instruction}), and tables are not part of a state image; {REMEDY}")]
    TableChanges { module: String, instruction: &'static str },
    #[error("{module} drops segments at run time ({instruction}), which a state image cannot express; {REMEDY}")]
    SegmentDrops { module: String, instruction: &'static str },
    #[error("{module} has a mutable global that holds a reference, which a state image cannot express; {REMEDY}")]
    ReferenceGlobal { module: String },
    #[error("{module} uses a shared memory; threads are not deterministic, so build the guest without them")]
    SharedMemory { module: String },
    #[error(
        "a core module stands inside a nested component, whose state cannot be captured yet; link it into one component"
    )]
    NestedModule,
    #[error("the component {what}, whose state cannot be captured yet")]
    Unsupported { what: String },
    #[error("rewriting the module failed")]
    Reencode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

const REMEDY: &str =
    "build the guest with a toolchain that keeps its state in linear memory (Rust, C, Zig, Go and others do)";

#[cfg(test)]
mod tests {
    use super::*;

    fn instrumented(wat: &str) -> Result<Plan, Error> {
        instrument(&wat::parse_str(wat).unwrap()).map(|(_, plan)| plan)
    }

    fn module(body: &str) -> String {
        format!("(component (core module $m {body}) (core instance (instantiate $m)))")
    }

    #[test]
    fn counts_globals_and_memories() {
        let plan = instrumented(&module(
            "(memory 1) (global (mut i32) (i32.const 0)) (global i32 (i32.const 1)) (global (mut v128) (v128.const i64x2 0 0))
             (global (mut f64) (f64.const 0)) (export \"x\" (global 0)) (func)",
        ))
        .unwrap();
        assert_eq!(plan, Plan { globals: 3, memories: vec![false] });
        assert_eq!(instrumented("(component)").unwrap(), Plan::default());
    }

    #[test]
    fn a_module_instantiated_twice_counts_twice() {
        let wat = "(component (core module $m (memory 1) (global (mut i64) (i64.const 0)))
                   (core instance (instantiate $m)) (core instance (instantiate $m)))";
        assert_eq!(instrumented(wat).unwrap(), Plan { globals: 2, memories: vec![false, false] });
    }

    #[test]
    fn refuses_what_an_image_cannot_hold() {
        let refused = |body: &str| instrumented(&module(body)).unwrap_err().to_string();
        let table = "(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))";
        assert!(refused(table).contains("table.set"), "{}", refused(table));
        assert!(refused("(data $d \"x\") (func (data.drop $d))").contains("data.drop"));
        assert!(refused("(global (mut funcref) (ref.null func))").contains("reference"));
        assert!(refused("(memory 1 1 shared)").contains("shared"));
        let nested = "(component (component (core module)))";
        assert!(matches!(instrumented(nested), Err(Error::NestedModule)));
        let aliased = "(component $c (core module $m (global (mut i32) (i32.const 0)))
            (component (alias outer $c $m (core module $n)) (core instance (instantiate $n))))";
        assert!(matches!(instrumented(aliased), Err(Error::NestedModule)));
    }
}
