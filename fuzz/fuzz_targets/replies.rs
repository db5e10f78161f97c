//! See `uhaha_server::fuzzing::replies`.
#![no_main]

uhaha_fuzz::target!(replies);
