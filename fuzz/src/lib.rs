//! What all targets have in common: the entry for libFuzzer, and an eye on the memory that they take.

mod meter;

pub use libfuzzer_sys;
pub use meter::metered;

/// The entry of the target with this name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::metered(stringify!($name), data.len(), || uhaha_server::fuzzing::$name(data));
        });
    };
}
