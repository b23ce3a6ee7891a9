//! Every form of a run's figures says the same, to the byte.

mod common;
use common::{Scratch, has_name, run_with};
use std::fs;

const ALLOCATES: &str =
    "#include <stdlib.h>\nint main(int c, char **v) { for (int i = 0; i < 10; i++) malloc(atoi(v[1])); return 0; }";

#[test]
fn all_forms_agree_over_a_tree() {
    let scratch = Scratch::new();
    let program = scratch.compile("alloca,tes", ALLOCATES, &[]);
    let [csv, markdown, metrics] = ["a.csv", "a.md", "a.prom"].map(|name| scratch.path(name).display().to_string());
    let options = ["--export-csv", &csv, "--export-markdown", &markdown, "--export-openmetrics", &metrics];
    let script = format!("'{0}' 1000; '{0}' 50000; true", program.display());
    let ran = run_with(&options, &["sh", "-c", &script], b"");

    let text = fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + ran.processes().len(), "{text}");
    let ours: Vec<_> = ran.processes().iter().filter(|process| has_name(process, "alloca,tes")).collect();
    let total = |key: &str| ours.iter().map(|process| process[key].as_u64().unwrap()).sum::<u64>();
    let most = |key: &str| ours.iter().map(|process| process[key].as_u64().unwrap()).max().unwrap();
    for process in &ours {
        let line = lines.iter().find(|line| line.starts_with(&format!("{},", process["pid"]))).unwrap();
        // The name has a comma in it.
        assert!(line.contains(&format!(",\"{}\",", program.display())), "{line}");
        let figures = ["used_bytes", "used_peak_bytes"].map(|key| process[key].to_string()).join(",");
        assert!(line.contains(&format!(",{figures},")), "{line}");
    }

    let text = fs::read_to_string(&metrics).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let sample = |name: &str| {
        let start = format!("{name}{{program=\"{}\"}} ", program.display());
        let line =
            text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{start} in {text}"));
        line.parse::<u64>().unwrap()
    };
    assert_eq!(ours.len(), 2);
    assert_eq!(sample("zm_run_processes"), 2);
    assert_eq!(sample("zm_run_live_bytes"), total("used_bytes"));
    assert_eq!(sample("zm_run_live_blocks"), total("live_blocks"));
    assert_eq!(sample("zm_run_peak_live_bytes"), most("used_peak_bytes"));
    assert_eq!(sample("zm_run_peak_rss_bytes"), most("rss_peak_bytes"));
    assert_eq!(sample("zm_run_allocated_bytes_total"), total("allocated_bytes_total"));
    assert_eq!(sample("zm_run_freed_bytes_total"), total("freed_bytes_total"));
    assert_eq!(sample("zm_run_allocations_total"), total("allocations_total"));
    let sum: u64 = text
        .lines()
        .filter(|line| line.starts_with("zm_run_allocated_bytes_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, ran.json["totals"]["allocated_bytes_total"].as_u64().unwrap());

    let text = fs::read_to_string(&markdown).unwrap();
    assert!(text.starts_with("**sh** under `zm run`, forward, exit 0, "), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("| alloca,tes |")).count(), 2, "{text}");
}

#[test]
fn resident_memory_at_the_end_is_between_live_and_peak() {
    let scratch = Scratch::new();
    let program = scratch.compile(
        "gives",
        "#include <stdlib.h>\n#include <string.h>\nint main(void) { char *volatile a = malloc(64 << 20), *volatile b = malloc(8 << 20);\n\
         memset(a, 1, 64 << 20); memset(b, 1, 8 << 20); free(a); return 0; }",
        &[],
    );
    let ran = run_with(&[], &[&program], b"");
    let figure = |key: &str| ran.process("gives")[key].as_u64().unwrap();
    assert!(figure("rss_peak_bytes") >= 72 << 20, "{:#}", ran.json);
    assert!((8 << 20..32 << 20).contains(&figure("rss_end_bytes")), "{:#}", ran.json);
}
