//! Rewrites a component at load so that the host can read and set all of its state, and so that its call stack ends at
//! the same depth everywhere.
//!
//! The component model hides the memories and globals inside a component. So every core module gets exports for its
//! memories and mutable globals, and two more core modules are added: the *keeper*, which comes first and has a memory
//! that the host can see, and the *accessor*, which comes last, imports everything, and copies the globals to and from
//! the keeper's memory. The outermost component also lets the host put WASI handles into its table, for those that an
//! image has. A component nested in another gets both as well, and what it so exports is passed on outwards.
//! Functions that call take their frame's cost from a counter that the keeper holds (`stack`). The guest knows nothing
//! of this. What cannot be captured so (tables changed at run time, references in globals, …) is refused here, with
//! the reason, rather than restored wrongly later.

mod accessor;
mod component;
mod core_module;
mod keeper;
mod stack;
mod survey;
#[cfg(test)]
mod tests;

pub(super) use component::instrument;
pub(super) use keeper::{GLOBALS_OFFSET, NAME as KEEPER_NAME, is_exhausted};

/// Changes with whatever a guest can observe of the rewriting: the fuel that it adds, the depth of the call stack.
/// Replicas that differ in it must not apply the same log.
pub(super) const INSTRUMENTATION_VERSION: u32 = 1;

/// Slots of the call stack that all components of a guest have together.
const STACK_SLOTS: u32 = 8 << 20;
/// Bytes that the counted call stack stands for.
pub(super) const STACK_BYTES: usize = STACK_SLOTS as usize * stack::SLOT_BYTES as usize;
/// Components, with those nested in them, that may have core modules; each gets a share of the stack.
const KEEPERS_MAX: u32 = 16;

/// What the accessors export, as an instance of the component.
pub(super) const ACCESS: &str = "uhaha:state/access";
/// Bytes that one global takes in a keeper's memory, whatever its type.
pub(super) const SLOT_BYTES: usize = 16;

/// The function of accessor `n` that copies every captured global into the keeper's memory.
pub(super) fn save(accessor: usize) -> String {
    format!("save{accessor}")
}

/// The function of accessor `n` that copies them back.
pub(super) fn load(accessor: usize) -> String {
    format!("load{accessor}")
}

/// The function that grows memory `n` by a number of wasm pages; -1 when it cannot.
pub(super) fn grow(memory: usize) -> String {
    format!("grow{memory}")
}

/// The function that gives the guest a handle of this resource type and returns its index.
pub(super) fn adopt(resource: Resource) -> String {
    format!("adopt-{}", resource.name())
}

/// The function that drops the handle with an index.
pub(super) fn dispose(resource: Resource) -> String {
    format!("drop-{}", resource.name())
}

/// A resource type of WASI whose handles the host can put into the table of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    InputStream,
    OutputStream,
    Pollable,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Resource::InputStream => "input-stream",
            Resource::OutputStream => "output-stream",
            Resource::Pollable => "pollable",
        }
    }

    /// The one with this name in an interface, whose name may end in a version.
    fn named(interface: &str, name: &str) -> Option<Resource> {
        let interface = interface.split('@').next().unwrap_or_default();
        let known = [
            ("wasi:io/streams", Resource::InputStream),
            ("wasi:io/streams", Resource::OutputStream),
            ("wasi:io/poll", Resource::Pollable),
        ];
        let found = known.into_iter().find(|known| known.0 == interface && known.1.name() == name);
        found.map(|(_, resource)| resource)
    }
}

/// What a rewritten component offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many globals each accessor saves and loads.
    pub(super) globals: Vec<usize>,
    /// All memories in the order of their creation.
    pub(super) memories: Vec<PlannedMemory>,
    /// The resource types whose handles the host can give to the component.
    pub(super) resources: Vec<Resource>,
}

/// What a memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlannedMemory {
    /// The keeper's; the first belongs to accessor 0, and so on.
    Keeper,
    /// The guest's; `wide` if it has 64-bit addresses.
    Guest { wide: bool },
}

impl Plan {
    /// Whether each of the guest's memories has 64-bit addresses.
    pub(super) fn guest_memories(&self) -> impl Iterator<Item = bool> {
        self.memories.iter().filter_map(|memory| match memory {
            PlannedMemory::Keeper => None,
            PlannedMemory::Guest { wide } => Some(*wide),
        })
    }
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
    #[error("{count} components with core modules are instantiated, more than {KEEPERS_MAX}; link them into fewer")]
    TooManyInstances { count: u32 },
    #[error("a component {what}, whose state cannot be captured yet")]
    Unsupported { what: String },
    #[error("rewriting the module failed")]
    Reencode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<wasm_encoder::reencode::Error> for Error {
    fn from(error: wasm_encoder::reencode::Error) -> Error {
        Error::Reencode(error.into())
    }
}

const REMEDY: &str =
    "build the guest with a toolchain that keeps its state in linear memory (Rust, C, Zig, Go and others do)";
