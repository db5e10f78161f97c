//! Whether something grows: a line through its second half, by least squares. The first half may fill caches and tables.

/// What became of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// Of the second half.
    pub(crate) mean: f64,
    /// By how much the line rises over it.
    pub(crate) rise: f64,
}

/// Points are time and value, in the order of time.
pub(crate) fn trend(points: &[(f64, f64)]) -> Trend {
    let half = &points[points.len() / 2..];
    let count = half.len().max(1) as f64;
    let mean_of = |pick: fn(&(f64, f64)) -> f64| half.iter().map(pick).sum::<f64>() / count;
    let (mean_at, mean) = (mean_of(|point| point.0), mean_of(|point| point.1));
    let (mut both, mut squares) = (0.0, 0.0);
    for (at, value) in half {
        both += (at - mean_at) * (value - mean);
        squares += (at - mean_at).powi(2);
    }
    let length = half.last().map_or(0.0, |last| last.0) - half.first().map_or(0.0, |first| first.0);
    Trend { mean, rise: if squares > 0.0 { both / squares * length } else { 0.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..200).map(|at| (f64::from(at), value(f64::from(at)))).collect()
    }

    #[test]
    fn a_leak_is_seen_and_a_saw_and_a_start_are_not() {
        let leak = trend(&points(|at| 100.0 + at));
        assert!((leak.rise - 99.0).abs() < 1e-6 && (leak.mean - 249.5).abs() < 1e-6, "{leak:?}");
        let saw = trend(&points(|at| 100.0 + at % 10.0));
        assert!(saw.rise.abs() < 2.0, "{saw:?}");
        let start = trend(&points(|at| 100.0 * (at / 50.0).min(1.0)));
        assert_eq!(start, Trend { mean: 100.0, rise: 0.0 });
        assert_eq!(trend(&[]), Trend { mean: 0.0, rise: 0.0 });
    }
}
