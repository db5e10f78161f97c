//! See `uhaha_server::fuzzing::records`.
#![no_main]

uhaha_fuzz::target!(records);
