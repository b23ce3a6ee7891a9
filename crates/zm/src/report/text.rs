//! The report for people: a table of processes, and where the bytes of the largest of them are.

use super::published::Published;
use super::rows::{self, Arranged, Row, Rows};
use super::timeline::Timeline;
use super::{Process, Report};
use crate::format::{bound, bytes, count, exact_bytes, rate, ratio, seconds};
use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

const CLASS_ROWS: usize = 6;
/// Of a process that was shorter, a rate says nothing.
const RATE_SECONDS: f64 = 0.010;
/// Beside a smaller heap, resident memory is mostly code and libraries.
const RATIO_BYTES: u64 = 1 << 20;

const LEGEND: &str = "\
live, allocated: bytes that the allocator set aside for blocks. mapped: anonymous mappings of the program's own, beside it.
RSS/live: peak RSS over peak live; RSS is also code, stacks and mappings, so it is not shown below 1 MiB live.";

const GROUPS: &str = "\
20x: so many processes of one program; what was live at exit and allocated is their sum, peaks are the largest one's. \
--all shows each.";

/// How parts of the text stand out.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether escape sequences are welcome.
    pub colored: bool,
}

impl Style {
    /// Colours for a terminal, unless `NO_COLOR` is set.
    pub fn for_terminal(is_terminal: bool) -> Style {
        Style { colored: is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()) }
    }

    /// What the eye shall find first.
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What explains the rest.
    pub fn quiet(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// What may be wrong.
    pub fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What has become better.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What has become worse.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The whole report, ended by a newline.
pub fn render(report: &Report, style: Style, rows: Rows) -> String {
    let arranged = rows::arrange(report, rows);
    let mut text = String::new();
    let _ = writeln!(text, "{}", style.strong(&headline(report)));
    if !report.processes.is_empty() {
        let _ = writeln!(text, "\n{}", processes(report, &arranged, style));
    }
    if let Some(timeline) = report.timeline.as_ref().filter(|timeline| !timeline.samples.is_empty()) {
        let _ = writeln!(text, "\n{}", over_time(timeline, style));
    }
    for process in &report.processes {
        if let Some(published) = &process.published {
            let _ = writeln!(text, "\n{}", published_heap(process, published, style));
        }
    }
    if let Some(largest) = largest(report) {
        let _ = writeln!(text, "\n{}", blocks(largest, style));
    }
    text.push('\n');
    if !report.processes.is_empty() {
        let _ = writeln!(text, "{}", style.quiet(LEGEND));
    }
    if arranged.rows.iter().any(|row| row.single().is_none()) {
        let _ = writeln!(text, "{}", style.quiet(GROUPS));
    }
    for not_counted in &report.not_counted {
        let _ = writeln!(text, "{} {}", style.warning("not counted:"), plain(&not_counted.text));
    }
    for remark in &report.remarks {
        let _ = writeln!(text, "{}", style.quiet(&plain(remark)));
    }
    text
}

/// As wide as the table mostly is.
const SPARKLINE: usize = 80;
const SCOPES: usize = 8;

fn over_time(timeline: &Timeline, style: Style) -> String {
    let (most, at) = timeline.most().map_or((0, 0.0), |most| (most.used_bytes, most.seconds));
    let title = format!("live over time, all together: at most {} after {}", bytes(most), seconds(at));
    format!("{}\n  {}", style.strong(&title), timeline.sparkline(SPARKLINE))
}

/// What a program says of a heap of its own, which `malloc` does not see.
fn published_heap(process: &Process, published: &Published, style: Style) -> String {
    let when = if published.at_exit { "at exit" } else { "when it last published" };
    let mut text = format!(
        "{}, by itself: {} live {when}, peak {}, {} allocated ({})",
        style.strong(&format!("{} ({})", plain(process.name()), process.pid)),
        exact_bytes(published.used_bytes),
        bytes(published.used_peak_bytes),
        bytes(published.allocated_bytes_total),
        plain(&published.backend),
    );
    let mut scopes: Vec<_> = published.scopes.iter().collect();
    scopes.sort_by_key(|scope| std::cmp::Reverse(scope.used_bytes));
    for scope in scopes.iter().take(SCOPES) {
        let sign = if scope.used_bytes < 0 { "-" } else { "" };
        let live = format!("{sign}{}", bytes(scope.used_bytes.unsigned_abs()));
        let _ = write!(text, "\n  {live:>10}  {}", plain(&scope.path));
    }
    let more = published.scopes_total.saturating_sub(SCOPES as u64);
    if more > 0 {
        let _ = write!(text, "\n{}", style.quiet(&format!("  and {} more scopes", count(more))));
    }
    text
}

fn headline(report: &Report) -> String {
    let program = report.command.first().map_or("", |program| super::short_name(program));
    format!("zm: {} | {} | {} | {}", plain(program), report.backend, end(report), seconds(report.wall_seconds))
}

/// How the program ended: `exit 3`, `SIGSEGV`.
pub fn end(report: &Report) -> String {
    match (report.exit_code, report.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => signal_name(signal),
        (None, None) => "ended".to_owned(),
    }
}

fn processes(report: &Report, arranged: &Arranged, style: Style) -> String {
    let Arranged { rows, more, forks } = arranged;
    let mut table = table(&[
        ("pid", CellAlignment::Right),
        ("program", CellAlignment::Left),
        ("live at exit", CellAlignment::Right),
        ("peak live", CellAlignment::Right),
        ("peak mapped", CellAlignment::Right),
        ("peak RSS", CellAlignment::Right),
        ("RSS/live", CellAlignment::Right),
        ("allocations", CellAlignment::Right),
        ("allocated", CellAlignment::Right),
        ("per second", CellAlignment::Right),
    ]);
    for row in rows {
        // What is about one process has no sum.
        let one = row.single();
        table.add_row([
            one.map_or(format!("{}x", count(row.count())), |process| process.pid.to_string()),
            name_with_ends(row),
            bytes(row.sum(|process| process.used_bytes)),
            bytes(row.most(|process| process.used_peak_bytes)),
            bytes(row.most(|process| process.mapped_peak_bytes)),
            rss_peak(row),
            one.filter(|process| process.used_peak_bytes >= RATIO_BYTES)
                .and_then(|process| process.fragmentation_ratio)
                .map_or("-".to_owned(), ratio),
            count(row.sum(|process| process.allocations_total)),
            bytes(row.sum(|process| process.allocated_bytes_total)),
            one.filter(|process| process.seconds >= RATE_SECONDS)
                .and_then(|process| process.allocated_bytes_per_second)
                .map_or("-".to_owned(), rate),
        ]);
    }
    if report.processes.len() > 1 {
        let totals = &report.totals;
        let per_second = totals.allocated_bytes_total as f64 / report.wall_seconds;
        let mut row = vec![String::new(), format!("all {}", count(totals.processes))];
        row.resize(7, String::new());
        row.extend([count(totals.allocations_total), bytes(totals.allocated_bytes_total), rate(per_second)]);
        table.add_row(row);
    }

    let mut lines = lines(&table);
    if let Some(head) = lines.first_mut() {
        *head = style.quiet(head);
    }
    let before_total = lines.len() - usize::from(report.processes.len() > 1);
    let mut sums = Vec::new();
    if !more.is_empty() {
        sums.push(sum("more", more));
    }
    if !forks.is_empty() {
        sums.push(sum(
            if forks.len() == 1 { "fork that became a program" } else { "forks that became programs" },
            forks,
        ));
    }
    lines.splice(before_total..before_total, sums.iter().map(|line| style.quiet(line)));
    if rows.len() > 1 {
        lines.insert(0, style.quiet("largest peak live first:"));
    }
    lines.join("\n")
}

/// `SIGSEGV`, or its number where it has no name here.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// A line for processes without a row.
fn sum(what: &str, processes: &[&Process]) -> String {
    let most = processes.iter().map(|process| process.used_peak_bytes).max().unwrap_or(0);
    let allocated = processes.iter().fold(0u64, |sum, process| sum.saturating_add(process.allocated_bytes_total));
    let (number, each) = (count(processes.len() as u64), if processes.len() == 1 { "" } else { " at most in each" });
    format!("  and {number} {what}: {} live{each}, {} allocated", bytes(most), bytes(allocated))
}

/// `2.0 MiB`; `>` where more may have been missed, `?` where nothing is known.
pub fn rss_peak(row: &Row) -> String {
    row.rss_peak()
        .map_or("?".to_owned(), |(peak, sampled)| format!("{}{}", if sampled { ">" } else { "" }, bytes(peak)))
}

/// The program's name, and how it ended if not in order.
pub fn name_with_ends(row: &Row) -> String {
    let name = plain(row.name());
    let ends: Vec<String> = match row.single() {
        Some(_) => row.ends().into_iter().map(|(end, _)| end.to_owned()).collect(),
        None => row.ends().into_iter().map(|(end, of)| format!("{} {end}", count(of))).collect(),
    };
    if ends.is_empty() { name } else { format!("{name} ({})", ends.join(", ")) }
}

/// The process whose blocks are shown.
fn largest(report: &Report) -> Option<&Process> {
    let counted = report.processes.iter().filter(|process| process.used_peak_bytes > 0);
    // Of equals, the first that started.
    counted.rev().max_by_key(|process| process.used_peak_bytes)
}

fn blocks(process: &Process, style: Style) -> String {
    let mut text = format!(
        "{}: {} live at exit in {} {}, peak {}",
        style.strong(&format!("{} ({})", plain(process.name()), process.pid)),
        exact_bytes(process.used_bytes),
        count(process.live_blocks),
        if process.live_blocks == 1 { "block" } else { "blocks" },
        exact_bytes(process.used_peak_bytes),
    );
    let mut classes: Vec<_> = process.size_classes.iter().collect();
    if classes.is_empty() {
        return text;
    }
    // What is left at the end does not explain a peak that is mostly gone by then.
    if process.used_bytes < process.used_peak_bytes / 2 {
        classes.sort_by_key(|class| std::cmp::Reverse((class.allocated_bytes_total, class.live_bytes)));
        text.push_str("; sizes by bytes allocated");
    } else {
        classes.sort_by_key(|class| std::cmp::Reverse((class.live_bytes, class.allocated_bytes_total)));
        text.push_str("; sizes by bytes live at exit");
    }
    let more = classes.len().saturating_sub(CLASS_ROWS);
    classes.truncate(CLASS_ROWS);

    let mut table = table(&[
        ("block size", CellAlignment::Left),
        ("live blocks", CellAlignment::Right),
        ("live bytes", CellAlignment::Right),
        ("allocations", CellAlignment::Right),
        ("allocated", CellAlignment::Right),
    ]);
    for class in classes {
        table.add_row([
            class.to_bytes.map_or(format!("from {}", bound(class.from_bytes)), |to| range(class.from_bytes, to)),
            count(class.live_blocks),
            bytes(class.live_bytes),
            count(class.allocations_total),
            bytes(class.allocated_bytes_total),
        ]);
    }
    for (index, line) in lines(&table).into_iter().enumerate() {
        let line = if index == 0 { style.quiet(&line) } else { line };
        let _ = write!(text, "\n{line}");
    }
    if more > 0 {
        let classes = if more == 1 { "size class" } else { "size classes" };
        let _ = write!(text, "\n{}", style.quiet(&format!("  and {more} more {classes}")));
    }
    text
}

/// `25 to 28 B`, `1 to 1.25 MiB`; both ends to the byte while they are short.
pub fn range(from: u64, to: u64) -> String {
    if to < 10_000 {
        return format!("{} to {} B", count(from), count(to));
    }
    let (from, to) = (bound(from), bound(to));
    match (from.split_once(' '), to.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} to {to}"),
        _ => format!("{from} to {to}"),
    }
}

/// A table without lines, its columns two blanks apart.
pub fn table(columns: &[(&str, CellAlignment)]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|(name, _)| *name));
    for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
        column.set_cell_alignment(*alignment);
        column.set_padding((2, 0));
    }
    table
}

/// Its lines, without blanks at their ends.
pub fn lines(table: &Table) -> Vec<String> {
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Names come from programs, which may have put anything into them: nothing that a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_report_reads_like_this() {
        let text = render(&example(), Style { colored: false }, Rows::Few);
        let expected = "\
zm: sh | forward | exit 3 | 2.50 s

largest peak live first:
  pid  program        live at exit  peak live  peak mapped    peak RSS  RSS/live  allocations  allocated   per second
  102  sort (killed)       1.2 KiB  300.0 MiB      1.0 MiB  >600.0 MiB      2.00       20,000    1.2 GiB  600.0 MiB/s
  101  sh                  1.2 KiB    1.0 MiB      1.0 MiB     2.0 MiB      2.00       20,000    4.0 MiB    2.0 MiB/s
       all 2                                                                           40,000    1.2 GiB  481.6 MiB/s

sort (102): 1,234 bytes live at exit in 3 blocks, peak 314,572,800 bytes; sizes by bytes allocated
  block size  live blocks  live bytes  allocations  allocated
  from 1 MiB            1     1.2 KiB        1,000    1.2 GiB
  21 to 24 B            2        48 B       19,000  445.3 KiB

live, allocated: bytes that the allocator set aside for blocks. mapped: anonymous mappings of the program's own, beside it.
RSS/live: peak RSS over peak live; RSS is also code, stacks and mappings, so it is not shown below 1 MiB live.
not counted: go is a Go program: the Go runtime's own heap is not counted, only what C code in it allocates
remark
";
        assert_eq!(text, expected);
    }

    #[test]
    fn many_processes_are_summed_up() {
        let mut report = example();
        report.processes = (0..4333)
            .map(|index| {
                let mut process = example().processes.remove(0);
                process.pid = index;
                process.used_peak_bytes = u64::from(index);
                process
            })
            .collect();
        report.totals = super::super::Totals::of(&report.processes);
        let text = render(&report, Style { colored: false }, Rows::Few);
        let row = text.lines().find(|line| line.starts_with("  4,332x  sh ")).unwrap();
        assert!(
            row.contains(" 5.1 MiB ") && row.contains(" 4.2 KiB ") && row.ends_with("  16.9 GiB           -"),
            "{text}"
        );
        assert!(text.contains("\n20x: so many processes") && text.contains("all 4,333"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("  sh  ")).count(), 2);

        for (index, process) in report.processes.iter_mut().enumerate() {
            process.exe = format!("/bin/{}", index % 20);
        }
        report.program_pid = 0;
        let text = render(&report, Style { colored: false }, Rows::Few);
        assert!(text.contains("\n  and 1,729 more: 4.2 KiB live at most in each, "), "{text}");
        let text = render(&report, Style { colored: false }, Rows::Each);
        assert!(!text.contains("more:") && !text.contains("20x:") && text.lines().count() > 4333, "{text}");
    }

    #[test]
    fn figures_that_say_nothing_are_left_out() {
        let mut report = example();
        report.processes.truncate(1);
        (report.exit_code, report.signal) = (None, Some(libc::SIGSEGV));
        let process = &mut report.processes[0];
        (process.used_peak_bytes, process.used_bytes, process.seconds) = (2000, 1186, 0.009);
        let text = render(&report, Style { colored: false }, Rows::Few);
        let row = text.lines().find(|line| line.contains("  101  sh")).unwrap();
        assert!(row.ends_with(" -") && row.matches(" - ").count() == 1, "{text}");
        assert!(text.starts_with("zm: sh | forward | SIGSEGV | ") && !text.contains("largest peak"), "{text}");
        assert!(text.contains("; sizes by bytes live at exit\n"), "{text}");
        assert_eq!(
            (range(1 << 20, 5 << 18), range(3 << 18, 1 << 20)),
            ("1 to 1.25 MiB".into(), "768 KiB to 1 MiB".into())
        );
        assert_eq!(signal_name(34), "signal 34");
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        let mut report = example();
        report.processes[1].exe = "/tmp/\x1b[2Jevil\n".to_owned();
        let text = render(&report, Style { colored: false }, Rows::Few);
        assert!(text.contains("?[2Jevil?") && !text.contains('\x1b'), "{text}");
        assert!(render(&report, Style { colored: true }, Rows::Few).contains("\x1b[1mzm:"));
    }
}
