//! See `uhaha_server::fuzzing::files`.
#![no_main]

uhaha_fuzz::target!(files);
