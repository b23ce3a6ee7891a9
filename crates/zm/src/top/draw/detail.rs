//! The selected process: what it is, its timeline, its size classes and its scopes.

use super::super::state::{State, plain};
use super::{QUIET, chart, classes, scopes};
use crate::format::{bytes, exact_bytes};
use crate::watch::{Process, Source};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders};

pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let Some(row) = state.selected_row() else { return };
    let title = format!(" {} ({}) ", plain(row.name()), row.pid);
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [about, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(inner);
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(about);
    frame.render_widget(Line::styled(plain(&row.command.join(" ")), QUIET), first);
    frame.render_widget(Line::from(figures(row)), second);

    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(body);
    chart::draw(frame, upper, state, row.pid);
    if state.detail.scopes.is_empty() {
        classes::draw(frame, lower, &state.detail);
    } else {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(lower);
        classes::draw(frame, left, &state.detail);
        scopes::draw(frame, right, &state.detail, row.figures.scopes);
    }
}

fn figures(row: &Process) -> String {
    let figures = &row.figures;
    let source = match row.source {
        Source::Preloaded => "preloaded",
        Source::Published => "published by the program",
        Source::Both => "published by the program, which is preloaded too",
    };
    let mut text = format!(
        "{} live, peak {}, {} allocated since its start; {} ({source})",
        exact_bytes(figures.used),
        bytes(figures.used_peak),
        bytes(figures.allocated),
        plain(&row.backend),
    );
    if let Some(malloc) = figures.malloc_used {
        text.push_str(&format!("; beside it {} from malloc", bytes(malloc)));
    }
    text
}
