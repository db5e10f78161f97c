//! The engine: every setting that decides what a guest computes, each with its reason.

use super::hex;
use super::instrument::{self, INSTRUMENTATION_VERSION};
use super::memory::{Creator, Memories};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use wasmtime::{Config, Engine, Inlining, OperatorCost, OptLevel, WasmFeatures};

/// wasmtime keeps its version to itself; a test compares this one with the lock file.
const WASMTIME_VERSION: &str = "48.0.8";
/// Raised when the host's functions answer a guest otherwise than before: clock, randomness, WASI, replies.
const HOST_VERSION: u32 = 1;

/// Native stack of a guest: twice as large as the worst of what the counted call stack was measured to take, so that the
/// counter always gives out first. These are addresses; only what is used takes memory.
pub(super) const STACK_BYTES: usize = 4 * instrument::STACK_BYTES;

/// Stack of a thread that runs guests: theirs, and the host's own frames around it.
pub const THREAD_STACK_BYTES: usize = STACK_BYTES + (4 << 20);

/// An engine with the memories that its instances are made of.
#[derive(Clone)]
pub(crate) struct GuestEngine {
    pub(super) engine: Engine,
    pub(super) code: Code,
    pub(super) memories: Arc<Memories>,
}

/// The settings that decide what a guest computes or what fuel it takes. Which features are accepted is not among them:
/// a module that needs one that is off does not start.
#[derive(Debug)]
struct Semantics {
    /// NaN bits differ between processors unless every NaN that is made is the canonical one.
    nan_canonicalization: bool,
    /// Relaxed SIMD lets the processor choose.
    relaxed_simd: bool,
    /// Fuel is counted on wasm operators, so a limit strikes at the same one on every machine.
    operator_cost: OperatorCost,
    stack_bytes: usize,
}

impl Semantics {
    fn of_this_server() -> Semantics {
        Semantics {
            nan_canonicalization: true,
            relaxed_simd: false,
            operator_cost: OperatorCost::default(),
            stack_bytes: STACK_BYTES,
        }
    }

    fn apply(&self, config: &mut Config) {
        config
            .cranelift_nan_canonicalization(self.nan_canonicalization)
            .wasm_relaxed_simd(self.relaxed_simd)
            .operator_cost(self.operator_cost.clone())
            .max_wasm_stack(self.stack_bytes);
    }

    /// Versions, and a hash of the settings. Processor and optimization are not in it, for they must not matter.
    fn fingerprint(&self) -> String {
        let settings = hex(&Sha256::digest(format!("{self:?}"))[..6]);
        format!("wasmtime-{WASMTIME_VERSION}/instrumentation-{INSTRUMENTATION_VERSION}/host-{HOST_VERSION}/{settings}")
    }
}

/// What two nodes must have in common to agree.
pub(super) fn fingerprint() -> String {
    Semantics::of_this_server().fingerprint()
}

/// How code is made from a module. A guest within its limits cannot tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    /// The processor, if it is another than this one with all that it can do.
    pub(crate) target: Option<&'static str>,
    pub(crate) optimized: bool,
    /// Whether it takes fuel. Only figures leave it out, to know what it costs; so with the next.
    pub(crate) takes_fuel: bool,
    /// Whether its call stack is counted.
    pub(crate) counts_calls: bool,
}

impl Code {
    pub(crate) const BEST: Code = Code { target: None, optimized: true, takes_fuel: true, counts_calls: true };
}

impl GuestEngine {
    pub(crate) fn new(code: Code) -> wasmtime::Result<GuestEngine> {
        GuestEngine::with(code, |_| {})
    }

    /// The engine with changes to what decides no reply.
    pub(super) fn with(code: Code, adjust: impl FnOnce(&mut Config)) -> wasmtime::Result<GuestEngine> {
        let memories = Arc::new(Memories::default());
        let mut config = Config::new();
        Semantics::of_this_server().apply(&mut config);
        if let Some(target) = code.target {
            config.target(target)?;
        }
        config
            .wasm_component_model(true)
            // An exception would leave frames without giving back what they took of the counted call stack.
            .wasm_features(WasmFeatures::EXCEPTIONS | WasmFeatures::LEGACY_EXCEPTIONS, false)
            .wasm_features(WasmFeatures::STACK_SWITCHING, false)
            // A tail call gives its frame back before it calls.
            .wasm_tail_call(true)
            // Inlined calls would make frames larger than what they are charged for.
            .compiler_inlining(Inlining::No)
            .cranelift_opt_level(if code.optimized { OptLevel::Speed } else { OptLevel::None })
            // Component-model tasks cost 350 ns a call; a state machine has no use for them.
            .concurrency_support(false)
            // Memories of our own can be imaged and shared; they exclude wasmtime's copy-on-write initialisation.
            .with_host_memory(Arc::new(Creator(Arc::clone(&memories))))
            .memory_init_cow(false)
            // An address never moves, so bounds checks are left to the guard pages.
            .memory_may_move(false)
            .async_stack_size(2 * STACK_BYTES)
            .parallel_compilation(true)
            .consume_fuel(code.takes_fuel);
        adjust(&mut config);
        Ok(GuestEngine { engine: Engine::new(&config)?, code, memories })
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
        hex(&hasher.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_names_the_wasmtime_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "no {entry}");
        assert!(fingerprint().starts_with(&format!("wasmtime-{WASMTIME_VERSION}/")), "{}", fingerprint());
    }

    #[test]
    fn every_setting_is_in_the_fingerprint() {
        let costly = OperatorCost { F64Add: 9, ..OperatorCost::default() };
        for other in [
            Semantics { nan_canonicalization: false, ..Semantics::of_this_server() },
            Semantics { relaxed_simd: true, ..Semantics::of_this_server() },
            Semantics { operator_cost: costly, ..Semantics::of_this_server() },
            Semantics { stack_bytes: 1 << 20, ..Semantics::of_this_server() },
        ] {
            assert_ne!(other.fingerprint(), fingerprint());
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn compiled_code_is_not_shared_between_processors() {
        let baseline = Code { target: Some("x86_64-unknown-linux-gnu"), ..Code::BEST };
        let (best, baseline) = (GuestEngine::new(Code::BEST).unwrap(), GuestEngine::new(baseline).unwrap());
        assert_ne!(best.compatibility(), baseline.compatibility());
    }
}
