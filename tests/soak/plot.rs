//! Curves over time as one SVG: a panel for each number, a color for each node. A dozen lines of text a panel need no
//! library.

use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 180.0;
const COLUMNS: usize = 2;
/// Around the curves of a panel: left, top, right, bottom.
const MARGIN: [f64; 4] = [64.0, 28.0, 12.0, 24.0];
/// Told apart by those who see no red or green: Okabe and Ito, 2008.
const COLORS: [&str; 9] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000", "#999999"];

/// One number over time, of all nodes or of the cluster.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Hours and values, a curve each.
    pub(crate) curves: Vec<Vec<(f64, f64)>>,
}

pub(crate) fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = ((number % COLUMNS) as f64 * WIDTH, (number / COLUMNS) as f64 * HEIGHT);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">{}</g>", panel.svg());
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn svg(&self) -> String {
        let [left, top, right, bottom] = MARGIN;
        let (width, height) = (WIDTH - left - right, HEIGHT - top - bottom);
        let most = |pick: fn(&(f64, f64)) -> f64| self.curves.iter().flatten().map(pick).fold(0.0, f64::max);
        let (hours, value) = (most(|point| point.0).max(1e-9), round_up(most(|point| point.1)));
        let at = |point: &(f64, f64)| (left + point.0 / hours * width, top + height - point.1 / value * height);
        let mut out = format!("<text x=\"{left}\" y=\"16\" font-weight=\"bold\">{}</text>", self.title);
        for part in 0..=4 {
            let part = f64::from(part) / 4.0;
            let (x, y) = (left + part * width, top + height - part * height);
            let _ = write!(
                out,
                "<path d=\"M{left} {y:.1}h{width}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}\
                 </text><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{:.2} h</text>",
                left - 4.0,
                y + 4.0,
                short(part * value),
                HEIGHT - 8.0,
                part * hours
            );
        }
        for (curve, color) in self.curves.iter().zip(COLORS.iter().cycle()) {
            let points: Vec<String> = curve.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\"/>", points.join(" "));
        }
        out
    }
}

/// The next 1, 2 or 5 with zeroes.
fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= value).unwrap_or(value)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.4} M", value / 1e6).replace(".0000", ""),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_stay_in_their_panel() {
        let curve = (0..10).map(|at| (f64::from(at), f64::from(at * at))).collect();
        let drawn = svg(&[Panel { title: "squares".to_owned(), curves: vec![curve] }]);
        assert!(drawn.contains("points=\"64.0,156.0 ") && drawn.ends_with("</svg>\n"), "{drawn}");
        let last = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap().rsplit(' ').next().unwrap();
        assert_eq!(last, "408.0,52.3", "81 of 100, at the right end");
        assert_eq!([round_up(0.0), round_up(3.0), round_up(81.0), round_up(1000.0)], [1e-3, 5.0, 100.0, 1000.0]);
    }
}
