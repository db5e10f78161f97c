use super::{load, position, run};
use crate::guest::{Failure, Guest, Image, Instance, Limits, PortableError};
use std::io::{self, Cursor, Read, Write};

/// Its count decides how `save` and `load` fail; see there.
const PORTABLE: &[u8] = include_bytes!("../../../../tests/guests/portable.wat");
const STATE_VERSION: u32 = 7;

fn portable() -> Guest {
    load(PORTABLE, Limits { fuel_max: 1_000_000, start_fuel_max: 1_000_000, ..Limits::default() }).unwrap()
}

fn counted_to(guest: &Guest, count: usize) -> Instance {
    let mut instance = guest.instantiate().unwrap();
    (0..count).for_each(|_| assert!(run(guest, &mut instance, "A").unwrap().starts_with(':')));
    instance
}

fn bytes(count: u64) -> Cursor<Vec<u8>> {
    Cursor::new(count.to_le_bytes().to_vec())
}

#[test]
fn a_state_goes_out_of_one_instance_and_into_another() {
    let guest = portable();
    assert_eq!((guest.description().state_version, guest.optional().portable), (STATE_VERSION, true));
    let saved = counted_to(&guest, 300).save(Vec::new()).unwrap();
    assert_eq!(saved, 300_u64.to_le_bytes());
    let mut other = guest.instantiate().unwrap();
    other.load(STATE_VERSION, Cursor::new(saved)).unwrap();
    assert_eq!(run(&guest, &mut other, "R").unwrap(), ":300\r\n");
}

#[test]
fn what_a_guest_does_wrong_in_save_is_told_apart() {
    let guest = portable();
    let fail = |count| counted_to(&guest, count).save(Vec::new()).unwrap_err();
    assert!(matches!(fail(1), PortableError::Failed(Failure::Trap(_))), "{}", fail(1));
    assert!(matches!(fail(2), PortableError::Refused(why) if why == "not today"));
    assert!(matches!(fail(3), PortableError::Fuel(1_000_000)), "{}", fail(3));
    let trap = |count| match fail(count) {
        PortableError::Failed(Failure::Trap(reason)) => reason,
        other => panic!("{other}"),
    };
    assert!(trap(4).contains("1048577 is over the limit of 1048576"), "{}", trap(4));
    assert!(trap(5).contains("portable-io.read is for portable.load only"), "{}", trap(5));
}

#[test]
fn what_a_guest_does_wrong_in_load_is_told_apart() {
    let guest = portable();
    let fail = |count| guest.instantiate().unwrap().load(STATE_VERSION, bytes(count)).unwrap_err();
    assert!(matches!(fail(6), PortableError::Failed(Failure::Trap(_))), "{}", fail(6));
    assert!(matches!(fail(7), PortableError::Refused(why) if why == "not today"));
    assert!(matches!(fail(8), PortableError::Fuel(1_000_000)), "{}", fail(8));
    assert!(matches!(fail(9), PortableError::Failed(Failure::Trap(why)) if why.contains("portable-io.write is for")));
    let short = guest.instantiate().unwrap().load(STATE_VERSION, Cursor::new(vec![0; 7])).unwrap_err();
    assert!(matches!(short, PortableError::Failed(Failure::Trap(_))), "{short}");
    let other_version = guest.instantiate().unwrap().load(STATE_VERSION + 1, bytes(1)).unwrap_err();
    assert!(matches!(other_version, PortableError::Refused(_)), "{other_version}");
}

#[test]
fn a_command_cannot_reach_the_stream() {
    let guest = portable();
    let mut instance = guest.instantiate().unwrap();
    let Failure::Trap(reason) = run(&guest, &mut instance, "B").unwrap_err() else { panic!("a trap") };
    assert!(reason.contains("portable-io.write is for portable.save only"), "{reason}");
    assert_eq!(position(&guest, "R"), 2);
}

#[test]
fn a_stream_that_breaks_is_not_the_guests_fault() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("disk full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk gone"))
        }
    }
    let guest = portable();
    let saved = counted_to(&guest, 10).save(Broken).map(drop).unwrap_err();
    assert!(matches!(&saved, PortableError::Stream(error) if error.to_string() == "disk full"), "{saved}");
    let loaded = guest.instantiate().unwrap().load(STATE_VERSION, Broken).unwrap_err();
    assert!(matches!(&loaded, PortableError::Stream(error) if error.to_string() == "disk gone"), "{loaded}");
}

#[test]
fn a_guest_without_the_interface_has_no_such_form() {
    let guest = super::hostile();
    let saved = guest.instantiate().unwrap().save(Vec::new()).map(drop).unwrap_err();
    assert!(matches!(saved, PortableError::Missing), "{saved}");
    assert!(matches!(guest.instantiate().unwrap().load(1, io::empty()), Err(PortableError::Missing)));
}

#[test]
fn a_loaded_state_can_be_captured() {
    let guest = portable();
    let mut first = guest.instantiate().unwrap();
    first.load(STATE_VERSION, bytes(50)).unwrap();
    let image = first.capture(Image::default()).unwrap();
    let mut second = guest.instantiate().unwrap();
    second.restore(&image).unwrap();
    assert_eq!(run(&guest, &mut second, "A").unwrap(), ":51\r\n");
}
