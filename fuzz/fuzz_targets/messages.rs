//! See `uhaha_server::fuzzing::messages`.
#![no_main]

uhaha_fuzz::target!(messages);
