//! See `uhaha_server::fuzzing::requests`.
#![no_main]

uhaha_fuzz::target!(requests);
