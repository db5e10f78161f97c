//! The WebAssembly component.

pub mod spec;
