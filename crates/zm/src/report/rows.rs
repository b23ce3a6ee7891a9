//! Which processes share a row of the table: when there are many, those that ran the same program.

use super::{Process, RSS_FROM_SAMPLES, Report};
use std::collections::HashMap;

/// As many processes as a reader looks at one by one, and as many rows as the table has at most.
pub const ROWS: usize = 12;

/// How processes are put into rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Many processes of one program in one row, and the smallest rows in a line.
    Few,
    /// Every process in its own.
    Each,
}

/// The rows, the largest peak first, and the processes that have none.
pub struct Arranged<'report> {
    pub rows: Vec<Row<'report>>,
    /// Processes in rows that are too many.
    pub more: Vec<&'report Process>,
    /// Forks that only lasted until their exec: a row for each would hide the others.
    pub forks: Vec<&'report Process>,
}

/// A process, or those that ran one program; at least one.
pub struct Row<'report>(Vec<&'report Process>);

/// Puts the processes of a run into rows.
pub fn arrange(report: &Report, rows: Rows) -> Arranged<'_> {
    let hidden = |process: &&Process| rows == Rows::Few && process.became_program();
    let (forks, shown): (Vec<_>, Vec<_>) = report.processes.iter().partition(hidden);
    let together = rows == Rows::Few && shown.len() > ROWS;
    let mut made: Vec<Row> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for process in shown {
        // What was asked for keeps its own row.
        if !together || process.pid == report.program_pid {
            made.push(Row(vec![process]));
            continue;
        }
        match places.get(process.exe.as_str()) {
            Some(&place) => made[place].0.push(process),
            None => {
                places.insert(&process.exe, made.len());
                made.push(Row(vec![process]));
            }
        }
    }
    // Of equals, the first that started is first.
    made.sort_by_key(|row| std::cmp::Reverse(row.most(|process| process.used_peak_bytes)));
    let rest = if rows == Rows::Each { Vec::new() } else { made.split_off(ROWS.min(made.len())) };
    Arranged { rows: made, more: rest.into_iter().flat_map(|row| row.0).collect(), forks }
}

impl<'report> Row<'report> {
    /// The process, if it is one.
    pub fn single(&self) -> Option<&'report Process> {
        if let [process] = self.0[..] { Some(process) } else { None }
    }

    /// How many processes.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The program's name.
    pub fn name(&self) -> &'report str {
        self.0[0].name()
    }

    /// A figure's sum.
    pub fn sum(&self, figure: impl Fn(&Process) -> u64) -> u64 {
        self.0.iter().fold(0, |sum, process| sum.saturating_add(figure(process)))
    }

    /// A figure of the process that has most of it.
    pub fn most(&self, figure: impl Fn(&Process) -> u64) -> u64 {
        self.0.iter().map(|process| figure(process)).max().unwrap_or(0)
    }

    /// The largest peak of resident memory that is known, and whether more may have been missed.
    pub fn rss_peak(&self) -> Option<(u64, bool)> {
        let known = self.0.iter().filter_map(|process| Some((process.rss_peak_bytes?, process.rss_peak_source)));
        known.max_by_key(|(peak, _)| *peak).map(|(peak, source)| (peak, source == Some(RSS_FROM_SAMPLES)))
    }

    /// Ends that are not in order, and of how many processes.
    pub fn ends(&self) -> Vec<(&'static str, u64)> {
        let kinds = ["killed", "replaced", "unknown", "running"];
        let of = |kind| self.0.iter().filter(|process| process.ended == kind).count() as u64;
        kinds.into_iter().map(|kind| (words(kind), of(kind))).filter(|(_, count)| *count > 0).collect()
    }
}

/// An end, as the reader should take it.
fn words(ended: &'static str) -> &'static str {
    match ended {
        "replaced" => "then not counted",
        "unknown" => "end not seen",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    /// A report of `counts` processes of each program, with peaks that grow.
    fn report(counts: &[(&str, usize)]) -> Report {
        let mut report = example();
        let exes = counts.iter().flat_map(|&(exe, count)| std::iter::repeat_n(exe, count));
        report.processes = exes
            .enumerate()
            .map(|(index, exe)| {
                let mut process = example().processes.remove(0);
                (process.pid, process.exe) = (report.program_pid + index as u32, exe.to_owned());
                process.used_peak_bytes = 1000 + index as u64;
                process
            })
            .collect();
        report
    }

    fn shape(arranged: &Arranged) -> Vec<(String, u64)> {
        arranged.rows.iter().map(|row| (row.name().to_owned(), row.count())).collect()
    }

    #[test]
    fn few_processes_have_a_row_each() {
        let few = report(&[("/bin/sh", 1), ("/bin/cc", 11)]);
        let arranged = arrange(&few, Rows::Few);
        assert_eq!((arranged.rows.len(), arranged.more.len()), (12, 0));
        assert!(arranged.rows.iter().all(|row| row.single().is_some()));
    }

    #[test]
    fn many_of_one_program_share_a_row_and_what_was_started_has_its_own() {
        let many = report(&[("/bin/cc", 8), ("/bin/ld", 3), ("/opt/bin/cc", 2), ("/bin/sh", 1)]);
        let rows = arrange(&many, Rows::Few);
        // Another file of the same name is another program.
        let expected = [("sh", 1), ("cc", 2), ("ld", 3), ("cc", 7), ("cc", 1)];
        assert_eq!(shape(&rows), expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(rows.rows[4].single().unwrap().pid, many.program_pid);
        assert_eq!(rows.rows[2].most(|process| process.used_peak_bytes), 1010);
        assert_eq!(rows.rows[2].sum(|process| process.used_peak_bytes), 1008 + 1009 + 1010);
        assert_eq!(arrange(&many, Rows::Each).rows.len(), 14);
    }

    #[test]
    fn too_many_programs_are_left_to_a_line_unless_each_is_wanted() {
        let names: Vec<String> = (0..20).map(|index| format!("/bin/p{index}")).collect();
        let counts: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 2)).collect();
        let mut many = report(&counts);
        (many.processes[30].ended, many.processes[30].inherited_bytes) = ("exec", 1);
        let few = arrange(&many, Rows::Few);
        assert_eq!((few.rows.len(), few.forks.len()), (ROWS, 1));
        assert_eq!(few.rows.iter().map(Row::count).sum::<u64>() + few.more.len() as u64 + 1, 40);
        let each = arrange(&many, Rows::Each);
        assert_eq!((each.rows.len(), each.more.len(), each.forks.len()), (40, 0, 0));
    }

    #[test]
    fn ends_and_peaks_of_a_row_are_told() {
        let mut many = report(&[("/bin/sh", 1), ("/bin/cc", 13)]);
        (many.processes[3].ended, many.processes[4].ended, many.processes[5].ended) = ("killed", "killed", "unknown");
        many.processes[6].rss_peak_bytes = Some(9 << 30);
        many.processes[6].rss_peak_source = Some(RSS_FROM_SAMPLES);
        many.processes[7].rss_peak_bytes = None;
        let arranged = arrange(&many, Rows::Few);
        assert_eq!(arranged.rows[0].ends(), [("killed", 2), ("end not seen", 1)]);
        assert_eq!((arranged.rows[0].rss_peak(), arranged.rows[1].ends()), (Some((9 << 30, true)), vec![]));
    }
}
