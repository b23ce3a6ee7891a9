//! The table of processes.

use super::super::state::{Column, State, cell};
use super::WARNING;
use crate::watch::Health;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Row, Table, TableState};

pub fn draw(frame: &mut Frame, area: Rect, state: &mut State) {
    state.height = usize::from(area.height).saturating_sub(1).max(1);
    let selected = state.selected_place().unwrap_or(0);
    // The selected row is on the screen, and nothing below the last one.
    let most = state.rows.len().saturating_sub(state.height);
    state.offset = state.offset.clamp((selected + 1).saturating_sub(state.height), selected).min(most);

    let columns = columns(area.width);
    let header = Row::new(columns.iter().map(|&column| title(column, state)));
    let header = header.style(Style::new().add_modifier(Modifier::DIM));
    let visible = state.offset..(state.offset + state.height).min(state.rows.len());
    let rows = visible.map(|place| {
        let process = &state.rows[place];
        let cells = columns.iter().map(|&column| aligned(cell(process, column, state.indents[place]), column));
        let style = if process.health == Health::Good { Style::new() } else { WARNING };
        Row::new(cells).style(style)
    });
    let widths = columns.iter().map(|&column| width(column));
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(Some(selected - state.offset));
    frame.render_stateful_widget(table, area, &mut selection);
}

/// Those that there is room for; the last to go are pid, program, live and RSS.
fn columns(width_of_screen: u16) -> Vec<Column> {
    let mut columns = Column::ALL.to_vec();
    let first_to_go = [
        Column::Allocator,
        Column::Mapped,
        Column::Scopes,
        Column::Threads,
        Column::Fragmentation,
        Column::Peak,
        Column::Rate,
    ];
    for column in first_to_go {
        let needed: u16 = columns.iter().map(|&column| least(column) + 2).sum();
        if needed <= width_of_screen + 2 {
            break;
        }
        columns.retain(|&kept| kept != column);
    }
    columns
}

fn least(column: Column) -> u16 {
    match column {
        Column::Pid => 7,
        Column::Program => 16,
        Column::Rate => 12,
        Column::Threads => 7,
        Column::Scopes => 6,
        Column::Fragmentation => 8,
        _ => 10,
    }
}

fn width(column: Column) -> Constraint {
    match column {
        Column::Program => Constraint::Min(least(column)),
        _ => Constraint::Length(least(column)),
    }
}

fn title(column: Column, state: &State) -> Text<'static> {
    let mark = match (column == state.sort, state.reversed) {
        (false, _) => "",
        (true, false) => "▾",
        (true, true) => "▴",
    };
    aligned(format!("{}{mark}", column.title()), column)
}

fn aligned(text: String, column: Column) -> Text<'static> {
    Text::from(Line::from(text).alignment(if column.is_text() { Alignment::Left } else { Alignment::Right }))
}
