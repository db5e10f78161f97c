//! See `uhaha_server::fuzzing::modules`.
//!
//! Few changes of a module's bytes leave a module, so most are made by those who know what one is: wasm-mutate changes
//! what a core module does, wasm-smith makes another one with the exports of a guest.
#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::{fuzz_mutator, fuzzer_mutate};
use wasm_mutate::WasmMutate;
use wasm_smith::{Config, Module};
use wasmparser::Parser;

uhaha_fuzz::target!(modules);

/// Operators that one mutation may look at.
const MUTATION_FUEL: u64 = 1000;
/// What a module is made from.
const SMITH_BYTES: usize = 4096;

/// What a core module exports that is a guest.
const SHAPE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "uhaha:machine/handler@0.1.0#describe") (result i32) unreachable)
    (func (export "uhaha:machine/handler@0.1.0#handle") (param i32 i32 i32) (result i32) unreachable))"#;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let made = match seed % 8 {
        0 => None,
        1 => smith(seed),
        _ => mutate(&data[..size], seed),
    };
    match made.filter(|made| made.len() <= max_size) {
        Some(made) => {
            data[..made.len()].copy_from_slice(&made);
            made.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

fn mutate(module: &[u8], seed: u32) -> Option<Vec<u8>> {
    // It panics at some that are not valid.
    if !Parser::is_core_wasm(module) || wasmparser::validate(module).is_err() {
        return None;
    }
    let mut mutation = WasmMutate::default();
    mutation.seed(seed.into()).fuel(MUTATION_FUEL);
    let made = mutation.run(module).ok()?.next()?;
    made.ok()
}

fn smith(seed: u32) -> Option<Vec<u8>> {
    // SplitMix64, as a stream.
    let mut state = u64::from(seed);
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    })
    .take(SMITH_BYTES / 8)
    .flatten()
    .collect();
    let config = Config { exports: Some(wat::parse_str(SHAPE).ok()?), ..Config::default() };
    Module::new(config, &mut Unstructured::new(&bytes)).ok().map(|module| module.to_bytes())
}
