//! See `uhaha_server::fuzzing::options`.
#![no_main]

uhaha_fuzz::target!(options);
