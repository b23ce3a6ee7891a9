//! A snapshot for people.

use super::figures::Flow;
use super::snapshot::{ScopeFigures, Snapshot};
use crate::report::human::Iec;
use core::fmt;

/// An indented table: live, peak, allocated and freed bytes of each scope with its children, and the times that it was
/// entered itself; then what no scope has.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.scopes.iter().map(|scope| width(scope, 0)).max().unwrap_or(0).clamp("(outside)".len(), WIDEST);
        let (live, peak, allocated, freed) = ("live", "peak", "allocated", "freed");
        writeln!(
            f,
            "{:width$}{live:>COLUMN$}{peak:>COLUMN$}{allocated:>COLUMN$}{freed:>COLUMN$}{:>COLUMN$}",
            "scope", "entered"
        )?;
        self.scopes.iter().try_for_each(|figures| scope(f, figures, 0, width))?;
        flow(f, "(ended)", self.ended, 0, width)?;
        flow(f, "(outside)", self.outside, 0, width)
    }
}

const COLUMN: usize = 13;
const INDENT: usize = 2;
/// A longer name moves its own row's figures to the right.
const WIDEST: usize = 100;

fn width(scope: &ScopeFigures, depth: usize) -> usize {
    let own = depth * INDENT + scope.name.chars().count();
    let ended = if scope.ended == Flow::default() { 0 } else { (depth + 1) * INDENT + "(ended)".len() };
    scope.children.iter().map(|child| width(child, depth + 1)).fold(own.max(ended), usize::max)
}

fn scope(f: &mut fmt::Formatter<'_>, figures: &ScopeFigures, depth: usize, width: usize) -> fmt::Result {
    let total = figures.total;
    name(f, &figures.name, depth, width)?;
    size(f, total.live_bytes)?;
    size(f, total.peak_live_bytes)?;
    size(f, total.allocated_bytes)?;
    size(f, total.freed_bytes)?;
    writeln!(f, "{:>COLUMN$}", figures.own.entered)?;
    figures.children.iter().try_for_each(|child| scope(f, child, depth + 1, width))?;
    flow(f, "(ended)", figures.ended, depth + 1, width)
}

/// A row without a peak; none if there is nothing in it.
fn flow(f: &mut fmt::Formatter<'_>, label: &str, flow: Flow, depth: usize, width: usize) -> fmt::Result {
    if flow == Flow::default() {
        return Ok(());
    }
    name(f, label, depth, width)?;
    size(f, flow.live_bytes)?;
    write!(f, "{:>COLUMN$}", "")?;
    size(f, flow.allocated_bytes)?;
    size(f, flow.freed_bytes)?;
    writeln!(f)
}

fn name(f: &mut fmt::Formatter<'_>, name: &str, depth: usize, width: usize) -> fmt::Result {
    let indent = depth * INDENT;
    write!(f, "{:indent$}{name:rest$}", "", rest = width.saturating_sub(indent))
}

fn size(f: &mut fmt::Formatter<'_>, bytes: impl Into<i128>) -> fmt::Result {
    let Iec { value, unit, decimals } = Iec::of(bytes.into());
    write!(f, "{value:>number$.decimals$} {unit}", number = COLUMN - 1 - unit.len())
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;

    #[test]
    fn an_indented_table() {
        let expected = "\
scope             live         peak    allocated        freed      entered
tenants       3.00 KiB     8.00 KiB    10.00 KiB     7.00 KiB            2
  a \"b\"\\     -1.00 KiB          0 B          0 B     1.00 KiB            1
  (ended)     2.00 KiB                  2.00 KiB          0 B
(outside)        100 B                     150 B         50 B
";
        assert_eq!(example().to_string(), expected);
    }
}
