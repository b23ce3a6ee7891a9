//! What keys do.

use super::{Column, State};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for that the state cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    Detail,
    Refresh,
    Suspend,
    Quit,
}

/// The keys, as the help shows them.
pub const KEYS: [(&str, &str); 12] = [
    ("up, down, k, j", "select another process; page up, page down, home, end too"),
    ("enter", "show the selected process: its timeline, size classes and scopes"),
    ("left, right, <, >", "sort by another column"),
    ("l, r, p, f", "sort by live bytes, rate, peak, fragmentation"),
    ("R", "reverse the order"),
    ("t", "children below their parents, or all in one order"),
    ("/", "only processes with a text in them; enter keeps it, esc drops it"),
    ("+, -", "look more often, or less"),
    ("space", "stop looking, and go on"),
    ("esc", "one step back"),
    ("?, h", "this help"),
    ("q, ctrl-c", "end"),
];

const INTERVAL_SHORTEST: u64 = 50;
const INTERVAL_LONGEST: u64 = 3_600_000;

impl State {
    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Asked::Quit,
                KeyCode::Char('z') => Asked::Suspend,
                KeyCode::Char('l') => Asked::Refresh,
                _ => Asked::Nothing,
            };
        }
        if self.typing {
            return self.type_filter(key.code);
        }
        if self.help {
            self.help = false;
            return Asked::Nothing;
        }
        let page = self.height.max(1) as isize;
        match key.code {
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Up | KeyCode::Char('k') => return self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => return self.move_by(1),
            KeyCode::PageUp => return self.move_by(-page),
            KeyCode::PageDown => return self.move_by(page),
            KeyCode::Home | KeyCode::Char('g') => return self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => return self.move_by(isize::MAX),
            KeyCode::Enter => {
                self.detailed = !self.detailed;
                return Asked::Detail;
            }
            KeyCode::Left | KeyCode::Char('<') => self.sort_beside(-1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_beside(1),
            KeyCode::Char('l') => self.sort_by(Column::Live),
            KeyCode::Char('r') => self.sort_by(Column::Rate),
            KeyCode::Char('p') => self.sort_by(Column::Peak),
            KeyCode::Char('f') => self.sort_by(Column::Fragmentation),
            KeyCode::Char('R') => {
                self.reversed = !self.reversed;
                self.arrange();
            }
            KeyCode::Char('t') => {
                self.tree = !self.tree;
                self.arrange();
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('+') => self.interval = (self.interval / 2).max(INTERVAL_SHORTEST),
            KeyCode::Char('-') => self.interval = (self.interval * 2).min(INTERVAL_LONGEST),
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                return if self.paused { Asked::Nothing } else { Asked::Refresh };
            }
            KeyCode::Esc if self.detailed => self.detailed = false,
            KeyCode::Esc if !self.filter.is_empty() => {
                self.filter.clear();
                return Asked::Refresh;
            }
            _ => {}
        }
        Asked::Nothing
    }

    fn type_filter(&mut self, key: KeyCode) -> Asked {
        match key {
            KeyCode::Char(char) => self.filter.push(char),
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            _ => return Asked::Nothing,
        }
        Asked::Refresh
    }

    fn move_by(&mut self, rows: isize) -> Asked {
        self.select(rows);
        Asked::Detail
    }

    fn sort_by(&mut self, column: Column) {
        self.sort = column;
        self.reversed = false;
        self.arrange();
    }

    fn sort_beside(&mut self, by: isize) {
        let columns = Column::ALL;
        let place = columns.iter().position(|&column| column == self.sort).unwrap_or(0) as isize;
        self.sort_by(columns[(place + by).rem_euclid(columns.len() as isize) as usize]);
    }
}
