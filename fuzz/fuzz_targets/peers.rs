//! See `uhaha_server::fuzzing::peers`.
#![no_main]

uhaha_fuzz::target!(peers);
