//! The size classes of a process, by live bytes.

use super::QUIET;
use crate::format::{bytes, count};
use crate::report::text::range;
use crate::watch::Detail;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span, Text};
use std::cmp::Reverse;

pub fn draw(frame: &mut Frame, area: Rect, detail: &Detail) {
    let mut classes: Vec<_> = detail.size_classes.iter().filter(|class| class.live_bytes > 0).collect();
    let mut lines = Vec::new();
    if classes.is_empty() {
        lines.push(Line::styled("no size classes: a program counts them with a `SizeClasses` heap", QUIET));
    } else {
        lines.push(Line::styled("live bytes by block size", QUIET));
    }
    classes.sort_by_key(|class| Reverse(class.live_bytes));
    classes.truncate(usize::from(area.height).saturating_sub(1));
    let most = classes.first().map_or(1, |class| class.live_bytes).max(1);
    // In the order of their sizes, as a histogram.
    classes.sort_by_key(|class| class.from_bytes);
    let room = usize::from(area.width).saturating_sub(LABELS);
    for class in classes {
        let to = class.to_bytes.unwrap_or(u64::MAX);
        let length = (class.live_bytes as f64 / most as f64 * room as f64).ceil() as usize;
        lines.push(Line::from(vec![
            Span::raw(format!("{:>20} {:>10} ", range(class.from_bytes, to), bytes(class.live_bytes))),
            Span::styled(format!("{:>9} ", count(class.live_blocks)), QUIET),
            Span::styled("█".repeat(length.min(room)), Style::new().fg(Color::Green)),
        ]));
    }
    frame.render_widget(Text::from(lines), area);
}

/// What stands before the bars.
const LABELS: usize = 20 + 1 + 10 + 1 + 9 + 1;
