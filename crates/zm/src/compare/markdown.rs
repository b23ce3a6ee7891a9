//! The comparison for a pull request or an issue.

use super::result::{Comparison, Figure, METRICS, Metric, RowResult, rounds};
use crate::export::{markdown_cell, markdown_table};

/// The comparison as Markdown: the tables, what broke, and the recommendation.
pub fn write(comparison: &Comparison) -> Vec<u8> {
    let name = comparison.command.first().map_or("", |program| crate::report::short_name(program));
    let mut page =
        format!("**{}** under `zm compare`: {}\n\n", markdown_cell(name), markdown_cell(&rounds(comparison)));
    let whole = || comparison.rows.iter().filter(|row| row.broken.is_none());
    let heads: Vec<&str> = ["row"].into_iter().chain(METRICS.iter().map(|metric| metric.head)).collect();
    let cells = |row: &RowResult, cell: fn(&Figure, &Metric) -> String| -> Vec<String> {
        let cells = row.figures.iter().zip(&METRICS).map(|(figure, metric)| cell(figure, metric));
        [row.name.clone()].into_iter().chain(cells).collect()
    };
    page += &markdown_table(&heads, whole().map(|row| cells(row, Figure::median)));
    page += "\nRatios to its own allocator; ~ is noise:\n\n";
    let others = whole().filter(|row| row.name != "own");
    page += &markdown_table(&heads, others.map(|row| cells(row, |figure, _| figure.ratio())));
    let broken = comparison.rows.iter().filter_map(|row| {
        Some(format!("**{}** broke: {}", markdown_cell(&row.name), markdown_cell(row.broken.as_deref()?)))
    });
    let notes: Vec<String> = broken.chain(comparison.remarks.iter().map(|remark| markdown_cell(remark))).collect();
    if !notes.is_empty() {
        page.push('\n');
    }
    notes.iter().for_each(|note| page += &format!("- {note}\n"));
    let recommendation = &comparison.recommendation;
    page += &format!("\n**Recommendation:** {}\n", markdown_cell(&recommendation.text()));
    for how in &recommendation.how {
        page += &format!("\n{}:\n\n```\n{}\n```\n", how.place, how.lines.join("\n"));
    }
    page.into_bytes()
}
