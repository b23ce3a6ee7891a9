//! Programs in a pseudo-terminal.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

pub const LINES: u16 = 24;
pub const COLUMNS: u16 = 100;

/// A program in a pseudo-terminal of its own.
pub struct Terminal {
    pub keys: File,
    settings: OwnedFd,
    screen: String,
    /// What a real terminal would show.
    pub emulator: vt100::Parser,
    pub child: Child,
    /// The settings before the program started.
    pub initial: Settings,
}

pub type Settings = (u32, u32, u32, u32);

impl Terminal {
    pub fn start<S: AsRef<OsStr>>(command: &[S]) -> Terminal {
        Terminal::start_as("dumb", command, &[])
    }

    /// Of this kind, 24 lines of 100 columns, with variables of the environment.
    pub fn start_as<S: AsRef<OsStr>>(kind: &str, command: &[S], variables: &[(&str, &OsStr)]) -> Terminal {
        let (mut keys, mut screen) = (0, 0);
        // SAFETY: places for two descriptors; no name, settings or size.
        let made = unsafe {
            let none = std::ptr::null_mut();
            let size = libc::winsize { ws_row: LINES, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
            libc::openpty(&mut keys, &mut screen, none, std::ptr::null(), &size)
        };
        assert_eq!(made, 0);
        // SAFETY: just opened, and nobody else's.
        let (keys, screen) = unsafe { (File::from_raw_fd(keys), OwnedFd::from_raw_fd(screen)) };
        let mut program = Command::new(&command[0]);
        program
            .args(&command[1..])
            .env("PS1", "$ ")
            .env("TERM", kind)
            .envs(variables.iter().copied())
            .env_remove("NO_COLOR");
        program
            .stdin(screen.try_clone().unwrap())
            .stdout(screen.try_clone().unwrap())
            .stderr(screen.try_clone().unwrap());
        // SAFETY: only async-signal-safe calls.
        unsafe {
            program.pre_exec(|| {
                // As a terminal's shell has them, however the tests were started.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            })
        };
        let initial = settings_of(&screen);
        let child = program.spawn().unwrap();
        // SAFETY: our descriptor; reads shall return when there is nothing.
        unsafe { libc::fcntl(keys.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let emulator = vt100::Parser::new(LINES.try_into().unwrap(), COLUMNS.try_into().unwrap(), 0);
        Terminal { keys, settings: screen, screen: String::new(), emulator, child, initial }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows a text that it did not show at the last wait.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.read();
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} on {:?}", self.screen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn resize(&mut self, lines: u16, columns: u16) {
        let size = libc::winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: our terminal, and a size.
        assert_eq!(unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }

    /// Takes in what was written.
    pub fn read(&mut self) {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = self.keys.read(&mut some) {
            self.screen.push_str(&String::from_utf8_lossy(&some[..count]));
            self.emulator.process(&some[..count]);
        }
    }

    /// Waits until what is on the screen is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so(self.emulator.screen()) {
            assert!(Instant::now() < deadline, "{what}:\n{}", self.emulator.screen().contents());
            std::thread::sleep(Duration::from_millis(5));
            self.read();
        }
    }

    /// Waits until the screen has this text.
    pub fn shows(&mut self, text: &str) {
        self.until(&format!("no {text:?}"), |screen| screen.contents().contains(text));
    }

    pub fn settings(&self) -> Settings {
        settings_of(&self.settings)
    }
}

fn settings_of(terminal: &OwnedFd) -> Settings {
    let mut settings = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: a terminal, and a place for the answer.
    let settings = unsafe {
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()), 0);
        settings.assume_init()
    };
    (settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
