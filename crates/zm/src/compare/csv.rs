//! The comparison for spreadsheets.

use super::result::Comparison;
use super::statistics::{Ratio, Spread};
use crate::report::csv::{known, table};

/// The comparison as CSV: a line for each row and figure.
pub fn write(comparison: &Comparison) -> Vec<u8> {
    let head = [
        "row",
        "backend",
        "variables",
        "figure",
        "median",
        "quartile_low",
        "quartile_high",
        "ratio_to_own",
        "ratio_low",
        "ratio_high",
        "verdict",
    ];
    let lines = comparison.rows.iter().flat_map(|row| {
        let start = [row.name.clone(), row.backend.clone(), row.variables.join(" ")];
        let broken = row.broken.iter().map({
            let start = start.clone();
            move |_| {
                let mut line = start.to_vec();
                line.resize(head.len() - 1, String::new());
                line.push("broken".to_owned());
                line
            }
        });
        let figures = row.figures.iter().map(move |figure| {
            let spread = |part: fn(Spread) -> f64| known(figure.spread.map(part));
            let ratio = |part: fn(Ratio) -> f64| known(figure.to_own.map(part));
            let verdict = figure.to_own.map(|ratio| match serde_json::to_value(ratio.verdict) {
                Ok(serde_json::Value::String(word)) => word,
                _ => String::new(),
            });
            let rest = [
                figure.name.to_owned(),
                spread(|spread| spread.median),
                spread(|spread| spread.quartile_low),
                spread(|spread| spread.quartile_high),
                ratio(|ratio| ratio.ratio),
                ratio(|ratio| ratio.low),
                ratio(|ratio| ratio.high),
                known(verdict),
            ];
            start.iter().cloned().chain(rest).collect()
        });
        broken.chain(figures)
    });
    table(&head, lines)
}
