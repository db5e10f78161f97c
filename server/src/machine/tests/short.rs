//! Reads that run at once, on a view that others have used.

use super::{Replica, apply, command, guest, proposal, read};
use crate::machine::replica::LONG_TURNS;

/// What a short read gave, if it was one.
fn read_short(replica: &mut Replica, names: &[&str]) -> Option<Vec<String>> {
    let commands: Vec<_> = names.iter().map(|name| command(name)).collect();
    let replies = replica.read_short(&commands).unwrap()?;
    Some(replies.iter().map(|reply| String::from_utf8_lossy(reply.as_bytes()).replace("\r\n", " ")).collect())
}

#[test]
fn a_short_read_sees_every_write_and_nothing_of_reads_before_it() {
    let mut replica = Replica::new(guest()).unwrap();
    assert_eq!(read_short(&mut replica, &["GET"]), None, "an instance for reads is still to be made");
    read(&mut replica, &["GET"]);
    for index in 1..=5 {
        apply(&mut replica, index, &proposal(index, None, &["INCR"]));
        let expected = format!("*2 :{index} :{index} ");
        assert_eq!(read_short(&mut replica, &["GET", "GET"]), Some(vec![expected.clone(), expected]));
        let dirty = read_short(&mut replica, &["DIRTY"]);
        assert!(dirty.is_some());
        assert_eq!(read_short(&mut replica, &["DIRTY"]), dirty, "the first has left nothing");
    }
    let before = replica.checkpoint().unwrap();
    assert_eq!(read(&mut replica, &["GET"]).len(), 1);
    assert_eq!(replica.checkpoint().unwrap(), before);
}

#[test]
fn what_is_long_or_fails_is_left_to_the_other_way_and_not_tried_again_soon() {
    let mut replica = Replica::new(guest()).unwrap();
    for command in ["SPIN", "TRAP", "HUGE", "BLOAT", "NOPE"] {
        read(&mut replica, &["GET"]);
        assert_eq!(read_short(&mut replica, &[command]), None, "{command}");
        assert_eq!(replica.traps(), 0, "{command}");
        assert!(replica.last_trap().is_none(), "{command}: it is noted when the error is given");
    }
    read(&mut replica, &["GET"]);
    for turn in 0..LONG_TURNS {
        assert_eq!(read_short(&mut replica, &["TRAP"]), None);
        assert!(read_short(&mut replica, &["GET"]).is_some(), "turn {turn}: the view is still there");
    }
    assert_eq!(read_short(&mut replica, &["TRAP"]), None);
    assert_eq!(read_short(&mut replica, &["GET"]), None, "it was tried, and took the view along");
}
