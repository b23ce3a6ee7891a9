//! The report for a pull request or an issue.

use super::rows::{self, Rows};
use super::{Report, text};
use crate::export::{markdown_cell, markdown_table};
use crate::format::{bytes, count, seconds};

/// The report as Markdown: a headline, the rows of the table, and the remarks as a list.
pub fn write(report: &Report) -> Vec<u8> {
    let arranged = rows::arrange(report, Rows::Few);
    let program = report.command.first().map_or("", |program| super::short_name(program));
    let mut page = format!(
        "**{}** under `zm run`, {}, {}, {}\n\n",
        markdown_cell(program),
        report.backend,
        text::end(report),
        seconds(report.wall_seconds)
    );
    let head =
        ["program", "processes", "live at exit", "peak live", "peak mapped", "peak RSS", "allocations", "allocated"];
    page += &markdown_table(
        &head,
        arranged.rows.iter().map(|row| {
            vec![
                text::name_with_ends(row),
                count(row.count()),
                bytes(row.sum(|process| process.used_bytes)),
                bytes(row.most(|process| process.used_peak_bytes)),
                bytes(row.most(|process| process.mapped_peak_bytes)),
                text::rss_peak(row),
                count(row.sum(|process| process.allocations_total)),
                bytes(row.sum(|process| process.allocated_bytes_total)),
            ]
        }),
    );
    let more = arranged.more.len() + arranged.forks.len();
    let rest = (more > 0).then(|| format!("{} more processes have no row", count(more as u64)));
    let not_counted = report.not_counted.iter().map(|entry| format!("not counted: {}", entry.text));
    let notes: Vec<String> = rest.into_iter().chain(not_counted).chain(report.remarks.iter().cloned()).collect();
    if !notes.is_empty() {
        page.push('\n');
    }
    notes.iter().for_each(|note| page += &format!("- {}\n", markdown_cell(note)));
    page.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_report_reads_like_this() {
        let mut report = example();
        report.remarks = vec!["a|b".to_owned()];
        let expected = r"**sh** under `zm run`, forward, exit 3, 2.50 s

| program | processes | live at exit | peak live | peak mapped | peak RSS | allocations | allocated |
|:---|---:|---:|---:|---:|---:|---:|---:|
| sort (killed) | 1 | 1.2 KiB | 300.0 MiB | 1.0 MiB | \>600.0 MiB | 20,000 | 1.2 GiB |
| sh | 1 | 1.2 KiB | 1.0 MiB | 1.0 MiB | 2.0 MiB | 20,000 | 4.0 MiB |

- not counted: go is a Go program: the Go runtime's own heap is not counted, only what C code in it allocates
- a\|b
";
        assert_eq!(String::from_utf8(write(&report)).unwrap(), expected);
    }
}
