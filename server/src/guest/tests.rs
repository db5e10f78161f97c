mod handles;
mod portable;
mod processors;
mod reads;
mod refusals;

use super::*;
use crate::resp3;
use bytes::Bytes;
use std::sync::Arc;

const HOSTILE: &[u8] = include_bytes!("../../../tests/guests/hostile.wat");

fn load(module: &[u8], limits: Limits) -> Result<Guest, Error> {
    let cache = tempfile::tempdir().unwrap();
    Guest::load(module, limits, cache.path())
}

fn hostile() -> Guest {
    let limits =
        Limits { fuel_max: 1_000_000, memory_bytes_max: 1 << 20, reply_bytes_max: 1 << 10, ..Limits::default() };
    load(HOSTILE, limits).unwrap()
}

fn position(guest: &Guest, name: &str) -> u32 {
    guest.description().commands.iter().position(|command| command.name == name).unwrap() as u32
}

fn run(guest: &Guest, instance: &mut Instance, name: &str) -> Result<String, Failure> {
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    instance.run(&[Call { command: position(guest, name), args: &[] }], &mut out, &mut ends)?;
    assert_eq!(ends, [out.len() as u32]);
    resp3::check(&out).unwrap();
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn a_core_module_without_a_type_becomes_a_guest() {
    let guest = hostile();
    assert_eq!(guest.description().name, "hostile");
    assert_eq!(guest.optional(), Optional::default());
    let mut instance = guest.instantiate().unwrap();
    assert_eq!(run(&guest, &mut instance, "INCR").unwrap(), ":1\r\n");
    assert_eq!(run(&guest, &mut instance, "GET").unwrap(), "*2\r\n:1\r\n:1\r\n");
    assert_eq!(run(&guest, &mut instance, "FAIL").unwrap(), "-ERR no luck\r\n");
}

#[test]
fn every_failure_has_its_own_kind() {
    let guest = hostile();
    let fail = |name| run(&guest, &mut guest.instantiate().unwrap(), name).unwrap_err();
    assert!(matches!(fail("TRAP"), Failure::Trap(_)), "{}", fail("TRAP"));
    assert!(matches!(fail("SPIN"), Failure::Fuel(1_000_000)), "{}", fail("SPIN"));
    assert!(matches!(fail("BLOAT"), Failure::Memory(_)), "{}", fail("BLOAT"));
    assert!(matches!(fail("HUGE"), Failure::TooBig { limit: 1024, .. }), "{}", fail("HUGE"));
    assert!(matches!(fail("HALF"), Failure::Trap(_)), "{}", fail("HALF"));
    assert!(matches!(fail("LIE"), Failure::Trap(_)), "{}", fail("LIE"));
}

/// By the names of the name section, as people write them.
#[test]
fn a_failure_is_traced_to_the_functions_of_the_guest() {
    let text = String::from_utf8_lossy(HOSTILE)
        .replacen("(module", "(module $bad", 1)
        .replace("$spin", "$_ZN3bad4loop17h0123456789abcdefE")
        .replace("handle\") (param", "handle\") $handle (param")
        .replace(
            "(export \"uhaha:machine/handler@0.1.0#handle\") $handle",
            "$handle (export \"uhaha:machine/handler@0.1.0#handle\")",
        );
    let guest = load(text.as_bytes(), Limits { fuel_max: 1_000_000, ..Limits::default() }).unwrap();
    let trace = |name| {
        let mut instance = guest.instantiate().unwrap();
        run(&guest, &mut instance, name).unwrap_err();
        instance.backtrace().frames().to_vec()
    };
    assert_eq!(trace("TRAP"), ["bad!trap", "bad!handle"]);
    assert_eq!(trace("SPIN"), ["bad!bad::loop", "bad!handle"], "without the mangling");
    assert_eq!(trace("BLOAT"), ["bad!bloat", "bad!handle"]);
    assert!(trace("HALF").is_empty(), "the guest had returned");
}

#[test]
fn an_image_carries_memory_globals_and_size() {
    let guest = hostile();
    let mut first = guest.instantiate().unwrap();
    for name in ["INCR", "GROW", "INCR"] {
        run(&guest, &mut first, name).unwrap();
    }
    let image = first.capture(Image::default()).unwrap();
    let mut second = guest.instantiate().unwrap();
    second.restore(&image).unwrap();
    assert_eq!(second.capture(Image::default()).unwrap(), image);
    for name in ["GET", "GROW", "INCR", "GET"] {
        assert_eq!(run(&guest, &mut first, name).unwrap(), run(&guest, &mut second, name).unwrap());
    }
    assert_eq!(second.capture(Image::default()).unwrap(), first.capture(image).unwrap());
}

#[test]
fn an_image_of_another_shape_is_refused() {
    let guest = hostile();
    let image = guest.instantiate().unwrap().capture(Image::default()).unwrap();
    let with_memory = |bytes| Image::new(image.globals.clone(), vec![Arc::new(Pages::new(bytes).unwrap())]);
    let without_globals = Image::new(Vec::new(), image.memories.clone());
    let too_large = with_memory(5 << 30);
    let odd = with_memory(image.memories[0].bytes() + 1);
    for wrong in [without_globals, too_large, odd, Image::default()] {
        guest.instantiate().unwrap().restore(&wrong).unwrap_err();
    }
}

/// A limit may be lowered below what a state has already.
#[test]
fn a_state_over_the_limit_is_restored_and_grows_no_more() {
    let guest = hostile();
    let mut first = guest.instantiate().unwrap();
    run(&guest, &mut first, "GROW").unwrap();
    let image = first.capture(Image::default()).unwrap();
    let tight = Limits { memory_bytes_max: 2 << 16, ..guest.limits() };
    let mut second = guest.instantiate_within(tight).unwrap();
    second.restore(&image).unwrap();
    assert_eq!(run(&guest, &mut second, "GROW").unwrap(), ":3\r\n", "as many pages as before");
    assert_eq!(run(&guest, &mut first, "GROW").unwrap(), ":4\r\n");
    first.set_limits(tight);
    assert_eq!(run(&guest, &mut first, "GROW").unwrap(), ":4\r\n");
}

#[test]
fn the_start_has_fuel_of_its_own() {
    let loaded = |start_fuel_max| load(HOSTILE, Limits { fuel_max: 1, start_fuel_max, ..Limits::default() });
    assert_eq!(loaded(10_000).unwrap().description().name, "hostile");
    let error = loaded(1).err().expect("it is refused");
    assert!(matches!(error, Error::Start(Failure::Fuel(1)) | Error::Describe(Failure::Fuel(1))), "{error:?}");
}

#[test]
fn a_tick_has_fuel_of_its_own() {
    let guest = load(TICKET, Limits { tick_fuel_max: 1, ..Limits::default() }).unwrap();
    let mut instance = guest.instantiate().unwrap();
    assert_eq!(run(&guest, &mut instance, "TICKET").unwrap(), ":1\r\n");
    assert!(matches!(instance.tick().unwrap_err(), Failure::Fuel(1)));
}

#[test]
fn more_instances_or_elements_than_allowed_are_refused_at_load() {
    let refused = |limits| crate::fault::chain(&load(TICKET, limits).err().expect("it is refused"));
    let few = refused(Limits { instances_max: 1, ..Limits::default() });
    assert!(few.contains("limit exceeded") || few.contains("instance"), "{few}");
    let short = refused(Limits { table_elements_max: 1, ..Limits::default() });
    assert!(short.contains("table"), "{short}");
}

#[test]
fn a_view_follows_the_writer_and_cannot_touch_it() {
    let guest = hostile();
    let mut writer = guest.instantiate().unwrap();
    let mut reader = guest.instantiate().unwrap();
    run(&guest, &mut writer, "INCR").unwrap();
    assert!(reader.view(&mut writer).unwrap());
    assert_eq!(run(&guest, &mut reader, "DIRTY").unwrap(), ":2\r\n");
    assert_eq!(run(&guest, &mut writer, "GET").unwrap(), "*2\r\n:1\r\n:1\r\n");
    run(&guest, &mut writer, "GROW").unwrap();
    run(&guest, &mut writer, "INCR").unwrap();
    assert!(reader.view(&mut writer).unwrap());
    assert_eq!(run(&guest, &mut reader, "GET").unwrap(), "*2\r\n:2\r\n:2\r\n");
    run(&guest, &mut reader, "GROW").unwrap();
    assert!(!reader.view(&mut writer).unwrap(), "a reader that has outgrown the writer is replaced");
}

#[test]
fn time_and_randomness_come_from_the_source() {
    let guest = hostile();
    let mut instance = guest.instantiate().unwrap();
    instance.with_source(|source| source.advance(1000));
    assert_eq!(run(&guest, &mut instance, "NOW").unwrap(), ":1001\r\n");
    assert_eq!(run(&guest, &mut instance, "NOW").unwrap(), ":1002\r\n");
    instance.with_source(|source| source.reseed(5));
    let first = run(&guest, &mut instance, "RANDOM").unwrap();
    assert_ne!(first, run(&guest, &mut instance, "RANDOM").unwrap());
    instance.with_source(|source| source.reseed(5));
    assert_eq!(first, run(&guest, &mut instance, "RANDOM").unwrap());
}

#[test]
fn refusals_say_what_is_expected() {
    let refused = |module: &str| {
        let error = load(module.as_bytes(), Limits::default()).err().expect("the module is refused");
        crate::fault::chain(&error)
    };
    assert!(refused("(module)").contains("handle: func(command: u32"), "{}", refused("(module)"));
    assert!(refused("(component)").contains("exports no `uhaha:machine/handler@0.1.0`"));
    assert!(refused("(modul").contains("neither WebAssembly"));
    let import = "(component (import \"acme:db/store\" (instance)))";
    assert!(refused(import).contains("handler"), "{}", refused(import));
    let wrong = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\")))
        (instance $h (export \"describe\" (func $f)) (export \"handle\" (func $f)))
        (export \"uhaha:machine/handler@0.1.0\" (instance $h)))";
    assert!(refused(wrong).contains("expected `describe: func() -> description`"), "{}", refused(wrong));
}

#[test]
fn compiled_code_is_kept_and_damage_is_noticed() {
    let cache = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    Guest::load(HOSTILE, Limits::default(), cache.path()).unwrap();
    let [file] = &files()[..] else { panic!("one file is kept") };
    let mut bad = std::fs::read(file).unwrap();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(file, &bad).unwrap();
    Guest::load(HOSTILE, Limits::default(), cache.path()).unwrap();
    let (hash, code) = std::fs::read(file).map(|bytes| (bytes[..32].to_vec(), bytes[32..].to_vec())).unwrap();
    assert_eq!(hash, <sha2::Sha256 as sha2::Digest>::digest(&code).as_slice(), "the damaged file was replaced");
}

const TICKET: &[u8] = include_bytes!("../../../examples/prebuilt/ticket.wasm");

#[test]
fn a_batch_gives_the_replies_of_single_calls() {
    let guest = load(TICKET, Limits::default()).unwrap();
    assert_eq!(guest.optional(), Optional { batch: true, tick: true, portable: true });
    let run = |single: bool| {
        let mut instance = guest.instantiate().unwrap();
        if single {
            instance.forget_batch();
        }
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        let call = Call { command: 0, args: &[] };
        instance.run(&[call; 100], &mut out, &mut ends).unwrap();
        (out, ends)
    };
    assert_eq!(run(true), run(false));
    assert!(run(true).0.ends_with(b":100\r\n"));
}

/// A refusal that the guest coped with must not make a later trap look like one for lack of memory, or a replica that
/// was restarted in between would answer otherwise.
#[test]
fn a_refusal_of_memory_is_forgotten_after_its_command() {
    let guest = hostile();
    let mut instance = guest.instantiate().unwrap();
    for _ in 0..20 {
        run(&guest, &mut instance, "GROW").unwrap();
    }
    assert!(matches!(run(&guest, &mut instance, "TRAP").unwrap_err(), Failure::Trap(_)));
}

/// The module's own maximum is its business: `memory.grow` answers -1, and the node goes on.
#[test]
fn a_module_may_declare_a_maximum_of_its_own() {
    let module = String::from_utf8(HOSTILE.to_vec()).unwrap();
    let module = module.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2 3)");
    let guest = load(module.as_bytes(), Limits::default()).unwrap();
    let mut instance = guest.instantiate().unwrap();
    let sizes: Vec<String> = (0..3).map(|_| run(&guest, &mut instance, "GROW").unwrap()).collect();
    assert_eq!(sizes, [":3\r\n", ":3\r\n", ":3\r\n"]);
}

/// What a read's own growth left behind must not hide pages that the writer grew by later.
#[test]
fn a_view_that_grew_by_itself_shows_what_the_writer_grows_by() {
    let guest = hostile();
    let mut writer = guest.instantiate().unwrap();
    let mut reader = guest.instantiate().unwrap();
    assert!(reader.view(&mut writer).unwrap());
    run(&guest, &mut reader, "GROW").unwrap();
    run(&guest, &mut writer, "GROW").unwrap();
    assert!(reader.view(&mut writer).unwrap());
    for _ in 0..2 {
        run(&guest, &mut writer, "INCR").unwrap();
        assert!(reader.view(&mut writer).unwrap());
        let image = writer.capture(Image::default()).unwrap();
        assert_eq!(reader.shown().unwrap() as u64, image.memories[0].bytes(), "every page is the writer's");
    }
}

/// A native stack may end elsewhere on another node, so the node stops rather than answer.
#[test]
fn only_failures_that_every_replica_sees_become_replies() {
    assert!(matches!(Failure::Trap(String::new()).while_applying(), Ok(Failure::Trap(_))));
    assert!(matches!(Failure::Fuel(1).while_applying(), Ok(Failure::Fuel(1))));
    assert!(Failure::NativeStack.while_applying().is_err());
    assert!(Failure::Host(crate::fault::Fault::new("no memory")).while_applying().is_err());
}
