//! In a terminal: its keys reach the program, a shell can stop and continue it, and its settings are left alone.

mod common;
use common::Scratch;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A program in a pseudo-terminal of its own.
struct Terminal {
    keys: File,
    settings: OwnedFd,
    screen: String,
    child: Child,
}

impl Terminal {
    fn start<S: AsRef<OsStr>>(command: &[S]) -> Terminal {
        let (mut keys, mut screen) = (0, 0);
        // SAFETY: places for two descriptors; no name, settings or size.
        let made = unsafe {
            let none = std::ptr::null_mut();
            libc::openpty(&mut keys, &mut screen, none, std::ptr::null(), std::ptr::null())
        };
        assert_eq!(made, 0);
        // SAFETY: just opened, and nobody else's.
        let (keys, screen) = unsafe { (File::from_raw_fd(keys), OwnedFd::from_raw_fd(screen)) };
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).env("PS1", "$ ").env("TERM", "dumb").env_remove("NO_COLOR");
        program
            .stdin(screen.try_clone().unwrap())
            .stdout(screen.try_clone().unwrap())
            .stderr(screen.try_clone().unwrap());
        // SAFETY: only async-signal-safe calls.
        unsafe {
            program.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            })
        };
        let child = program.spawn().unwrap();
        // SAFETY: our descriptor; reads shall return when there is nothing.
        unsafe { libc::fcntl(keys.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        Terminal { keys, settings: screen, screen: String::new(), child }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows a text that it did not show at the last wait.
    fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut some = [0; 4096];
            if let Ok(count @ 1..) = self.keys.read(&mut some) {
                self.screen.push_str(&String::from_utf8_lossy(&some[..count]));
            }
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} on {:?}", self.screen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn settings(&self) -> (u32, u32, u32, u32) {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: a terminal, and a place for the answer.
        let settings = unsafe {
            assert_eq!(libc::tcgetattr(self.settings.as_raw_fd(), settings.as_mut_ptr()), 0);
            settings.assume_init()
        };
        (settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupt_reaches_the_program_once_and_zm_lives_to_report() {
    let scratch = Scratch::new();
    let program = scratch.compile(
        "catcher",
        "#include <signal.h>\n#include <unistd.h>\n#include <stdlib.h>\nstatic volatile int count;\n\
         static void got(int s) { count++; }\n\
         int main(void) { signal(SIGINT, got); write(1, \"ready\\n\", 6); while (!count) pause(); usleep(300000);\n\
         write(1, count == 1 ? \"once\\n\" : \"more\\n\", 5); exit(7); }",
        &[],
    );
    let mut terminal =
        Terminal::start(&[OsStr::new(env!("CARGO_BIN_EXE_zm")), "run".as_ref(), "--".as_ref(), program.as_ref()]);
    let settings = terminal.settings();
    terminal.expect("ready");
    terminal.press("\x03");
    terminal.expect("once");
    // Bold, since this is a terminal.
    terminal.expect("\x1b[1mzm: catcher | forward | exit 7");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(7));
    assert_eq!(terminal.settings(), settings);
}

#[test]
fn a_shell_stops_continues_and_interrupts_it() {
    let mut terminal = Terminal::start(&["bash", "--norc", "--noprofile", "-i"]);
    terminal.expect("$ ");
    terminal.press(&format!("{} run -- sleep 100\n", env!("CARGO_BIN_EXE_zm")));
    terminal.expect("sleep 100");
    std::thread::sleep(Duration::from_millis(500));
    terminal.press("\x1a");
    terminal.expect("Stopped");
    terminal.expect("$ ");
    terminal.press("echo st''ill=$?\n");
    terminal.expect("still=148");
    terminal.press("fg\n");
    terminal.expect("sleep 100");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("\x03");
    terminal.expect("zm: sleep | forward | SIGINT");
    terminal.press("echo co''de=$?\n");
    terminal.expect("code=130");
    terminal.press("exit\n");
    assert!(terminal.child.wait().unwrap().success());
}
