//! Snapshots, beyond the frames that hold them: what is in the chunks, and the instance that is made of it.

use super::checkpoint::Checkpoint;
use super::snapshot::{self, fuzzing as content};
use crate::fuzzing::scratch;
use crate::guest::{Guest, Image, Instance, Limits};
use crate::storage::snapshots::Snapshots;
use crate::type_config::SnapshotMeta;
use arbitrary::{Result, Unstructured};
use std::path::Path;
use std::sync::LazyLock;

/// Snapshots that add to each other.
const CHAIN_MAX: u64 = 3;

/// Two globals, a memory, ticks.
static COUNTER: LazyLock<Guest> = LazyLock::new(|| load(include_bytes!("../../../tests/guests/counter.wat")));
/// One that keeps WASI handles.
static PRINTING: LazyLock<Guest> = LazyLock::new(|| load(&crate::guest::testing::printing(false)));

fn load(module: &[u8]) -> Guest {
    let limits = Limits { memory_bytes_max: 1 << 20, ..Limits::DEFAULT };
    // Compiled code cannot be kept there.
    Guest::load(module, limits, Path::new("/dev/null/none")).expect("it is one of the tests' guests")
}

/// `u8 what │ the rest`: a chunk of pages, a header, and snapshots that are made of parts that may not fit.
pub fn images(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    match what % 3 {
        0 => content::pages(rest),
        1 => content::header(rest),
        _ => drop(chain(&mut Unstructured::new(rest))),
    }
}

/// They are refused or restored, and what is restored is the state that was in them.
fn chain(input: &mut Unstructured<'_>) -> Result<()> {
    let guest: &Guest = if input.arbitrary()? { &COUNTER } else { &PRINTING };
    let dir = scratch();
    let snapshots = Snapshots::open(dir.path(), CHAIN_MAX as usize).expect("a directory can be made");
    let mut last: Option<String> = None;
    for index in 1..=input.int_in_range(1..=CHAIN_MAX)? {
        let mut writer = snapshots.begin(1, index, last.as_deref()).expect("a file can be made");
        let chunks = content::chunks(input, guest, index)?;
        chunks.iter().for_each(|chunk| writer.chunk(chunk).expect("it can be written"));
        last = Some(writer.finish().expect("it can be written").id);
    }
    let Some(id) = last else { return Ok(()) };
    let Ok(found) = content::checkpoint(&snapshots, guest, &id) else {
        snapshot::read(&snapshots, guest, &id).map(drop).expect_err("it cannot be read");
        // A whole one that is wrong inside is sent as it is, and refused there.
        drop(snapshot::whole(&snapshots, &id));
        return Ok(());
    };
    if let Ok((_, read)) = snapshot::read(&snapshots, guest, &id) {
        assert_eq!(digest(&read), digest(&found), "what is read is what was checked");
    }
    snapshot::whole(&snapshots, &id).expect("it can be read, so it can be written");
    let again = content::checkpoint(&snapshots, guest, &id).expect("it was written whole");
    assert_eq!(digest(&again), digest(&found), "the whole says what its parts said");
    restored(guest, &snapshots, found);
    Ok(())
}

fn restored(guest: &Guest, snapshots: &Snapshots, found: Checkpoint) {
    let Ok(mut instance) = found.instance(guest) else { return };
    let captured = captured(&mut instance, &found);
    assert_eq!(digest(&captured), digest(&found), "an instance is what its image was");
    let written = snapshot::write(snapshots, guest, &SnapshotMeta::default(), &captured).expect("it can be written");
    let (_, read) = snapshot::read(snapshots, guest, &written.id).expect("it was written");
    assert_eq!(digest(&read), digest(&found), "a snapshot holds what an instance had");
}

fn captured(instance: &mut Instance, of: &Checkpoint) -> Checkpoint {
    let image = instance.capture(Image::default()).expect("the state can be read");
    Checkpoint { image, source: instance.source(), ..of.clone() }
}

fn digest(checkpoint: &Checkpoint) -> crate::digest::Digest {
    checkpoint.digest(9).expect("the state is in memory")
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    // Each kind of choice, a few times.
    let choices: Vec<u8> = (0..=255_u8).map(|byte| byte.wrapping_mul(37)).collect();
    vec![
        ("images/pages", [&[0][..], &content::seed_pages()].concat()),
        ("images/header", [&[1][..], &content::seed_header()].concat()),
        ("images/chain", [&[2][..], &[1; 200]].concat()),
        ("images/other-chain", [&[2][..], &choices].concat()),
    ]
}
