//! `zm top --once`: the same figures without a screen.

use super::json::Look;
use super::state::{self, Column, cell};
use super::{Error, Top};
use crate::watch::{Health, Places, Process, Watch};
use comfy_table::{CellAlignment, Table};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Looks twice and prints what it saw.
pub fn print(arguments: &Top) -> Result<(), Error> {
    let mut watch = Watch::new(Places::all());
    watch.refresh();
    let started = Instant::now();
    std::thread::sleep(Duration::from_millis(arguments.interval));
    let seconds = started.elapsed().as_secs_f64();
    watch.refresh();
    let mut processes: Vec<Process> = watch.processes().cloned().collect();
    let filter = arguments.filter.to_lowercase();
    processes.retain(|process| state::matches(process, &filter));
    state::sort(&mut processes, arguments.sort, false);
    let indents = if arguments.tree { state::tree(&mut processes) } else { vec![0; processes.len()] };
    let text = if arguments.json {
        let look = Look::of(&mut watch, processes, seconds);
        let mut text = serde_json::to_string_pretty(&look).expect("a look is plain data");
        text.push('\n');
        text
    } else {
        table(&processes, &indents, &watch)
    };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Nobody is there to read the rest.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::System("standard output", error)),
        _ => Ok(()),
    }
}

fn table(processes: &[Process], indents: &[usize], watch: &Watch) -> String {
    if processes.is_empty() {
        return format!("{}\n", state::NOBODY);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(Column::ALL.map(Column::title));
    for (process, &indent) in processes.iter().zip(indents) {
        table.add_row(Column::ALL.map(|column| cell(process, column, indent)));
    }
    for (column, style) in Column::ALL.into_iter().zip(table.column_iter_mut()) {
        style.set_cell_alignment(if column.is_text() { CellAlignment::Left } else { CellAlignment::Right });
        style.set_padding((0, 2));
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    for process in processes {
        if let Health::Damaged(why) = &process.health {
            text.push_str(&format!(
                "{} ({}): damaged: {}\n",
                state::plain(process.name()),
                process.pid,
                state::plain(why)
            ));
        }
    }
    for (path, why) in watch.refused() {
        text.push_str(&format!("{}: {}\n", state::plain(&path.display().to_string()), state::plain(why)));
    }
    text
}
