//! One log, two modules: the first reply that differs.

use super::report::{Comparison, Difference, Named};
use super::{Error, Progress, Span, Trace, lines, show};
use crate::guest::Guest;
use crate::machine::{Applied, Content, Offline};
use std::sync::Arc;

/// The trace is that of the module that wrote the log.
pub(super) fn compare(
    span: &Span<'_>,
    original: &Arc<Guest>,
    other: &Arc<Guest>,
    mut trace: Trace<'_>,
) -> Result<Comparison, Error> {
    if span.purged > 0 {
        return Err(Error::Purged { purged: span.purged });
    }
    let mut machines = [Offline::new(Arc::clone(original))?, Offline::stand_in(Arc::clone(other))?];
    let mut comparison = Comparison {
        original: Named::of(original),
        other: Named::of(other),
        entries: 0,
        commands: 0,
        last: 0,
        difference: None,
    };
    let mut progress = Progress::new(span.entries);
    for entry in span.entries {
        let [left, right] = &mut machines;
        let (left_applied, right_applied) = (left.apply(entry)?, right.apply(entry)?);
        if let Some(trace) = &mut trace {
            lines(&left_applied, left.now()).iter().try_for_each(&mut **trace)?;
        }
        comparison.entries += 1;
        comparison.last = left_applied.index;
        comparison.difference = difference(&left_applied, &right_applied);
        if let Some(difference) = &comparison.difference {
            comparison.commands += difference.position;
            break;
        }
        comparison.commands += left_applied.replies.len();
        progress.at(left_applied.index);
    }
    Ok(comparison)
}

fn difference(left: &Applied, right: &Applied) -> Option<Difference> {
    let Content::Commands { commands, .. } = &left.content else { return None };
    let replies = left.replies.iter().zip(right.replies.iter());
    let (position, (original, other)) = replies.enumerate().find(|(_, (left, right))| left != right)?;
    Some(Difference {
        index: left.index,
        position,
        command: commands.get(position).map(show::command).unwrap_or_default(),
        original: show::reply(original),
        other: show::reply(other),
    })
}
