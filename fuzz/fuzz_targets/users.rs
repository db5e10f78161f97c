//! See `uhaha_server::fuzzing::users`.
#![no_main]

uhaha_fuzz::target!(users);
