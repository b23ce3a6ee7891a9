//! A process's timeline: live bytes and RSS.

use super::super::state::State;
use super::QUIET;
use crate::format::bytes;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

pub fn draw(frame: &mut Frame, area: Rect, state: &State, pid: u32) {
    let Some(history) = state.histories.get(&pid) else { return };
    let now = history.samples().last().map_or(0.0, |sample| sample.seconds);
    let of = |figure: fn(&super::super::state::Sample) -> u64| -> Vec<(f64, f64)> {
        history.samples().map(|sample| (sample.seconds - now, figure(sample) as f64)).collect()
    };
    let (live, rss) = (of(|sample| sample.used), of(|sample| sample.rss));
    let highest = live.iter().chain(&rss).map(|point| point.1).fold(1.0, f64::max);
    let first = live.first().map_or(-1.0, |point| point.0).min(-1.0);
    let line = |name: &'static str, color, data| {
        let dataset = Dataset::default().name(name).marker(Marker::Braille).graph_type(GraphType::Line);
        dataset.style(Style::new().fg(color)).data(data)
    };
    let ago = -first;
    let times = Axis::default().style(QUIET).bounds([first, 0.0]).labels([format!("-{ago:.0} s"), "now".to_owned()]);
    let sizes = Axis::default().style(QUIET).bounds([0.0, highest * 1.05]).labels([
        "0".to_owned(),
        bytes(highest as u64 / 2),
        bytes(highest as u64),
    ]);
    let chart = Chart::new(vec![line("RSS", Color::Blue, &rss), line("live", Color::Green, &live)]);
    frame.render_widget(chart.x_axis(times).y_axis(sizes), area);
}
