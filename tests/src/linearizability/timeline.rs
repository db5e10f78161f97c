//! Violations drawn, on the terminal and as SVG: the last operations that were given a moment, those that were open
//! then, and which of them cannot be next.

use super::{Model, Operation, Outcome, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// How many of the operations before the end are shown.
const BEFORE: usize = 10;
/// How many of those without a moment are shown.
const OPEN_MAX: usize = 20;

/// One operation of a drawing. Columns are the moments at which something was called or returned, in order.
struct Row<'a, M: Model> {
    operation: &'a Operation<M>,
    from: usize,
    /// None if it never returned.
    to: Option<usize>,
    /// In which place it was given its moment.
    place: Option<usize>,
    stuck: bool,
}

impl<M: Model> Violation<M> {
    /// In the order of calls, and how many columns they take.
    fn rows(&self) -> (Vec<Row<'_, M>>, usize) {
        let places: BTreeMap<usize, usize> =
            self.order.iter().enumerate().map(|(place, position)| (*position, place)).collect();
        let stuck_at = returned(&self.operations[self.stuck]).unwrap_or(u64::MAX);
        let mut shown: BTreeSet<usize> = self.order.iter().rev().take(BEFORE).copied().collect();
        let is_open =
            |position: &usize| !places.contains_key(position) && self.operations[*position].called <= stuck_at;
        // The latest, for in a long history those of unknown outcome add up.
        shown.extend((0..self.operations.len()).rev().filter(is_open).take(OPEN_MAX));
        shown.insert(self.stuck);
        let times: BTreeSet<u64> = shown
            .iter()
            .flat_map(|position| {
                let operation = &self.operations[*position];
                [Some(operation.called), returned(operation)].into_iter().flatten()
            })
            .collect();
        let column = |time: u64| times.range(..time).count();
        let row = |position: usize| {
            let operation = &self.operations[position];
            Row {
                operation,
                from: column(operation.called),
                to: returned(operation).map(column),
                place: places.get(&position).map(|place| place + 1),
                stuck: position == self.stuck,
            }
        };
        (shown.iter().map(|position| row(*position)).collect(), times.len())
    }

    /// The same as a picture, a line for each client.
    pub fn svg(&self) -> String {
        const COLUMN: usize = 46;
        const LINE: usize = 44;
        let (rows, columns) = self.rows();
        let clients: BTreeSet<usize> = rows.iter().map(|row| row.operation.client).collect();
        let (width, height) = ((columns + 3) * COLUMN + 80, (clients.len() + 2) * LINE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"14\">part {}: {}</text>\n",
            escaped(&self.part),
            escaped(&self.summary())
        );
        for (line, client) in clients.iter().enumerate() {
            let y = (line + 1) * LINE;
            svg += &format!("<text x=\"8\" y=\"{}\">client {client}</text>\n", y + 18);
            for row in rows.iter().filter(|row| row.operation.client == *client) {
                let from = 80 + row.from * COLUMN;
                let to = 80 + row.to.map_or((columns + 2) * COLUMN, |to| to * COLUMN + COLUMN / 2);
                let color = match (row.stuck, row.place, row.to) {
                    (true, ..) => "#f4a6a0",
                    (_, Some(_), _) => "#b7e1b5",
                    (.., None) => "#dddddd",
                    _ => "#f6dfa4",
                };
                let place = row.place.map(|place| format!("{place}. ")).unwrap_or_default();
                svg += &format!(
                    "<rect x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"28\" rx=\"4\" fill=\"{color}\" \
                     stroke=\"#555\"/><text x=\"{}\" y=\"{}\">{place}{}</text>\n",
                    (to - from).max(COLUMN / 2),
                    from + 4,
                    y + 18,
                    escaped(&row.operation.to_string())
                );
            }
        }
        svg + "</svg>\n"
    }

    fn summary(&self) -> String {
        let stuck = &self.operations[self.stuck];
        let (_, output) = M::step(&self.state, &stuck.input);
        format!(
            "after {} of {} operations the state is {:?}, in which client {}'s {} would give {output}",
            self.order.len(),
            self.operations.len(),
            self.state,
            stuck.client,
            stuck.input
        )
    }
}

impl<M: Model> Display for Violation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not linearizable, part {}: {}", self.part, self.summary())?;
        writeln!(f, "numbers are places in the longest order that was found, ✗ cannot be given one\n")?;
        let (rows, columns) = self.rows();
        for row in rows {
            let place = match (row.stuck, row.place) {
                (true, _) => "✗".to_owned(),
                (false, Some(place)) => place.to_string(),
                (false, None) => String::new(),
            };
            let to = row.to.unwrap_or(columns);
            let bar = format!(
                "{}├{}{}",
                " ".repeat(row.from),
                "─".repeat((to - row.from).saturating_sub(1)),
                if row.to.is_some() { "┤" } else { "┄" }
            );
            writeln!(
                f,
                "{place:>7}  client {:<3} {bar:<width$}  {}",
                row.operation.client,
                row.operation,
                width = columns + 1
            )?;
        }
        Ok(())
    }
}

fn returned<M: Model>(operation: &Operation<M>) -> Option<u64> {
    match operation.outcome {
        Outcome::Returned { at, .. } => Some(at),
        Outcome::Unknown | Outcome::Refused => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
