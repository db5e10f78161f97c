use super::{load, run};
use crate::guest::testing::printing;
use crate::guest::{Failure, Guest, Image, Instance, Limits};

fn guest(opens_at_start: bool) -> Guest {
    load(&printing(opens_at_start), Limits::default()).unwrap()
}

fn all(guest: &Guest, instance: &mut Instance, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| run(guest, instance, name).unwrap().trim_end().to_owned()).collect()
}

fn restored(guest: &Guest, image: &Image) -> Instance {
    let mut instance = guest.instantiate().unwrap();
    instance.restore(image).unwrap();
    instance
}

#[test]
fn what_is_open_after_a_command_is_there_for_the_next() {
    let guest = guest(false);
    let mut instance = guest.instantiate().unwrap();
    let replies = all(&guest, &mut instance, &["P", "P", "X", "X", "Q", "P"]);
    assert_eq!(replies, [":1", ":1", ":3", ":2", ":1", ":1"]);
}

/// The replies are the indices that the guest is given, so they tell of every hole and of its place in the row.
#[test]
fn an_image_has_the_handles() {
    let (before, after) = (["P", "X", "X", "X", "D", "Q", "X", "D", "D"], ["X", "P", "X", "X", "D", "X", "Q", "X"]);
    for opens_at_start in [false, true] {
        let guest = guest(opens_at_start);
        for cut in 0..=before.len() {
            let mut first = guest.instantiate().unwrap();
            all(&guest, &mut first, &before[..cut]);
            let image = first.capture(Image::default()).unwrap();
            let mut second = restored(&guest, &image);
            assert_eq!(second.capture(Image::default()).unwrap(), image, "cut at {cut}");
            let rest = [&before[cut..], &after].concat();
            assert_eq!(all(&guest, &mut first, &rest), all(&guest, &mut second, &rest), "cut at {cut}");
            assert_eq!(second.capture(Image::default()).unwrap(), first.capture(image).unwrap(), "cut at {cut}");
        }
    }
}

#[test]
fn a_trap_takes_back_what_was_opened() {
    let guest = guest(false);
    let mut broken = guest.instantiate().unwrap();
    all(&guest, &mut broken, &["P", "X"]);
    let image = broken.capture(Image::default()).unwrap();
    assert!(matches!(run(&guest, &mut broken, "T"), Err(Failure::Trap(_))));
    let mut instance = guest.instantiate().unwrap();
    instance.replace(&mut broken, &image).unwrap();
    assert_eq!(instance.capture(Image::default()).unwrap().handles, image.handles);
    assert_eq!(all(&guest, &mut instance, &["P", "X", "D"]), [":1", ":2", ":2"]);
}

#[test]
fn what_cannot_be_opened_again_is_a_trap_that_names_it() {
    let guest = guest(false);
    let mut instance = guest.instantiate().unwrap();
    let Failure::Trap(reason) = run(&guest, &mut instance, "N").unwrap_err() else { panic!("a trap") };
    assert!(reason.contains("left a WASI handle open (a network)"), "{reason}");
}

#[test]
fn a_reader_has_the_handles_of_the_writer() {
    let guest = guest(false);
    let (mut writer, mut reader) = (guest.instantiate().unwrap(), guest.instantiate().unwrap());
    all(&guest, &mut writer, &["P", "X", "X", "D"]);
    assert!(reader.view(&mut writer).unwrap());
    let read = |reader: &mut Instance| run(&guest, reader, "R").unwrap();
    let first = read(&mut reader);
    assert_ne!(first, read(&mut reader), "reads that wait together share a copy");
    // It has had more by now than the writer, so a fresh one is needed; and there the writer's are as they were.
    assert!(!reader.view(&mut writer).unwrap());
    let mut reader = guest.instantiate().unwrap();
    assert!(reader.view(&mut writer).unwrap());
    assert_eq!(read(&mut reader), first);
    // What was opened and fits in holes is dropped again.
    all(&guest, &mut writer, &["X", "X", "X", "X", "D", "D", "D", "D"]);
    let mut reader = guest.instantiate().unwrap();
    assert!(reader.view(&mut writer).unwrap());
    let first = read(&mut reader);
    assert!(reader.view(&mut writer).unwrap());
    assert_eq!(read(&mut reader), first);
}

/// It fits no module but its own, whatever was written into the file.
#[test]
fn a_table_that_cannot_be_is_refused() {
    let guest = guest(false);
    let mut instance = guest.instantiate().unwrap();
    all(&guest, &mut instance, &["P"]);
    let image = instance.capture(Image::default()).unwrap();
    // One network; one free index that is none; two free ones of which one is missing.
    for bytes in [&[1, 1, 4, 0][..], &[1, 1, 1, 1, 9], &[2, 0, 0, 1, 1]] {
        let mut wrong = image.clone();
        wrong.handles = postcard::from_bytes(bytes).unwrap();
        guest.instantiate().unwrap().restore(&wrong).unwrap_err();
    }
}

/// Nobody could keep account of handles that components give each other.
#[test]
fn a_component_around_another_that_knows_resources_keeps_none() {
    let nested = "(component $c (import \"s\" (instance $s (export \"output-stream\" (type (sub resource)))))
        (alias export $s \"output-stream\" (type $t)))";
    let streams = "(import \"wasi:io/streams@0.2.0\" (instance $s (export \"output-stream\" (type (sub resource)))))
        (alias export $s \"output-stream\" (type $t))
        (core module $m (memory 1)) (core instance (instantiate $m))";
    let resources = |wat: &str| {
        let (rewritten, plan) = crate::guest::instrument::instrument(&wat::parse_str(wat).unwrap(), true).unwrap();
        wasmparser::Validator::new().validate_all(&rewritten).unwrap();
        plan.resources.len()
    };
    assert_eq!(resources(&format!("(component {streams})")), 1);
    assert_eq!(resources(&format!("(component {streams} {nested})")), 0);
    assert_eq!(resources(&format!("(component {streams} (type (resource (rep i32))))")), 0);
    assert_eq!(resources("(component (core module $m (memory 1)) (core instance (instantiate $m)))"), 0);
}
