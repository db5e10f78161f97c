//! `--chart FILE`: our rates in parts of the peer's, as bars.

use super::report::{Report, Row};
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const BAR: f64 = 16.0;
const LEFT: f64 = 340.0;
/// What a bar may be long at most; the scale is that of the longest.
const ROOM: f64 = WIDTH - LEFT - 80.0;
const TOP: f64 = 80.0;

pub(super) fn chart(report: &Report) -> String {
    let bars: Vec<(&Row, (f64, f64, f64))> =
        report.rows.iter().filter_map(|row| row.ratio(1).map(|ratio| (row, ratio))).collect();
    let most = bars.iter().map(|(_, (_, _, most))| *most).fold(1.0, f64::max);
    let x = |ratio: f64| LEFT + ROOM * ratio / most;
    let height = TOP + bars.len() as f64 * (BAR + 6.0) + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let _ = writeln!(svg, "<text x=\"12\" y=\"22\" font-size=\"15\">Commands a second, in parts of the peer's</text>");
    // The machine in the first line, the versions of the peers in the second.
    let (machine, versions) = report.machine.split_once(", redis-server").unwrap_or((&report.machine, ""));
    let _ = writeln!(svg, "<text x=\"12\" y=\"42\" fill=\"#555\">{}, {}</text>", report.date, escaped(machine));
    if !versions.is_empty() {
        let _ = writeln!(svg, "<text x=\"12\" y=\"58\" fill=\"#555\">redis-server{}</text>", escaped(versions));
    }
    for (number, (row, (ratio, least, most))) in bars.iter().enumerate() {
        let y = TOP + number as f64 * (BAR + 6.0);
        let peer = row.servers.get(1).map_or("", |peer| &*peer.name);
        let name = escaped(&format!("{} {} / {peer}", row.workload, row.cell));
        let middle = y + BAR * 0.8;
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{middle:.0}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"#3572b0\"/>",
            x(*ratio) - LEFT
        );
        // From the least to the most of the rounds.
        let line = y + BAR / 2.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{line:.1}\" y2=\"{line:.1}\" stroke=\"black\"/>",
            x(*least),
            x(*most)
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{middle:.0}\">{ratio:.2}</text>", x(*most) + 6.0);
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1:.0}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/>",
        x(1.0),
        height - 30.0
    );
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn there_is_a_bar_for_each_row_with_a_peer() {
        let mut alone = row("SET", "1×1", &[(1.0, 2.0)]);
        alone.servers.truncate(1);
        let rows = vec![row("A & B", "1×1", &[(50.0, 100.0)]), alone, row("GET", "1×1", &[(200.0, 100.0)])];
        let svg = chart(&Report { rows, ..Report::default() });
        assert_eq!(svg.matches("fill=\"#3572b0\"").count(), 2);
        // The longest bar sets the scale, and half of the peer's is a quarter of it.
        assert!(svg.contains("width=\"110.0\"") && svg.contains("width=\"440.0\""), "{svg}");
        assert!(svg.contains("A &amp; B 1×1 / redis"));
    }
}
