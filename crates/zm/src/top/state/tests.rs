use super::*;
use crate::watch::{Figures, Health, Source};

fn process(pid: u32, parent_pid: u32, used: u64) -> Process {
    Process {
        pid,
        parent_pid,
        started_ns: 1,
        executable: format!("/bin/program-{pid}"),
        command: vec![format!("/usr/bin/program-{pid}"), "Argument".to_owned()],
        backend: "forward".to_owned(),
        source: Source::Preloaded,
        figures: Figures { used, rss: 2 * used, ..Figures::default() },
        rate: (pid != 3).then_some(pid as f64),
        health: Health::Good,
    }
}

fn pids(rows: &[Process]) -> Vec<u32> {
    rows.iter().map(|row| row.pid).collect()
}

#[test]
fn rows_are_sorted_the_largest_first_and_what_is_unknown_last() {
    let mut rows = vec![process(1, 0, 10), process(2, 0, 30), process(3, 0, 20)];
    for (column, expected) in [
        (Column::Live, [2, 3, 1]),
        (Column::Rate, [2, 1, 3]),
        (Column::Pid, [1, 2, 3]),
        (Column::Program, [1, 2, 3]),
        (Column::Fragmentation, [1, 2, 3]),
    ] {
        sort(&mut rows, column, false);
        assert_eq!(pids(&rows), expected, "{column:?}");
        sort(&mut rows, column, true);
        assert_eq!(pids(&rows).into_iter().rev().collect::<Vec<_>>(), expected, "{column:?}");
    }
}

#[test]
fn the_tree_has_every_row_once_even_of_a_circle() {
    let mut rows = vec![process(5, 2, 9), process(2, 1, 8), process(7, 5, 7), process(6, 2, 6), process(4, 99, 5)];
    assert_eq!(tree(&mut rows), [0, 1, 2, 1, 0]);
    assert_eq!(pids(&rows), [2, 5, 7, 6, 4]);
    let mut circle = vec![process(1, 2, 3), process(2, 1, 2), process(3, 3, 1)];
    assert_eq!(tree(&mut circle).len(), 3);
    assert_eq!(pids(&circle), [3, 1, 2]);
    assert!(tree(&mut Vec::new()).is_empty());
}

#[test]
fn a_filter_finds_paths_arguments_allocators_and_pids() {
    let row = process(4321, 1, 0);
    for found in ["", "program-4", "argument", "forw", "321"] {
        assert!(matches(&row, found), "{found}");
    }
    assert!(!matches(&row, "else"));
}

#[test]
fn names_cannot_command_the_terminal() {
    let mut row = process(1, 0, 0);
    row.command[0] = "/bin/\x1b[2Jevil".to_owned();
    assert_eq!(cell(&row, Column::Program, 2), "  └ ?[2Jevil");
}
