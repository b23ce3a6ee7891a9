//! Which allocator to take, why, and how.

use super::result::{CPU, Comparison, METRICS, PEAK_RSS, RSS_AFTER, RowResult, WALL};
use super::row::{OWN, Row};
use super::statistics::{Verdict, rounds_needed};
use serde::Serialize;

/// What follows from a comparison.
#[derive(Debug, Default, Serialize)]
pub struct Recommendation {
    /// The row; none: stay with the program's own allocator.
    pub row: Option<String>,
    /// Why, as a sentence.
    pub reason: String,
    /// What else may be wanted.
    pub alternatives: Vec<String>,
    /// How to apply it.
    pub how: Vec<How>,
}

/// Lines to put somewhere.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct How {
    /// Where they go.
    pub place: String,
    /// What goes there.
    pub lines: Vec<String>,
}

/// Time times memory has to become this much better for a change to be worth the trouble.
const WORTH: f64 = 0.97;
/// And neither time, processor time nor memory may become this much worse.
const PRICE: f64 = 1.05;

/// The memory that counts: of a server what it keeps, of another program what it takes at most.
fn memory(comparison: &Comparison) -> usize {
    if comparison.load.is_some() { RSS_AFTER } else { PEAK_RSS }
}

/// The recommendation for the rows of a comparison.
pub fn recommend(comparison: &Comparison, rows: &[Row]) -> Recommendation {
    let memory = memory(comparison);
    // Bare and own are what there is.
    let candidates = || comparison.rows.iter().enumerate().skip(OWN + 1).filter(|(_, row)| row.broken.is_none());
    let gain = |row: &RowResult| time(row) * row.sure(memory);
    let harmless = |row: &RowResult| [WALL, CPU, PEAK_RSS, memory].iter().all(|&metric| row.sure(metric) < PRICE);
    let best = candidates()
        .filter(|(_, row)| harmless(row) && gain(row) <= WORTH)
        .min_by(|(_, one), (_, other)| gain(one).total_cmp(&gain(other)));

    let fastest = least(candidates().map(|(_, row)| row), WALL);
    let smallest = least(candidates().map(|(_, row)| row), memory);
    let chosen = best.map(|(_, row)| row.name.as_str());
    let alternatives = [("time", fastest), ("memory", smallest)]
        .into_iter()
        .filter_map(|(what, row)| {
            let row = row.filter(|row| Some(row.name.as_str()) != chosen)?;
            Some(format!("if {what} matters most: {}, with {}", row.name, differences(row, memory)?))
        })
        .collect();

    match best {
        Some((index, row)) => Recommendation {
            row: Some(row.name.clone()),
            reason: differences(row, memory).unwrap_or_default(),
            alternatives,
            how: super::apply::how(&comparison.command, &rows[index]),
        },
        None => Recommendation { row: None, reason: stay(comparison), alternatives, how: Vec::new() },
    }
}

/// Time, as far as it is sure; where it sways too much, the processor's, which others on the machine disturb less.
fn time(row: &RowResult) -> f64 {
    let wall = row.sure(WALL);
    if wall == 1.0 { row.sure(CPU) } else { wall }
}

/// The row that surely needs least of something, if one needs so much less that it is worth a word.
fn least<'rows>(rows: impl Iterator<Item = &'rows RowResult>, metric: usize) -> Option<&'rows RowResult> {
    rows.filter(|row| row.sure(metric) <= WORTH).min_by(|one, other| one.sure(metric).total_cmp(&other.sure(metric)))
}

fn stay(comparison: &Comparison) -> String {
    let compared = comparison.rows.iter().filter(|row| row.broken.is_none()).count().saturating_sub(1);
    if compared <= 1 {
        return "every other allocator breaks the program".to_owned();
    }
    let ratios = || comparison.rows.iter().flat_map(|row| &row.figures).filter_map(|figure| figure.to_own);
    if ratios().any(|ratio| ratio.verdict == Verdict::TooFew) {
        return format!("so few rounds tell no difference from noise: take -n {} or more", rounds_needed(compared));
    }
    "no other allocator is surely better in time and memory together, without being 5 % worse in either".to_owned()
}

/// `16 % less time, 6 % less peak RSS`: what is sure.
fn differences(row: &RowResult, memory: usize) -> Option<String> {
    let mut metrics = vec![WALL, CPU, PEAK_RSS];
    if !metrics.contains(&memory) {
        metrics.push(memory);
    }
    let parts: Vec<String> = metrics
        .into_iter()
        .filter_map(|metric| {
            let ratio = row.sure(metric);
            let percent = (ratio - 1.0).abs() * 100.0;
            let word = if ratio < 1.0 { "less" } else { "more" };
            (percent >= 1.0).then(|| format!("{percent:.0} % {word} {}", METRICS[metric].words))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

impl Recommendation {
    /// The recommendation as a sentence.
    pub fn text(&self) -> String {
        let what = self.row.as_deref().unwrap_or("stay with its own allocator");
        let alternatives: String = self.alternatives.iter().map(|text| format!("; {text}")).collect();
        format!("{what}: {}{alternatives}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::{comparison, row};
    use super::*;

    fn recommended(others: &[(&str, f64, f64)], load: Option<&str>) -> Recommendation {
        let (comparison, rows) = comparison(others, load);
        recommend(&comparison, &rows)
    }

    #[test]
    fn the_best_of_time_and_memory_together_is_taken() {
        let best = recommended(&[("a", 0.9, 1.0), ("b", 0.85, 1.02), ("c", 0.99, 0.99)], None);
        assert_eq!(best.row.as_deref(), Some("b"));
        assert_eq!(best.reason, "15 % less time, 15 % less CPU time, 2 % more peak RSS");
        assert!(!best.how.is_empty());
    }

    #[test]
    fn what_costs_too_much_is_an_alternative_at_most() {
        let best = recommended(&[("fast", 0.7, 1.3), ("small", 1.2, 0.6)], None);
        assert_eq!((best.row, best.how.len()), (None, 0));
        assert!(best.reason.starts_with("no other allocator is surely better"), "{}", best.reason);
        assert_eq!(
            best.alternatives,
            [
                "if time matters most: fast, with 30 % less time, 30 % less CPU time, 30 % more peak RSS",
                "if memory matters most: small, with 20 % more time, 20 % more CPU time, 40 % less peak RSS",
            ]
        );
    }

    #[test]
    fn processor_time_counts_where_time_sways() {
        let (mut comparison, rows) = comparison(&[("a", 0.9, 1.0)], None);
        for (index, sample) in comparison.rows[2].samples.iter_mut().enumerate() {
            sample.wall_seconds = if index % 2 == 0 { 1.0 } else { 4.0 };
        }
        let samples = comparison.rows.iter().map(|row| row.samples.clone()).collect();
        comparison.rows = super::super::result::summarize(&rows, samples, vec![None; 3]);
        let best = recommend(&comparison, &rows);
        assert_eq!((best.row.as_deref(), best.reason.as_str()), (Some("a"), "10 % less CPU time"));
    }

    #[test]
    fn of_a_server_what_it_keeps_counts() {
        let best = recommended(&[("a", 1.0, 0.9)], Some("load"));
        assert_eq!(best.row.as_deref(), Some("a"));
        assert!(best.reason.ends_with("10 % less RSS after the work"), "{}", best.reason);
    }

    #[test]
    fn nothing_is_recommended_that_cannot_be() {
        let (mut comparison, rows) = comparison(&[("a", 0.5, 0.5)], None);
        comparison.rows[2].broken = Some("it crashes".to_owned());
        assert_eq!(recommend(&comparison, &rows).reason, "every other allocator breaks the program");

        let small = comparison.rows.iter().map(|row| row.samples[..3].to_vec()).collect();
        comparison.rows = super::super::result::summarize(&rows, small, vec![None; 3]);
        let few = recommend(&comparison, &rows);
        assert_eq!(
            (few.row, few.reason.as_str()),
            (None, "so few rounds tell no difference from noise: take -n 7 or more")
        );
    }

    #[test]
    fn ways_to_apply_name_the_variables() {
        let mut tuned = row("narrow", "forward");
        tuned.variables = vec![("MALLOC_ARENA_MAX".to_owned(), "1 2".to_owned())];
        let ways = super::super::apply::how(&["./x".to_owned()], &tuned);
        assert_eq!(ways.len(), 2);
        assert_eq!(ways[0].lines, ["MALLOC_ARENA_MAX='1 2' ./x"]);
        assert_eq!(ways[1].lines, ["[Service]", "Environment=\"MALLOC_ARENA_MAX=1 2\""]);

        let ways = super::super::apply::how(&["./x".to_owned()], &row("snmalloc", "snmalloc"));
        assert_eq!(ways[0].lines, ["zm run --quiet --backend snmalloc -- ./x"]);
        assert!(ways[1].lines.contains(&"snmalloc-rs = \"0.7\"".to_owned()));
    }
}
