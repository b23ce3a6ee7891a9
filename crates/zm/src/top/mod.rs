//! `zm top`: every process under the ledger, watched.
//!
//! [`watch`] collects, [`state`] holds what is shown and how, [`draw`] draws it; [`terminal`] is the screen,
//! and the one queue that keys, signals and hangups come in by.

mod arguments;
mod draw;
mod json;
mod once;
mod state;
mod terminal;

pub use arguments::Top;

use crate::error::Error;
use crate::run::Outcome;
use crate::watch::{self, Places, Watch};
use state::{Asked, State};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use terminal::{Event, Terminal};

/// Shows the processes until told to end.
pub fn top(arguments: &Top) -> Result<Outcome, Error> {
    watch::allow_many_files();
    if arguments.once {
        return once::print(arguments).map(|()| Outcome::Code(0));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let mut watch = Watch::new(Places::all());
    let mut state = State::new(arguments);
    watch.refresh();
    let mut terminal = Terminal::enter().map_err(|error| Error::System("the terminal cannot be used", error))?;
    let outcome = show(&mut watch, &mut state, &mut terminal);
    terminal.leave();
    outcome.map_err(|error| Error::System("the terminal cannot be used", error))
}

fn show(watch: &mut Watch, state: &mut State, terminal: &mut Terminal) -> io::Result<Outcome> {
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next {
            if !state.paused {
                watch.refresh();
                state.take(watch);
            }
            next = now + Duration::from_millis(state.interval);
        }
        terminal.draw(|frame| draw::draw(frame, state))?;
        let asked = match terminal.next(next.saturating_duration_since(Instant::now())) {
            None => Asked::Nothing,
            Some(Event::Key(key)) => state.press(key),
            Some(Event::Resized) => Asked::Nothing,
            Some(Event::Gone) => return Ok(Outcome::Code(0)),
            Some(Event::Signal(libc::SIGTSTP)) => Asked::Suspend,
            Some(Event::Signal(signal)) => return Ok(Outcome::Signal(signal)),
        };
        match asked {
            Asked::Nothing => {}
            // What is shown of the selected process is read when it is selected.
            Asked::Detail => state.take_detail(watch),
            Asked::Refresh => next = Instant::now(),
            Asked::Suspend => {
                terminal.suspend()?;
                next = Instant::now();
            }
            Asked::Quit => return Ok(Outcome::Code(0)),
        }
    }
}
