//! Which rows are shown, and in what order.

use super::Column;
use crate::watch::Process;
use std::collections::HashMap;

/// Whether a process has this text, in lower case, in its path, arguments, allocator or pid.
pub fn matches(process: &Process, filter: &str) -> bool {
    if filter.is_empty() {
        return true;
    }
    let has = |text: &str| text.to_lowercase().contains(filter);
    has(&process.executable)
        || has(&process.backend)
        || process.pid.to_string().contains(filter)
        || process.command.iter().any(|argument| has(argument))
}

/// Sorts by a column, or against it.
pub fn sort(rows: &mut [Process], column: Column, reversed: bool) {
    rows.sort_by(|a, b| {
        let order = column.compare(a, b);
        if reversed { order.reverse() } else { order }
    });
}

/// Puts children below their parents, in the order that the rows have; answers how deep each is.
pub fn tree(rows: &mut Vec<Process>) -> Vec<usize> {
    let places: HashMap<u32, usize> = rows.iter().enumerate().map(|(place, row)| (row.pid, place)).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut roots = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        match places.get(&row.parent_pid) {
            Some(&parent) if parent != place => children[parent].push(place),
            _ => roots.push(place),
        }
    }
    let mut order = Vec::with_capacity(rows.len());
    let mut seen = vec![false; rows.len()];
    // The kernel knows no circle of parents, but it is asked about one process after the other: what a circle would leave
    // out follows at the end.
    for root in roots.into_iter().chain(0..rows.len()) {
        let mut waiting = vec![(root, 0)];
        while let Some((place, depth)) = waiting.pop() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            order.push((place, depth));
            waiting.extend(children[place].iter().rev().map(|&child| (child, depth + 1)));
        }
    }
    let mut taken: Vec<Option<Process>> = std::mem::take(rows).into_iter().map(Some).collect();
    rows.extend(order.iter().filter_map(|&(place, _)| taken[place].take()));
    order.into_iter().map(|(_, depth)| depth).collect()
}
