//! The keys.

use super::super::state::KEYS;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph};

pub fn draw(frame: &mut Frame) {
    let mut lines: Vec<Line> = KEYS.iter().map(|(key, what)| Line::from(format!(" {key:<18} {what}"))).collect();
    lines.push(Line::default());
    lines.push(Line::from(" live: bytes that the allocator set aside for blocks. rate: allocated per second."));
    lines.push(Line::from(" RSS/live: resident memory, which is also code, stacks and mappings, over live."));
    lines.push(Line::from(" mapped: anonymous mappings of the program's own; - where nobody counts them."));
    let [_, middle, _] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(lines.len() as u16 + 2), Constraint::Fill(1)])
            .areas(frame.area());
    let [_, area, _] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(86), Constraint::Fill(1)]).areas(middle);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(Text::from(lines)).block(Block::bordered().title(" keys ")), area);
}
