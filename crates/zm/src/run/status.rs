//! One line about the run while it goes on, on the last line of the terminal.
//!
//! That line is taken out of what scrolls, so that the program's output, whose cursor is left where it was, never
//! meets it. A program that takes the terminal over (keys one by one, or no echo) gets all of it back.

use crate::format::{bytes, rate, seconds};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::mem::MaybeUninit;

/// The line.
pub struct Status {
    /// The terminal's lines when the last of them was taken.
    taken: Option<u16>,
}

/// What it says.
pub struct Now {
    pub processes: usize,
    pub used: u64,
    pub used_peak: u64,
    pub rss: u64,
    pub rate: f64,
    pub seconds: f64,
}

/// A smaller terminal has no line to spare.
const LINES_LEAST: u16 = 5;

impl Status {
    /// If standard error is a terminal that can do it.
    pub fn new() -> Option<Status> {
        let kind = std::env::var_os("TERM").unwrap_or_default();
        let can = !kind.is_empty() && kind != "dumb" && io::stderr().is_terminal();
        can.then_some(Status { taken: None })
    }

    /// Writes it anew, or takes it away where it would disturb.
    pub fn show(&mut self, now: &Now) {
        let Some((lines, columns)) = size().filter(|&(lines, _)| lines >= LINES_LEAST && is_ours()) else {
            return self.hide();
        };
        let mut text = String::new();
        if self.taken.is_some_and(|taken| taken != lines) {
            self.hide();
        }
        if self.taken.is_none() {
            // A line down, scrolling if need be, and up again, so that the cursor's own is not the last. By a vertical tab,
            // as the terminal's driver would begin a new line at a line feed.
            let _ = write!(text, "\x0b\x1bM\x1b7\x1b[1;{}r\x1b8", lines - 1);
        }
        let line: String = line(now).chars().take(usize::from(columns).saturating_sub(1)).collect();
        let _ = write!(text, "\x1b7\x1b[{lines};1H\x1b[2m{line}\x1b[0m\x1b[K\x1b8");
        if put(&text) {
            self.taken = Some(lines);
        }
    }

    /// Gives the terminal its last line back.
    pub fn hide(&mut self) {
        if let Some(lines) = self.taken.take() {
            put(&format!("\x1b7\x1b[r\x1b[{lines};1H\x1b[K\x1b8"));
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.hide();
    }
}

fn line(now: &Now) -> String {
    let processes = if now.processes == 1 { "process" } else { "processes" };
    format!(
        "zm: {} live, peak {}, RSS {}, {}, {} {processes}, {}",
        bytes(now.used),
        bytes(now.used_peak),
        bytes(now.rss),
        rate(now.rate),
        now.processes,
        seconds(now.seconds),
    )
}

/// In one piece, so that what the program writes comes before or after it. Not to a terminal that was told to wait,
/// by ctrl-s: then zm would wait too.
fn put(text: &str) -> bool {
    let mut terminal = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one descriptor's place, and no waiting.
    let ready = unsafe { libc::poll(&mut terminal, 1, 0) } == 1;
    ready && io::stderr().write_all(text.as_bytes()).is_ok()
}

/// The terminal's lines and columns.
fn size() -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: a descriptor, and a place for the answer, which zero is a value of.
    let size = unsafe {
        if libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) != 0 {
            return None;
        }
        size.assume_init()
    };
    Some((size.ws_row, size.ws_col)).filter(|&(lines, columns)| lines > 0 && columns > 0)
}

/// Whether the terminal shows lines as they are typed, to a job in the foreground that is ours.
fn is_ours() -> bool {
    let mut settings = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: a descriptor, and a place for the answer, which zero is a value of.
    unsafe {
        libc::tcgetpgrp(libc::STDERR_FILENO) == libc::getpgrp()
            && libc::tcgetattr(libc::STDERR_FILENO, settings.as_mut_ptr()) == 0
            && settings.assume_init().c_lflag & (libc::ICANON | libc::ECHO) == libc::ICANON | libc::ECHO
    }
}
