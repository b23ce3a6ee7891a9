//! When a difference is more than noise.
//!
//! Runs are made in rounds: in each, every allocator has its turn. A ratio is taken within a round, so that what
//! slows the machine for a while slows both sides of it. Whether the ratios of all rounds differ from 1 is decided by
//! Wilcoxon's signed-rank test on their logarithms: exact for any number of rounds, and without assuming how times are
//! distributed. The interval shown is the one that belongs to the test, by the averages of all pairs (Walsh), and the
//! ratio is their median (Hodges and Lehmann).

use serde::Serialize;

/// How often one of all comparisons of a figure may be called a difference though there is none.
const ERROR_RATE: f64 = 0.05;
/// Differences below this part matter to nobody, however sure they are.
const SMALL: f64 = 0.01;

/// The middle of some figures, and how far half of them spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// A quarter of the figures is below.
    pub quartile_low: f64,
    /// A quarter of the figures is above.
    pub quartile_high: f64,
}

/// How many times the base's figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio that fits the rounds best.
    pub ratio: f64,
    /// The lowest that the rounds do not speak against.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// What to think of it.
    pub verdict: Verdict,
}

/// What a ratio means. Of every figure, less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Surely less.
    Better,
    /// Surely more.
    Worse,
    /// Surely within 1 %.
    Same,
    /// Nothing is sure.
    Noise,
    /// So few rounds cannot tell.
    TooFew,
}

/// The spread of some figures, of which there is at least one.
pub fn spread(figures: &[f64]) -> Option<Spread> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Spread {
        median: quantile(&sorted, 0.5)?,
        quartile_low: quantile(&sorted, 0.25)?,
        quartile_high: quantile(&sorted, 0.75)?,
    })
}

/// The ratio of two series of figures, round by round; `comparisons` is how many such ratios are looked at together.
/// Rounds in which either figure is not known or 0 do not count; none are left, no ratio.
pub fn ratio(base: &[Option<f64>], other: &[Option<f64>], comparisons: usize) -> Option<Ratio> {
    let pairs = base.iter().zip(other).filter_map(|(base, other)| Some(((*base)?, (*other)?)));
    let logs: Vec<f64> =
        pairs.filter(|&(base, other)| base > 0.0 && other > 0.0).map(|(base, other)| (other / base).ln()).collect();
    let mut averages = Vec::with_capacity(logs.len() * (logs.len() + 1) / 2);
    for (index, first) in logs.iter().enumerate() {
        averages.extend(logs[index..].iter().map(|second| (first + second) / 2.0));
    }
    averages.sort_by(f64::total_cmp);
    // More digits than these are the machine's, not the program's.
    let shown = |log: f64| (log.exp() * 1e6).round() / 1e6;
    let ratio = shown(quantile(&averages, 0.5)?);
    let Some(cut) = critical(logs.len(), ERROR_RATE / comparisons.max(1) as f64) else {
        let (low, high) = (shown(averages[0]), shown(averages[averages.len() - 1]));
        return Some(Ratio { ratio, low, high, verdict: Verdict::TooFew });
    };
    let (low, high) = (shown(averages[cut]), shown(averages[averages.len() - 1 - cut]));
    let verdict = if low >= 1.0 - SMALL && high <= 1.0 + SMALL {
        Verdict::Same
    } else if high < 1.0 && ratio < 1.0 - SMALL {
        Verdict::Better
    } else if low > 1.0 && ratio > 1.0 + SMALL {
        Verdict::Worse
    } else {
        Verdict::Noise
    };
    Some(Ratio { ratio, low, high, verdict })
}

/// The fewest rounds that can tell a difference in so many comparisons.
pub fn rounds_needed(comparisons: usize) -> usize {
    (1..).find(|&rounds| critical(rounds, ERROR_RATE / comparisons.max(1) as f64).is_some()).unwrap_or(usize::MAX)
}

/// How many averages to leave out at either end: the largest rank sum that is as rare as `level` / 2.
/// None if even a rank sum of 0 is not.
fn critical(rounds: usize, level: f64) -> Option<usize> {
    // The chance of each rank sum, when each rank counts or not by the toss of a coin.
    let mut chances = vec![0.0; rounds * (rounds + 1) / 2 + 1];
    chances[0] = 1.0;
    for rank in 1..=rounds {
        for sum in (0..chances.len()).rev() {
            let with = if sum >= rank { chances[sum - rank] } else { 0.0 };
            chances[sum] = (chances[sum] + with) / 2.0;
        }
    }
    let mut below = 0.0;
    let rare = chances.iter().take_while(|&&chance| {
        below += chance;
        // Powers of two: rounding is far below this.
        below <= level / 2.0 + 1e-12
    });
    rare.count().checked_sub(1)
}

/// Between the neighbours, by distance.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(figures: &[f64]) -> Vec<Option<f64>> {
        figures.iter().copied().map(Some).collect()
    }

    #[test]
    fn critical_values_are_those_of_the_printed_tables() {
        // Two-sided, at 5 % and at 1 %.
        for (rounds, at_5, at_1) in [
            (5, None, None),
            (6, Some(0), None),
            (7, Some(2), None),
            (8, Some(3), Some(0)),
            (10, Some(8), Some(3)),
            (15, Some(25), Some(15)),
            (20, Some(52), Some(37)),
            (25, Some(89), Some(68)),
        ] {
            assert_eq!((critical(rounds, 0.05), critical(rounds, 0.01)), (at_5, at_1), "{rounds}");
        }
        assert_eq!([1, 5, 10].map(rounds_needed), [6, 8, 9]);
    }

    #[test]
    fn medians_and_quartiles() {
        let spread = spread(&[4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!((spread.median, spread.quartile_low, spread.quartile_high), (3.0, 2.0, 4.0));
        assert_eq!(super::spread(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(super::spread(&[]), None);
    }

    #[test]
    fn a_steady_difference_is_told_and_a_swaying_one_is_noise() {
        let base = some(&[1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 0.8, 1.0, 1.1, 0.95]);
        let times = |factors: &[f64]| -> Vec<Option<f64>> {
            base.iter().zip(factors.iter().cycle()).map(|(base, factor)| base.map(|base| base * factor)).collect()
        };
        let verdict = |other: &[Option<f64>]| ratio(&base, other, 5).unwrap().verdict;
        assert_eq!(verdict(&times(&[0.8, 0.82, 0.79])), Verdict::Better);
        assert_eq!(verdict(&times(&[1.2, 1.18])), Verdict::Worse);
        assert_eq!(verdict(&times(&[1.2, 0.8])), Verdict::Noise);
        assert_eq!(verdict(&times(&[1.004])), Verdict::Same);
        assert_eq!(verdict(&base), Verdict::Same);
        let halved = ratio(&base, &times(&[0.5]), 5).unwrap();
        assert!((halved.ratio - 0.5).abs() < 1e-9 && halved.low <= halved.ratio && halved.ratio <= halved.high);
        assert_eq!(ratio(&base[..7], &times(&[0.5])[..7], 5).unwrap().verdict, Verdict::TooFew);
        assert_eq!(ratio(&base[..7], &times(&[0.5])[..7], 1).unwrap().verdict, Verdict::Better);
    }

    #[test]
    fn what_is_not_known_does_not_count() {
        assert_eq!(ratio(&[None, Some(0.0), Some(1.0)], &[Some(1.0), Some(1.0), None], 1), None);
        let one = ratio(&[None, Some(2.0)], &[Some(1.0), Some(1.0)], 1).unwrap();
        assert_eq!((one.ratio, one.verdict), (0.5, Verdict::TooFew));
    }

    /// Of many comparisons without a difference, few are called one.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Skewed, as times are: now and then much slower.
            let uniform = (random >> 33) as f64 / (1u64 << 31) as f64;
            Some(1.0 + 0.05 * -(1.0 - uniform).ln())
        };
        let mut alarms = 0;
        for _ in 0..2000 {
            let (base, other): (Vec<_>, Vec<_>) = (0..10).map(|_| (next(), next())).unzip();
            let verdict = ratio(&base, &other, 1).unwrap().verdict;
            alarms += usize::from(matches!(verdict, Verdict::Better | Verdict::Worse));
        }
        assert!((1..=120).contains(&alarms), "{alarms} of 2000");
    }
}
