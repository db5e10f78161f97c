//! Modules: any bytes are refused with a reason, or are a guest that does the same wherever and however often it runs.

use super::engine::Code;
use super::instance::{Call, Failure, Instance};
use super::load::{Error, Guest};
use super::{Image, Inspection, Limits, encode, instrument};
use crate::fault::chain;
use bytes::Bytes;
use std::path::Path;
use wasmparser::{Parser, Validator, WasmFeatures};

/// Enough to do something, too little to take long.
const LIMITS: Limits = Limits {
    fuel_max: 200_000,
    tick_fuel_max: 200_000,
    start_fuel_max: 2_000_000,
    memory_bytes_max: 16 << 20,
    table_elements_max: 1 << 12,
    instances_max: 24,
    reply_bytes_max: 1 << 16,
    replies_bytes_max: 1 << 18,
};
/// Compiled code cannot be kept there.
const NO_CACHE: &str = "/dev/null/none";
const COMMANDS_MAX: usize = 4;

/// A module in the binary or the text format.
pub fn modules(data: &[u8]) {
    rewritten(data);
    // The longest of all by far is to optimize what runs for a moment.
    let code = Code { optimized: false, ..Code::BEST };
    match Guest::load_as(code, data, LIMITS, Path::new(NO_CACHE)) {
        Ok(guest) => {
            super::on_guest_thread("modules", || run(&guest)).expect("a guest's thread does not panic");
            Inspection::of(data, LIMITS, Path::new(NO_CACHE)).expect("it was loaded");
        }
        Err(error) => {
            let own = matches!(
                error,
                Error::Engine(_)
                    | Error::Start(Failure::Host(_) | Failure::NativeStack)
                    | Error::Describe(Failure::Host(_))
            );
            assert!(!own, "no module may be to blame for {}", chain(&error));
        }
    }
}

/// What is valid stays so when it is rewritten.
fn rewritten(data: &[u8]) {
    let Ok(module) = wat::parse_bytes(data) else { return };
    let component = match Parser::is_component(&module) {
        true => Ok(module.into_owned()),
        false => encode::component(&module),
    };
    let Ok(component) = component else { return };
    let valid =
        |component: &[u8]| Validator::new_with_features(WasmFeatures::default()).validate_all(component).map(drop);
    if valid(&component).is_ok()
        && let Ok((rewritten, _)) = instrument::instrument(&component, true)
    {
        valid(&rewritten).expect("it was valid before");
    }
}

/// Two instances do the same, one of which goes on from images of the other.
fn run(guest: &Guest) {
    let (Ok(mut first), Ok(mut second)) = (guest.instantiate(), guest.instantiate()) else {
        panic!("it has been instantiated before");
    };
    let commands = guest.description().commands.len().min(COMMANDS_MAX) as u32;
    let args = ["1", "", "a longer word"].map(Bytes::from);
    let mut image = Image::default();
    for command in 0..commands {
        let call = Call { command, args: &args[..command as usize % (args.len() + 1)] };
        let (done, again) = (outcome(&mut first, &call), outcome(&mut second, &call));
        assert_eq!(done, again, "two instances differ in command {command}");
        if done.is_err() {
            return;
        }
        image = first.capture(image).expect("the state can be read");
        image.settle().expect("the state can be read");
        let mut restored = guest.instantiate().expect("it has been instantiated before");
        restored.restore(&image).expect("it is the guest's own image");
        restored.with_source(|source| *source = first.source());
        let other = restored.capture(Image::default()).expect("the state can be read");
        assert_eq!(image, other, "a restored instance has another state after command {command}");
        second = restored;
    }
}

/// The replies and whether the next tick is wanted, or what is said of the failure.
fn outcome(instance: &mut Instance, call: &Call<'_>) -> Result<(Vec<u8>, bool), String> {
    let mut replies = Vec::new();
    let ran = instance.run(&[*call], &mut replies, &mut Vec::new()).and_then(|()| instance.tick());
    ran.map(|active| (replies, active)).map_err(|failure| {
        let own = matches!(failure, Failure::Host(_) | Failure::NativeStack);
        assert!(!own, "no guest may be to blame for {}", chain(&failure));
        failure.to_string()
    })
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let binary = |text: &str| wat::parse_str(text).expect("it is one of the tests' guests");
    let counter = binary(include_str!("../../../tests/guests/counter.wat"));
    vec![
        ("modules/component", encode::component(&counter).expect("it is a guest")),
        ("modules/counter", counter),
        ("modules/batch", binary(include_str!("../../../tests/guests/batch.wat"))),
        ("modules/hostile", binary(include_str!("../../../tests/guests/hostile.wat"))),
        ("modules/portable", binary(include_str!("../../../tests/guests/portable.wat"))),
        ("modules/printing", super::testing::printing(true)),
        ("modules/text", b"(component (core module (memory 1)) (core instance (instantiate 0)))".to_vec()),
    ]
}
