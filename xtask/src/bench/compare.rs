//! `--compare A.json B.json`: what has become faster or slower from one run to another.

use super::report::{Report, Row, grouped};
use std::fmt::Write as _;

/// Rates are compared in parts of the peer's in the same run, if there is one: machines differ from day to day.
pub(super) fn compare(before: &Report, after: &Report) -> String {
    let mut text = format!("Before: {}, {}\nAfter: {}, {}\n\n", before.date, before.server, after.date, after.server);
    text += "| workload | clients×pipeline | before/s | after/s | before/peer | after/peer | after/before |\n";
    text += "|---|---|---:|---:|---:|---:|---:|\n";
    for row in &after.rows {
        let Some(old) = before.rows.iter().find(|old| old.workload == row.workload && old.cell == row.cell) else {
            continue;
        };
        let rate = |row: &Row| row.servers.first().map_or(0.0, |ours| ours.median(|round| round.rate));
        let part = |row: &Row| row.ratio(1).map(|(ratio, ..)| ratio);
        let (change, parts) = match (part(old), part(row)) {
            (Some(old), Some(new)) => (new / old, format!("{old:.2} | {new:.2}")),
            _ => (rate(row) / rate(old), "– | –".to_owned()),
        };
        let (old, new) = (grouped(rate(old)), grouped(rate(row)));
        let _ = writeln!(text, "| {} | {} | {old} | {new} | {parts} | {change:.2} |", row.workload, row.cell);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn rates_are_compared_in_parts_of_the_peer() {
        let report = |rows: Vec<Row>| Report { rows, ..Report::default() };
        // A machine that is half as fast, and a server that is twice as good.
        let before = report(vec![row("SET", "1×1", &[(100.0, 400.0)]), row("SET", "9×9", &[(1.0, 1.0)])]);
        let after = report(vec![row("SET", "1×1", &[(100.0, 200.0)]), row("GET", "1×1", &[(1.0, 1.0)])]);
        let text = compare(&before, &after);
        assert!(text.ends_with("|\n| SET | 1×1 | 100 | 100 | 0.25 | 0.50 | 2.00 |\n"), "{text}");
    }
}
