//! See `uhaha_server::fuzzing::images`.
#![no_main]

uhaha_fuzz::target!(images);
