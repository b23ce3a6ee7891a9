//! The screen, and the one queue that keys, signals and the terminal's end come in by.
//!
//! Whatever ends zm, the terminal is as it was before: signals come through the queue, and a panic's message is
//! written after the screen was left.

use crate::run::inherited::set_of;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyEvent};
use ratatui::crossterm::{cursor, execute, terminal};
use std::io::{self, Stdout};
use std::panic;
use std::ptr::null_mut;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// What happens besides time passing.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Key(KeyEvent),
    Resized,
    Signal(libc::c_int),
    /// The terminal went away.
    Gone,
}

/// The terminal while it shows the processes.
pub struct Terminal {
    screen: ratatui::Terminal<CrosstermBackend<Stdout>>,
    events: Receiver<Event>,
    is_entered: bool,
}

/// Signals that are answered by leaving the screen.
const SIGNALS: [libc::c_int; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP];

impl Terminal {
    pub fn enter() -> io::Result<Terminal> {
        let (sender, events) = mpsc::channel();
        watch_signals(sender.clone());
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            restore();
            before(information);
        }));
        let mut screen = Terminal {
            screen: ratatui::Terminal::new(CrosstermBackend::new(io::stdout()))?,
            events,
            is_entered: false,
        };
        screen.show()?;
        thread::spawn(move || watch_keys(&sender));
        #[cfg(debug_assertions)]
        if std::env::var_os("ZM_TOP_PANIC").is_some() {
            panic!("as asked for by a test");
        }
        Ok(screen)
    }

    fn show(&mut self) -> io::Result<()> {
        self.is_entered = true;
        terminal::enable_raw_mode()?;
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            terminal::Clear(terminal::ClearType::All),
            cursor::Hide
        )?;
        // Anew, as that knows nothing of what was on the screen; its own way to clear asks the terminal back.
        self.screen = ratatui::Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame)) -> io::Result<()> {
        self.screen.draw(draw).map(drop)
    }

    /// The next event, if there is one within this time.
    pub fn next(&mut self, time: Duration) -> Option<Event> {
        match self.events.recv_timeout(time) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Gone),
        }
    }

    /// Leaves the screen as it was found.
    pub fn leave(&mut self) {
        if std::mem::take(&mut self.is_entered) {
            restore();
        }
    }

    /// Stops zm, as a shell's user asks for, and shows everything anew when it goes on.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        // SAFETY: a signal whose action is the default: it stops this process here, until it is continued. Blocked
        // in every thread, so taken by the one that unblocks it.
        unsafe {
            let stop = set_of(&[libc::SIGTSTP]);
            libc::pthread_kill(libc::pthread_self(), libc::SIGTSTP);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &stop, null_mut());
            libc::pthread_sigmask(libc::SIG_BLOCK, &stop, null_mut());
        }
        self.show()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

fn restore() {
    // Nothing can be done where that fails; the terminal may be gone.
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

fn watch_signals(events: Sender<Event>) {
    let signals = set_of(&SIGNALS);
    // SAFETY: a set of signals that may be blocked, in this thread and those that it starts.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals, null_mut()) };
    thread::spawn(move || {
        loop {
            let mut signal = 0;
            // SAFETY: a set, and a place for the answer.
            let waited = unsafe { libc::sigwait(&signals, &mut signal) };
            if waited == 0 && events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
}

fn watch_keys(events: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) => Event::Key(key),
            Ok(event::Event::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(_) => Event::Gone,
        };
        let gone = matches!(event, Event::Gone);
        if events.send(event).is_err() || gone {
            return;
        }
    }
}
