//! A recording for people.

use super::format::{Frame, Row};
use super::oom::Word;
use super::show::Recording;
use crate::format::{bytes, count, seconds};
use crate::report::text::{plain, range, signal_name};
use crate::report::timeline::{Sample, Timeline};
use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

const SPARKLINE: usize = 80;

pub fn render(recording: &Recording) -> String {
    let Recording { start, end, verdict, samples, .. } = recording;
    let mut text = String::new();
    let _ = writeln!(text, "zm: recording of {} (pid {})", plain(&start.command.join(" ")), start.program_pid);
    let ended = match end {
        Some(end) => match (end.exit_code, end.signal) {
            (Some(code), _) => format!("exit {code} after {}", seconds(end.seconds)),
            (None, Some(signal)) => format!("{} after {}", signal_name(signal), seconds(end.seconds)),
            (None, None) => "ended".to_owned(),
        },
        None if verdict.word == Word::Running => "still recorded".to_owned(),
        None => "not seen".to_owned(),
    };
    let _ = writeln!(text, "end: {ended}");
    let _ = writeln!(text, "OOM kill: {}", word(verdict.word));
    for known in &verdict.known {
        let _ = writeln!(text, "  known: {}", plain(known));
    }
    for guessed in &verdict.guessed {
        let _ = writeln!(text, "  guessed: {}", plain(guessed));
    }
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        text.push_str("no sample: the program ended before the first one\n");
        return text;
    };

    let _ = writeln!(
        text,
        "\n{} samples, from {} to {} after the start",
        count(samples.len() as u64),
        seconds(first.seconds),
        seconds(last.seconds)
    );
    for (name, figure) in [("live", (|frame| frame.used_bytes) as fn(&Frame) -> u64), ("RSS", |frame| frame.rss_bytes)]
    {
        let mut timeline = Timeline::new(0.0);
        for frame in samples {
            let (seconds, used_bytes) = (frame.seconds, figure(frame));
            timeline.push(Sample { seconds, processes: 0, used_bytes, mapped_bytes: 0, rss_bytes: 0 });
        }
        let most = timeline.most().map_or(0, |most| most.used_bytes);
        let _ = writeln!(text, "  {name:<5} {}  at most {}", timeline.sparkline(SPARKLINE), bytes(most));
    }

    let before = end
        .as_ref()
        .map_or(String::new(), |end| format!(", {} before the end", seconds((end.seconds - last.seconds).max(0.0))));
    let _ =
        writeln!(text, "\nthe last sample{before}: {} {}", count(last.processes_total), plural(last.processes_total));
    rows(&mut text, &last.processes);
    if let Some(holder) = last.holder_pid.filter(|_| !last.size_classes.is_empty() || !last.scopes.is_empty()) {
        let _ = writeln!(text, "\nwhat {holder} held most of");
        for class in &last.size_classes {
            let range = range(class.from_bytes, class.to_bytes.unwrap_or(u64::MAX));
            let _ =
                writeln!(text, "  {:>10} in {} blocks of {range}", bytes(class.live_bytes), count(class.live_blocks));
        }
        for scope in &last.scopes {
            let sign = if scope.used_bytes < 0 { "-" } else { "" };
            let live = format!("{sign}{}", bytes(scope.used_bytes.unsigned_abs()));
            let _ = writeln!(text, "  {live:>10} in scope {}", plain(&scope.path));
        }
    }
    if let Some(end) = end.as_ref().filter(|end| !end.processes.is_empty()) {
        text.push_str("\nat their ends, exactly, the largest peaks first (RSS: its peak)\n");
        rows(&mut text, &end.processes);
    }
    text
}

fn plural(processes: u64) -> &'static str {
    if processes == 1 { "process" } else { "processes" }
}

fn word(word: Word) -> &'static str {
    match word {
        Word::OomKill => "yes, as good as certain",
        Word::LikelyOomKill => "likely",
        Word::PossibleOomKill => "possible",
        Word::OtherKill => "no sign of one: killed by somebody else",
        Word::ChildOomKill => "not of the program itself; likely of a process that it started",
        Word::NoOomKill => "no",
        Word::Unknown => "not known",
        Word::Running => "it still runs",
    }
}

fn rows(text: &mut String, rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["pid", "program", "live", "peak", "mapped", "RSS"]);
    for row in rows {
        let ended = row.ended.as_ref().map_or(String::new(), |ended| format!(" ({})", plain(ended)));
        table.add_row([
            row.pid.to_string(),
            plain(&row.program) + &ended,
            bytes(row.used_bytes),
            bytes(row.used_peak_bytes),
            row.mapped_bytes.map_or("-".to_owned(), bytes),
            // Nothing that runs has none: it is not known of one that was gone before it was looked at.
            if row.rss_bytes == 0 { "?".to_owned() } else { bytes(row.rss_bytes) },
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index == 1 { CellAlignment::Left } else { CellAlignment::Right });
        column.set_padding((2, 0));
    }
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
