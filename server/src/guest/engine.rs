//! The engine: every setting that decides what a guest computes, each with its reason.

use super::instrument;
use super::memory::{Creator, Memories};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use wasmtime::{Config, Engine, Inlining, OptLevel, WasmFeatures};

/// Native stack of a guest: twice as large as the worst of what the counted call stack was measured to take, so that the
/// counter always gives out first. These are addresses; only what is used takes memory.
pub(super) const STACK_BYTES: usize = 4 * instrument::STACK_BYTES;

/// Stack of a thread that runs guests: theirs, and the host's own frames around it.
pub const THREAD_STACK_BYTES: usize = STACK_BYTES + (4 << 20);

/// An engine with the memories that its instances are made of.
#[derive(Clone)]
pub(crate) struct GuestEngine {
    pub(super) engine: Engine,
    pub(super) memories: Arc<Memories>,
}

impl GuestEngine {
    pub(crate) fn new() -> wasmtime::Result<GuestEngine> {
        GuestEngine::with(|_| {})
    }

    /// The engine with changes to what decides no reply.
    pub(super) fn with(adjust: impl FnOnce(&mut Config)) -> wasmtime::Result<GuestEngine> {
        let memories = Arc::new(Memories::default());
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            // An exception would leave frames without giving back what they took of the counted call stack.
            .wasm_features(WasmFeatures::EXCEPTIONS | WasmFeatures::LEGACY_EXCEPTIONS, false)
            .wasm_features(WasmFeatures::STACK_SWITCHING, false)
            // A tail call gives its frame back before it calls.
            .wasm_tail_call(true)
            // Inlined calls would make frames larger than what they are charged for.
            .compiler_inlining(Inlining::No)
            // NaN bits differ between processors unless every NaN that is made is the canonical one.
            .cranelift_nan_canonicalization(true)
            // Relaxed SIMD lets the processor choose; the deterministic forms are the same everywhere.
            .wasm_relaxed_simd(false)
            // Fuel is counted on wasm operators, so a limit strikes at the same one on every machine.
            .consume_fuel(true)
            .cranelift_opt_level(OptLevel::Speed)
            // Component-model tasks cost 350 ns a call; a state machine has no use for them.
            .concurrency_support(false)
            // Memories of our own can be imaged and shared; they exclude wasmtime's copy-on-write initialisation.
            .with_host_memory(Arc::new(Creator(Arc::clone(&memories))))
            .memory_init_cow(false)
            // An address never moves, so bounds checks are left to the guard pages.
            .memory_may_move(false)
            .max_wasm_stack(STACK_BYTES)
            .async_stack_size(2 * STACK_BYTES)
            .parallel_compilation(true);
        adjust(&mut config);
        Ok(GuestEngine { engine: Engine::new(&config)?, memories })
    }

    /// What compiled code and its fuel depend on: engine version, settings, target and its processor features, and how
    /// modules are rewritten.
    pub(super) fn compatibility(&self) -> String {
        struct Sha(Sha256);
        impl Hasher for Sha {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut hasher = Sha(Sha256::new());
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        instrument::INSTRUMENTATION_VERSION.hash(&mut hasher);
        super::hex(&hasher.0.finalize())
    }
}
