//! The comparison for people.

use super::result::{Comparison, Figure, METRICS, RowResult, rounds};
use super::statistics::Verdict;
use crate::report::short_name;
use crate::report::text::{Style, lines, plain, table};
use comfy_table::CellAlignment;
use std::fmt::Write;

const LEGEND: &str = "\
medians, with the distance to the farther quartile. bare is not counted; own and the others are, so they compare.
peak live and peak RSS: of the largest process. RSS after: when it ended. RSS/live: peak RSS over peak live.";

const LEGEND_SERVER: &str = "\
medians, with the distance to the farther quartile. bare is not counted; own and the others are, so they compare.
time: of the load. peaks: during it. RSS after: when it had been idle. RSS/live: then, too. All of the whole process tree.";

const RULE: &str = "\
~ is noise: not told from 1 by Wilcoxon's signed-rank test over the rounds (5 % for all rows of a column together).";

/// The whole comparison, ended by a line end.
pub fn render(comparison: &Comparison, style: Style) -> String {
    let mut text = String::new();
    let program = comparison.command.first().map_or("", |program| short_name(program));
    let head = format!("zm compare: {} | {}", plain(program), rounds(comparison).replace(", ", " | "));
    let _ = writeln!(text, "{}\n", style.strong(&head));
    let whole = || comparison.rows.iter().filter(|row| row.broken.is_none());
    text += &grid(whole(), style, |figure, metric| figure.median(&METRICS[metric]));
    let _ = writeln!(text, "\n{}", style.strong("ratios to own: less is better"));
    let mut ratios = grid(whole().filter(|row| row.name != "own"), style, |figure, _| figure.ratio());
    if style.colored {
        ratios = colored(&ratios, whole().filter(|row| row.name != "own"), style);
    }
    text += &ratios;
    text.push('\n');
    let legend = if comparison.load.is_some() { LEGEND_SERVER } else { LEGEND };
    let _ = writeln!(text, "{}\n{}", style.quiet(legend), style.quiet(RULE));
    let others = whole().filter(|row| !matches!(row.name.as_str(), "bare" | "own"));
    let others: Vec<String> = others.map(|row| plain(&row.description())).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "{}", style.quiet(&format!("rows: {}", others.join("; "))));
    }
    for row in &comparison.rows {
        if let Some(why) = &row.broken {
            let _ = writeln!(text, "{} under {}: {}", style.warning("breaks"), plain(&row.description()), plain(why));
        }
    }
    for remark in &comparison.remarks {
        let _ = writeln!(text, "{}", style.quiet(&plain(remark)));
    }

    let recommendation = &comparison.recommendation;
    let what = recommendation.row.as_deref().unwrap_or("stay with its own allocator");
    let _ = writeln!(
        text,
        "\n{} {}: {}",
        style.strong("recommendation:"),
        style.strong(&plain(what)),
        recommendation.reason
    );
    for alternative in &recommendation.alternatives {
        let _ = writeln!(text, "  {}", plain(alternative));
    }
    for how in &recommendation.how {
        let _ = writeln!(text, "  {}:", how.place);
        how.lines.iter().for_each(|line| _ = writeln!(text, "    {}", plain(line)));
    }
    text
}

fn grid<'rows>(
    rows: impl Iterator<Item = &'rows RowResult>,
    style: Style,
    cell: fn(&Figure, usize) -> String,
) -> String {
    let heads = METRICS.iter().map(|metric| (metric.head, CellAlignment::Right));
    let mut table = table(&[("", CellAlignment::Left)].into_iter().chain(heads).collect::<Vec<_>>());
    for row in rows {
        let cells = row.figures.iter().enumerate().map(|(metric, figure)| cell(figure, metric));
        table.add_row([plain(&row.name)].into_iter().chain(cells));
    }
    let mut text = String::new();
    for (index, line) in lines(&table).iter().enumerate() {
        let _ = writeln!(text, "{}", if index == 0 { style.quiet(line) } else { line.clone() });
    }
    text
}

/// The ratios of a grid, in the colours of their verdicts. Its lines are as long with and without.
fn colored<'rows>(grid: &str, rows: impl Iterator<Item = &'rows RowResult>, style: Style) -> String {
    let mut grid = grid.lines();
    let mut text = format!("{}\n", grid.next().unwrap_or_default());
    for (row, line) in rows.zip(grid) {
        let mut rest = line;
        let mut parts = Vec::new();
        // From the right: names may have anything in them, figures have no blanks.
        for figure in row.figures.iter().rev() {
            let cell = figure.ratio();
            let Some(at) = rest.rfind(&cell) else { break };
            let painted = match figure.to_own.map(|ratio| ratio.verdict) {
                Some(Verdict::Better) => style.good(&cell),
                Some(Verdict::Worse) => style.bad(&cell),
                Some(Verdict::Noise | Verdict::TooFew) => style.quiet(&cell),
                _ => cell.clone(),
            };
            parts.push(format!("{painted}{}", &rest[at + cell.len()..]));
            rest = &rest[..at];
        }
        parts.push(rest.to_owned());
        parts.reverse();
        let _ = writeln!(text, "{}", parts.concat());
    }
    text
}
