//! Drawing the state. Nothing here changes what is shown, but for the part of a long table that the screen has room for.

mod chart;
mod classes;
mod detail;
mod help;
mod scopes;
mod table;

use super::state::{NOBODY, State, plain};
use crate::format::{bytes, count, seconds};
use crate::watch::Health;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Draws the whole screen.
pub fn draw(frame: &mut Frame, state: &mut State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(headline(state), head);
    if state.rows.is_empty() {
        let text = if state.processes > 0 { "no process matches the filter" } else { NOBODY };
        frame.render_widget(Line::from(text), body);
    } else if state.detailed && body.height >= DETAIL_HEIGHT {
        // As many rows as there are, and at least the larger part for what was asked for.
        let rows = (state.rows.len() as u16 + 1).min(body.height / 3);
        let [top, below] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(body);
        table::draw(frame, top, state);
        detail::draw(frame, below, state);
    } else {
        table::draw(frame, body, state);
    }
    frame.render_widget(footline(state), foot);
    if state.help {
        help::draw(frame);
    }
}

/// A program that goes on publishes ten times a second.
const STALE: f64 = 5.0;

/// Below that the detail has no room beside the table.
const DETAIL_HEIGHT: u16 = 12;

fn headline(state: &State) -> Line<'static> {
    let sum = |figure: fn(&crate::watch::Figures) -> u64| {
        state.rows.iter().fold(0u64, |sum, row| sum.saturating_add(figure(&row.figures)))
    };
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let processes = if state.processes == 1 { "process" } else { "processes" };
    let mut spans = vec![
        Span::styled("zm top", strong),
        Span::raw(format!(
            "  {} {processes}  {} live  {} RSS",
            count(state.processes as u64),
            bytes(sum(|figures| figures.used)),
            bytes(sum(|figures| figures.rss)),
        )),
    ];
    if state.rows.len() < state.processes {
        spans.push(Span::raw(format!("  ({} shown)", count(state.rows.len() as u64))));
    }
    spans.push(Span::styled(format!("  every {} ms", state.interval), QUIET));
    if state.paused {
        spans.push(Span::styled("  paused", WARNING));
    }
    Line::from(spans)
}

fn footline(state: &State) -> Line<'static> {
    if state.typing {
        return Line::from(format!("filter: {}_", plain(&state.filter)));
    }
    if let Some((Health::Damaged(why), row)) = state.selected_row().map(|row| (&row.health, row)) {
        return Line::styled(format!("{} is damaged: {}", row.pid, plain(why)), WARNING);
    }
    if let Some((row, age)) =
        state.selected_row().and_then(|row| Some((row, row.age_seconds()?))).filter(|(_, age)| *age > STALE)
    {
        let text = format!("{} published {} ago: it is stopped, or another program by now", row.pid, seconds(age));
        return Line::styled(text, WARNING);
    }
    if let Some((count, why)) = &state.unreadable {
        return Line::styled(format!("{count} could not be read: {}", plain(why)), WARNING);
    }
    let filter = if state.filter.is_empty() { String::new() } else { format!("  filter: {}", plain(&state.filter)) };
    Line::styled(format!("? help  enter detail  / filter  t tree  < > sort  q end{filter}"), QUIET)
}

const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const WARNING: Style = Style::new().fg(Color::Yellow);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Detail, Figures, Process, Source};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn state() -> State {
        let row = |pid: u32| Process {
            pid,
            parent_pid: 1,
            started_ns: 1,
            executable: "/bin/program".to_owned(),
            command: vec!["/bin/a program of a long name".to_owned()],
            backend: "forward".to_owned(),
            source: Source::Both,
            figures: Figures { used: u64::MAX, rss: u64::MAX, used_peak: u64::MAX, scopes: 9, ..Figures::default() },
            rate: Some(f64::INFINITY),
            health: Health::Good,
        };
        let mut state = State::default();
        state.rows = (1..30).map(row).collect();
        (state.processes, state.interval) = (99, 1000);
        state.indents = (0..29).collect();
        state.selected = Some(20);
        state.detail = Detail { outside: Some(i64::MIN), ..Detail::default() };
        let rows = state.rows.clone();
        for look in 1..5 {
            state.histories.entry(20).or_default().push(&rows[19], look, look as f64);
        }
        state
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        let mut state = state();
        for (detailed, help, typing) in [(false, false, false), (true, false, true), (true, true, false)] {
            (state.detailed, state.help, state.typing) = (detailed, help, typing);
            for (lines, columns) in [0, 1, 2, 3, 5, 13, 16, 40]
                .into_iter()
                .flat_map(|lines| [0, 1, 3, 20, 87, 130].into_iter().map(move |columns| (lines, columns)))
            {
                let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
                terminal.draw(|frame| draw(frame, &mut state)).unwrap();
            }
        }
    }
}
