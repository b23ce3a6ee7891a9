//! The scope tree of a program that publishes.

use super::super::state::plain;
use super::QUIET;
use crate::format::{bytes, count};
use crate::watch::Detail;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};

pub fn draw(frame: &mut Frame, area: Rect, detail: &Detail, total: u64) {
    let mut depths: Vec<usize> = Vec::with_capacity(detail.scopes.len());
    let mut lines =
        vec![Line::styled(format!("{:<width$}{:>11} {:>11}", "scope", "live", "peak", width = NAMES), QUIET)];
    for scope in &detail.scopes {
        let depth = scope.parent.and_then(|parent| depths.get(parent)).map_or(0, |depth| depth + 1);
        depths.push(depth);
        let name: String =
            format!("{}{}", "  ".repeat(depth.min(10)), plain(&scope.name)).chars().take(NAMES - 1).collect();
        lines.push(Line::from(format!(
            "{name:<NAMES$}{:>11} {:>11}",
            signed(scope.live_bytes),
            bytes(scope.peak_live_bytes)
        )));
    }
    if let Some(outside) = detail.outside {
        lines.push(Line::styled(format!("{:<NAMES$}{:>11}", "(outside)", signed(outside)), QUIET));
    }
    let more = total.saturating_sub(detail.scopes.len() as u64);
    if more > 0 {
        lines.push(Line::styled(format!("and {} smaller scopes", count(more)), QUIET));
    }
    frame.render_widget(Text::from(lines), area);
}

const NAMES: usize = 30;

/// A scope that frees what others allocated is below 0.
fn signed(live: i64) -> String {
    format!("{}{}", if live < 0 { "-" } else { "" }, bytes(live.unsigned_abs()))
}
