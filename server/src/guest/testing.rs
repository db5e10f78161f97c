//! The guest that keeps WASI handles, for the tests of all layers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::encode;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const PRINTING: &str = include_str!("../../../tests/guests/printing.wat");

/// As much of WASI as it uses, each package after those that it needs.
const WASI: [&str; 3] = [
    "package wasi:io@0.2.12;
     interface error { resource error; }
     interface poll { resource pollable; poll: func(in: list<borrow<pollable>>) -> list<u32>; }
     interface streams {
       use error.{error};
       use poll.{pollable};
       variant stream-error { last-operation-failed(error), closed }
       resource output-stream {
         blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
         subscribe: func() -> pollable;
       }
     }",
    "package wasi:cli@0.2.12;
     interface stdout { use wasi:io/streams@0.2.12.{output-stream}; get-stdout: func() -> output-stream; }
     interface stderr { use wasi:io/streams@0.2.12.{output-stream}; get-stderr: func() -> output-stream; }",
    "package wasi:sockets@0.2.12;
     interface network { resource network; }
     interface instance-network { use network.{network}; instance-network: func() -> network; }",
];

const WORLD: &str = "
    import host;
    import wasi:io/poll@0.2.12;
    import wasi:io/streams@0.2.12;
    import wasi:cli/stdout@0.2.12;
    import wasi:cli/stderr@0.2.12;
    import wasi:sockets/instance-network@0.2.12;
    export handler;";

/// A module that prints and keeps what it opened. With `opens_at_start` it opens the output while it is instantiated.
pub(crate) fn printing(opens_at_start: bool) -> Vec<u8> {
    let text = match opens_at_start {
        true => PRINTING.replacen("(memory (export", "(start $open) (memory (export", 1),
        false => PRINTING.to_owned(),
    };
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    for package in WASI {
        resolve.push_str("wasi.wit", package).unwrap();
    }
    let world = encode::world(&mut resolve, "printing", WORLD).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}
