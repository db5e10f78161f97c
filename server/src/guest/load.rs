//! From a module's bytes to a guest that can be instantiated, or a clear refusal.

use super::cache::Cache;
use super::encode;
use super::engine::{self, Code, GuestEngine};
use super::host::{self, HostState};
use super::instance::{Failure, Instance, Parts};
use super::instrument::{self, Plan};
use super::source::Source;
use super::spec::{self, Description, ModuleInfo};
use super::{BATCH, HANDLER, HANDLER_EXPECTED, Limits, PORTABLE, TICKER, hex};
use crate::settings::{LOG_LINES_PER_SECOND, Settings};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker};

/// Why a module is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the engine could not be set up")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the module is neither WebAssembly nor its text format")]
    NotWasm(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the core module could not be made a component")]
    Encode(#[from] encode::Error),
    #[error("the module is not valid")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its state cannot be captured")]
    Instrument(#[from] instrument::Error),
    #[error("the module could not be compiled")]
    Compile(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the component exports no `{HANDLER}`; {HANDLER_EXPECTED}")]
    NoHandler,
    #[error("the export `{function}` of `{interface}` is missing or has another type; expected `{expected}`")]
    WrongExport { interface: &'static str, function: &'static str, expected: &'static str },
    #[error("the component imports `{0}`, which this server does not provide; it provides {PROVIDED}")]
    UnknownImport(String),
    #[error("the component's imports do not fit what this server provides ({PROVIDED})")]
    Link(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the guest failed while it was started")]
    Start(#[source] Failure),
    #[error("`describe` failed")]
    Describe(#[source] Failure),
    #[error("what `describe` returned is refused")]
    Description(#[from] spec::Error),
}

const PROVIDED: &str = "`uhaha:machine/host@0.1.0` and WASI 0.2 without files and network";

/// The functions that an interface must have, with their types.
const FUNCTIONS: [(&str, &str, &str); 6] = [
    (HANDLER, "describe", "describe: func() -> description"),
    (HANDLER, "handle", "handle: func(command: u32, args: list<list<u8>>) -> result<list<token>, string>"),
    (BATCH, "handle-batch", "handle-batch: func(commands: list<u8>) -> list<u8>"),
    (TICKER, "tick", "tick: func() -> bool"),
    (PORTABLE, "save", "save: func() -> result<_, string>"),
    (PORTABLE, "load", "load: func(state-version: u32) -> result<_, string>"),
];

/// A guest, ready to be instantiated any number of times.
pub struct Guest {
    engine: GuestEngine,
    pre: InstancePre<HostState>,
    plan: Arc<Plan>,
    limits: Limits,
    uses_resources: bool,
    log_lines_per_second: u32,
    fingerprint: String,
    hash: String,
    bytes: usize,
    description: Arc<Description>,
    optional: Optional,
    compile_time: Duration,
}

/// Which optional interfaces a guest exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optional {
    pub batch: bool,
    pub tick: bool,
    pub portable: bool,
}

impl Guest {
    /// Loads a component or a core module, in the binary or the text format. `cache` keeps compiled code.
    pub fn load(module: &[u8], limits: Limits, cache: &Path) -> Result<Guest, Error> {
        Guest::load_as(Code::BEST, module, limits, cache)
    }

    pub(crate) fn load_as(code: Code, module: &[u8], limits: Limits, cache: &Path) -> Result<Guest, Error> {
        // The guest's start and `describe` run here, and may need all the stack that a guest can have.
        super::on_guest_thread("load", || Guest::load_here(code, module, limits, cache))
            .unwrap_or_else(|error| Err(Error::Engine(error.into())))
    }

    fn load_here(code: Code, module: &[u8], limits: Limits, cache: &Path) -> Result<Guest, Error> {
        let engine = GuestEngine::new(code).map_err(|error| Error::Engine(error.into()))?;
        let module = wat::parse_bytes(module).map_err(|error| Error::NotWasm(error.into()))?;
        let bytes = module.len();
        let hash = module_hash(&module);
        let component = match wasmparser::Parser::is_component(&module) {
            true => module.into_owned(),
            false => encode::component(&module)?,
        };
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::default())
            .validate_all(&component)
            .map_err(|error| Error::Invalid(error.into()))?;
        let (rewritten, plan) = instrument::instrument(&component, code.counts_calls)?;
        let started = Instant::now();
        let component =
            Cache::new(&engine, cache).component(&rewritten).map_err(|error| Error::Compile(error.into()))?;
        let compile_time = started.elapsed();
        let optional = check_exports(&engine, &component)?;
        let mut linker = Linker::new(&engine.engine);
        host::add_to_linker(&mut linker).map_err(|error| Error::Engine(error.into()))?;
        let uses_resources = check_imports(&engine, &component)?;
        let pre = linker.instantiate_pre(&component).map_err(|error| Error::Link(error.into()))?;
        let plan = Arc::new(plan);
        let log_lines_per_second = LOG_LINES_PER_SECOND;
        let parts = Parts { engine: &engine, pre: &pre, plan: &plan, uses_resources, log_lines_per_second };
        let mut instance = Instance::new(&parts, limits, Source::default()).map_err(Error::Start)?;
        if let Some((interface, function)) = instance.mistyped() {
            return Err(wrong_export(interface, function));
        }
        let description = spec::Description::from(instance.describe().map_err(Error::Describe)?).checked()?;
        drop(instance);
        let description = Arc::new(description);
        Ok(Guest {
            engine,
            pre,
            plan,
            limits,
            uses_resources,
            log_lines_per_second,
            fingerprint: engine::fingerprint(),
            hash,
            bytes,
            description,
            optional,
            compile_time,
        })
    }

    /// The same as if the engine were another one, which a test cannot have.
    #[cfg(any(test, debug_assertions))]
    pub fn with_engine_revision(mut self, revision: &str) -> Guest {
        self.fingerprint = format!("{}/{revision}", engine::fingerprint());
        self
    }

    /// The same, each instance of which may log so many lines in a second.
    pub fn with_log_lines_per_second(self, log_lines_per_second: u32) -> Guest {
        Guest { log_lines_per_second, ..self }
    }

    /// A fresh instance, as every replica's first one.
    pub fn instantiate(&self) -> Result<Instance, Failure> {
        self.instantiate_within(self.limits)
    }

    /// The same with other limits than the guest was loaded with.
    pub fn instantiate_within(&self, limits: Limits) -> Result<Instance, Failure> {
        let Guest { engine, pre, plan, uses_resources, log_lines_per_second, .. } = self;
        let (uses_resources, log_lines_per_second) = (*uses_resources, *log_lines_per_second);
        Instance::new(&Parts { engine, pre, plan, uses_resources, log_lines_per_second }, limits, Source::default())
    }

    /// Whether it uses WASI's resources. They wait in a runtime of their own, so a thread that has one may not run the guest.
    pub fn uses_resources(&self) -> bool {
        self.uses_resources
    }

    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// SHA-256 of the module as it was given, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn log_lines_per_second(&self) -> u32 {
        self.log_lines_per_second
    }

    /// What is said of the module to others.
    pub fn info(&self) -> ModuleInfo {
        ModuleInfo {
            description: Arc::clone(&self.description),
            hash: self.hash.clone(),
            bytes: self.bytes,
            batch: self.optional.batch,
            tick: self.optional.tick,
            portable: self.optional.portable,
            engine: self.fingerprint().to_owned(),
        }
    }

    /// How many memories and globals a state image has.
    pub(super) fn captured(&self) -> (usize, usize) {
        (self.memories(), self.plan.globals.iter().sum())
    }

    /// How many memories a state image has.
    pub fn memories(&self) -> usize {
        self.plan.guest_memories().count()
    }

    /// Little, if the code was in the cache.
    pub(super) fn compile_time(&self) -> Duration {
        self.compile_time
    }

    pub(super) fn component(&self) -> &Component {
        self.pre.component()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine.engine
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn optional(&self) -> Optional {
        self.optional
    }

    /// What decides what a guest computes and the fuel that it takes, on any processor.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What this node would have the cluster agree on.
    pub fn settings(&self) -> Settings {
        Settings { module: self.hash.clone(), engine: self.fingerprint.clone(), limits: self.limits }
    }
}

/// What a module in the binary format is known by.
pub fn module_hash(module: &[u8]) -> String {
    hex(&Sha256::digest(module))
}

fn wrong_export(interface: &'static str, function: &'static str) -> Error {
    let known = FUNCTIONS.into_iter().find(|known| (known.0, known.1) == (interface, function));
    Error::WrongExport { interface, function, expected: known.map_or("", |known| known.2) }
}

fn check_exports(engine: &GuestEngine, component: &Component) -> Result<Optional, Error> {
    let exported = |name: &str| match component.component_type().get_export(&engine.engine, name).map(|item| item.ty) {
        Some(ComponentItem::ComponentInstance(instance)) => Some(instance),
        _ => None,
    };
    if exported(HANDLER).is_none() {
        return Err(Error::NoHandler);
    }
    for (interface, function, expected) in FUNCTIONS {
        let Some(instance) = exported(interface) else { continue };
        if !has_function(engine, &instance, function) {
            return Err(Error::WrongExport { interface, function, expected });
        }
    }
    Ok(Optional {
        batch: exported(BATCH).is_some(),
        tick: exported(TICKER).is_some(),
        portable: exported(PORTABLE).is_some(),
    })
}

fn has_function(engine: &GuestEngine, instance: &ComponentInstance, function: &str) -> bool {
    let item = instance.get_export(&engine.engine, function).map(|item| item.ty);
    matches!(item, Some(ComponentItem::ComponentFunc(_)))
}

/// Refuses unknown imports by name; whether the guest can come to hold WASI handles.
fn check_imports(engine: &GuestEngine, component: &Component) -> Result<bool, Error> {
    let mut uses_resources = false;
    for (name, _) in component.component_type().imports(&engine.engine) {
        match name {
            host::HOST | host::PORTABLE_IO | host::STDIO | host::TYPES => {}
            wasi if wasi.starts_with("wasi:") => uses_resources = true,
            other => return Err(Error::UnknownImport(other.to_owned())),
        }
    }
    Ok(uses_resources)
}
