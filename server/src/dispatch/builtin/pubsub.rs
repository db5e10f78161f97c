//! `SUBSCRIBE` and its kin: for clients of Sentinel, which want to hear of a new leader. There is nothing else to
//! subscribe to.

use super::{Answer, Arg, Builtin, Call, PUBSUB, Run, lossy};
use crate::dispatch::error::err;
use crate::dispatch::subscriptions::{SUBSCRIPTIONS_MAX, Subscriptions};
use crate::dispatch::{Client, Dispatcher};
use crate::reply::{ErrorReply, Reply};
use bytes::Bytes;
use std::collections::BTreeSet;

/// A longer pattern could take long to match.
const PATTERN_BYTES_MAX: usize = 256;

pub(super) const ROWS: &[Builtin] = &[
    row("SUBSCRIBE", -2, "Listens to channels of Sentinel, such as +switch-master", CHANNELS, |call| {
        let Call { dispatcher, client, args } = call;
        each(args, |channel| subscribe(dispatcher, client, channel, Kind::Channel))
    }),
    row("PSUBSCRIBE", -2, "Listens to the channels of Sentinel that match a pattern", PATTERNS, |call| {
        let Call { dispatcher, client, args } = call;
        each(args, |pattern| subscribe(dispatcher, client, pattern, Kind::Pattern))
    }),
    row("UNSUBSCRIBE", -1, "Stops listening to channels, or to all", ANY_CHANNELS, |call| {
        Ok(unsubscribe(call, Kind::Channel))
    }),
    row("PUNSUBSCRIBE", -1, "Stops listening to patterns, or to all", ANY_PATTERNS, |call| {
        Ok(unsubscribe(call, Kind::Pattern))
    }),
];

const CHANNELS: &[Arg] = &[Arg::text("channel").multiple()];
const PATTERNS: &[Arg] = &[Arg::text("pattern").multiple()];
const ANY_CHANNELS: &[Arg] = &[Arg::text("channel").optional().multiple()];
const ANY_PATTERNS: &[Arg] = &[Arg::text("pattern").optional().multiple()];

const fn row(
    name: &'static str,
    arity: i32,
    summary: &'static str,
    arguments: &'static [Arg],
    run: fn(Call<'_>) -> Answer,
) -> Builtin {
    Builtin { name, arity, flags: PUBSUB, group: "pubsub", summary, arguments, run: Run::Now(run) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Channel,
    Pattern,
}

/// As in Redis there is a reply for each word.
fn each(words: &[Bytes], mut run: impl FnMut(&Bytes) -> Answer) -> Answer {
    words.iter().map(|word| Ok(run(word).unwrap_or_else(Reply::Error))).collect::<Result<_, _>>().map(Reply::Several)
}

fn subscribe(dispatcher: &Dispatcher, client: &mut Client, name: &Bytes, kind: Kind) -> Answer {
    check(client, name, kind)?;
    let subscriptions = client.subscriptions_mut();
    let (word, names) = match kind {
        Kind::Channel => ("subscribe", &mut subscriptions.channels),
        Kind::Pattern => ("psubscribe", &mut subscriptions.patterns),
    };
    // A copy, for a slice would keep the buffer that it was read into.
    names.insert(Bytes::copy_from_slice(name));
    subscriptions.follow(|| dispatcher.backend.leaders());
    Ok(confirmed(word, Reply::Bulk(name.clone()), subscriptions.count()))
}

fn check(client: &Client, name: &Bytes, kind: Kind) -> Result<(), ErrorReply> {
    if name.len() > PATTERN_BYTES_MAX {
        return Err(err(format!("a channel or pattern has at most {PATTERN_BYTES_MAX} bytes")));
    }
    // The events of Sentinel begin with one of these; nobody publishes anything else here.
    if kind == Kind::Channel && !matches!(name.first(), Some(b'+' | b'-')) {
        return Err(err(format!(
            "nothing is published to '{}': there are only the channels of Sentinel, such as +switch-master",
            lossy(name)
        )));
    }
    if client.subscriptions().count() >= SUBSCRIPTIONS_MAX {
        return Err(err(format!("a client has at most {SUBSCRIPTIONS_MAX} subscriptions")));
    }
    Ok(())
}

fn unsubscribe(call: Call<'_>, kind: Kind) -> Reply {
    let Call { dispatcher, client, args } = call;
    let subscriptions = client.subscriptions_mut();
    let (word, own): (_, fn(&mut Subscriptions) -> &mut BTreeSet<Bytes>) = match kind {
        Kind::Channel => ("unsubscribe", |subscriptions| &mut subscriptions.channels),
        Kind::Pattern => ("punsubscribe", |subscriptions| &mut subscriptions.patterns),
    };
    let names = if args.is_empty() { own(subscriptions).iter().cloned().collect() } else { args.to_vec() };
    if names.is_empty() {
        return confirmed(word, Reply::Null, subscriptions.count());
    }
    let replies = names.into_iter().map(|name| {
        own(subscriptions).remove(&name);
        subscriptions.follow(|| dispatcher.backend.leaders());
        confirmed(word, Reply::Bulk(name), subscriptions.count())
    });
    Reply::Several(replies.collect())
}

fn confirmed(word: &str, name: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::bulk(word), name, Reply::Integer(count as i64)])
}
