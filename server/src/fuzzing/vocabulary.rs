//! What all layers share: proposals and settings.

use crate::command::Command;
use crate::digest::{Digest, Digests};
use crate::proposal::{Checks, Header, Origin, Proposal};
use crate::settings::{Change, Limits, REPLIES_BYTES_CEILING, Settings};
use arbitrary::{Result, Unstructured};
use bytes::Bytes;

/// Commands and words of a proposal that is made up here.
const COMMANDS_MAX: usize = 16;

/// As a proposal, as settings, and as what a proposal is made from.
pub fn proposals(data: &[u8]) {
    any_bytes(data);
    if let Ok(settings) = Settings::decode(data) {
        assert_eq!(settings.encode(), data, "settings have one form");
    }
    // There are too few bytes left to make one from.
    let _ = made_up(&mut Unstructured::new(data));
}

fn any_bytes(data: &[u8]) {
    let proposal = Proposal::from_bytes(Bytes::copy_from_slice(data));
    let (origins, checks) = (proposal.origins(), proposal.checks());
    if let Ok((header, commands)) = proposal.decode() {
        assert_eq!((&origins, checks), (&header.origins, header.checks), "a part says the same as the whole");
        assert_eq!(header.count as usize, commands.len());
        roundtrip(&header, &commands);
    }
}

fn made_up(input: &mut Unstructured<'_>) -> Result<()> {
    let mut commands = Vec::new();
    for _ in 0..input.int_in_range(0..=COMMANDS_MAX)? {
        let words = (0..input.int_in_range(1..=COMMANDS_MAX)?).map(|_| input.arbitrary::<Vec<u8>>().map(Bytes::from));
        let command = Command::new(words.collect::<Result<_>>()?);
        commands.extend(if input.arbitrary()? { command.map(Command::read) } else { command });
    }
    let count = commands.len() as u32;
    let mut origins = Vec::new();
    if count > 0 && input.arbitrary()? {
        let first = input.int_in_range(0..=count - 1)?;
        let count = input.int_in_range(0..=count - first)?;
        origins.push(Origin { node_id: input.arbitrary()?, request: input.arbitrary()?, first, count });
    }
    let settings = match input.int_in_range(0..=2)? {
        0 => None,
        1 => Some(Change::First(settings(input)?)),
        _ => Some(Change::To(settings(input)?)),
    };
    let digests = match input.arbitrary()? {
        false => None,
        true => Some(Digests {
            index: input.arbitrary()?,
            running: Digest(input.arbitrary()?),
            state: input.arbitrary::<Option<u128>>()?.map(Digest),
        }),
    };
    let checks = Checks { digests, mark: input.arbitrary()? };
    roundtrip(
        &Header { stamp: input.arbitrary()?, seed: input.arbitrary()?, origins, settings, checks, count },
        &commands,
    );
    Ok(())
}

fn settings(input: &mut Unstructured<'_>) -> Result<Settings> {
    let mut text = || -> Result<String> {
        let text: String = input.arbitrary()?;
        Ok(text.chars().take(usize::from(u8::MAX) / char::MAX_LEN_UTF8).collect())
    };
    let (module, engine) = (text()?, text()?);
    let limits = Limits {
        fuel_max: input.arbitrary()?,
        tick_fuel_max: input.arbitrary()?,
        start_fuel_max: input.arbitrary()?,
        memory_bytes_max: input.arbitrary()?,
        table_elements_max: input.arbitrary()?,
        instances_max: input.arbitrary()?,
        reply_bytes_max: input.arbitrary()?,
        replies_bytes_max: input.int_in_range(0..=REPLIES_BYTES_CEILING)?,
    };
    Ok(Settings { module, engine, limits })
}

fn roundtrip(header: &Header, commands: &[Command]) {
    let Header { stamp, seed, origins, settings, checks, .. } = header;
    let encoded = Proposal::encode_with(*stamp, *seed, origins, settings.as_ref(), *checks, commands.iter());
    assert_eq!(encoded.decode().as_ref(), Ok(&(header.clone(), commands.to_vec())));
}

#[cfg(test)]
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let command = |words: &[&'static str]| Command::new(words.iter().map(|word| Bytes::from(*word)).collect());
    let read = command(&["GET", "a"]).map(Command::read);
    let commands: Vec<Command> = [command(&["SET", "a", "1"]), read].into_iter().flatten().collect();
    let settings = Settings { module: "ab".repeat(32), engine: "engine".to_owned(), limits: Limits::DEFAULT };
    let origin = Origin { node_id: 3, request: 4, first: 0, count: 1 };
    let digests = Digests { index: 5, running: Digest(6), state: Some(Digest(7)) };
    let checks = Checks { digests: Some(digests), mark: true };
    let change = Change::To(settings.clone());
    let whole = Proposal::encode_with(7, Some(1), &[origin], Some(&change), checks, commands.iter());
    vec![
        ("proposals/batch", Proposal::encode(7, None, &[], commands.iter()).as_bytes().to_vec()),
        ("proposals/tick", Proposal::encode(7, Some(9), &[], [].iter()).as_bytes().to_vec()),
        ("proposals/everything", whole.as_bytes().to_vec()),
        ("proposals/settings", settings.encode()),
    ]
}
