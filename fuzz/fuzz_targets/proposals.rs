//! See `uhaha_server::fuzzing::proposals`.
#![no_main]

uhaha_fuzz::target!(proposals);
