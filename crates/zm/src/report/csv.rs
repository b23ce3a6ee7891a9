//! The report for spreadsheets: a line for each process, named as the JSON's keys.

use super::{Process, Report};

/// A column: its key in the JSON, and its text; nothing where a figure is not known.
type Column = (&'static str, fn(&Process) -> String);

const COLUMNS: [Column; 22] = [
    ("pid", |process| process.pid.to_string()),
    ("parent_pid", |process| process.parent_pid.to_string()),
    ("exe", |process| process.exe.clone()),
    ("command", |process| process.command.join(" ")),
    ("backend", |process| process.backend.clone()),
    ("ended", |process| process.ended.to_owned()),
    ("started_seconds", |process| process.started_seconds.to_string()),
    ("seconds", |process| process.seconds.to_string()),
    ("threads", |process| process.threads.to_string()),
    ("used_bytes", |process| process.used_bytes.to_string()),
    ("used_peak_bytes", |process| process.used_peak_bytes.to_string()),
    ("inherited_bytes", |process| process.inherited_bytes.to_string()),
    ("mapped_bytes", |process| process.mapped_bytes.to_string()),
    ("mapped_peak_bytes", |process| process.mapped_peak_bytes.to_string()),
    ("allocated_bytes_total", |process| process.allocated_bytes_total.to_string()),
    ("freed_bytes_total", |process| process.freed_bytes_total.to_string()),
    ("allocations_total", |process| process.allocations_total.to_string()),
    ("live_blocks", |process| process.live_blocks.to_string()),
    ("rss_peak_bytes", |process| known(process.rss_peak_bytes)),
    ("rss_peak_source", |process| known(process.rss_peak_source)),
    ("rss_end_bytes", |process| known(process.rss_end_bytes)),
    ("fragmentation_ratio", |process| known(process.fragmentation_ratio)),
];

/// The report as CSV (RFC 4180 but for the line ends, which are `\n`).
pub fn write(report: &Report) -> Vec<u8> {
    let lines = report.processes.iter().map(|process| COLUMNS.map(|(_, text)| text(process)).to_vec());
    table(&COLUMNS.map(|(name, _)| name), lines)
}

/// A table with a head, quoted where needed.
pub fn table(head: &[&str], lines: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).expect("memory takes all");
    lines.into_iter().for_each(|line| writer.write_record(line).expect("lines are as long as the head"));
    writer.into_inner().expect("memory takes all")
}

/// A figure, or nothing.
pub fn known<Figure: ToString>(figure: Option<Figure>) -> String {
    figure.map(|figure| figure.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_report_reads_like_this() {
        let mut report = example();
        report.processes[0].command = vec!["sh".to_owned(), "-c".to_owned(), "echo \"a, b\"".to_owned()];
        report.processes[1].rss_peak_bytes = None;
        let expected = "\
pid,parent_pid,exe,command,backend,ended,started_seconds,seconds,threads,used_bytes,used_peak_bytes,inherited_bytes,mapped_bytes,\
mapped_peak_bytes,allocated_bytes_total,freed_bytes_total,allocations_total,live_blocks,rss_peak_bytes,\
rss_peak_source,rss_end_bytes,fragmentation_ratio
101,100,/bin/sh,\"sh -c echo \"\"a, b\"\"\",forward,exit,0.25,2,1,1234,1048576,0,0,1048576,4194304,4193070,20000,3,2097152,exit,1048576,2
102,100,/usr/bin/sort,/usr/bin/sort,forward,killed,0.25,2,1,1234,314572800,0,0,1048576,1258291200,1258289966,20000,3,,sampled,,2
";
        assert_eq!(String::from_utf8(write(&report)).unwrap(), expected);
    }

    #[test]
    fn columns_are_keys_of_the_json_with_the_same_values() {
        let report = example();
        let json = serde_json::to_value(&report.processes[0]).unwrap();
        for (key, text) in COLUMNS {
            let text = text(&report.processes[0]);
            match &json[key] {
                serde_json::Value::String(value) => assert_eq!(*value, text, "{key}"),
                serde_json::Value::Array(words) => assert_eq!(words[0], *text, "{key}"),
                value => assert_eq!(value.as_f64(), text.parse().ok(), "{key}"),
            }
        }
    }
}
