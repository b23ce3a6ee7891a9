//! In a terminal: its keys reach the program, a shell can stop and continue it, and its settings are left alone.

mod common;
use common::Scratch;
use common::terminal::Terminal;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

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

#[test]
fn a_status_line_keeps_to_the_last_line_and_is_gone_at_the_end() {
    let scratch = Scratch::new();
    let script = scratch.script(
        "speaker",
        "#!/bin/sh\nfor i in $(seq 40); do echo \"line $i\"; done\nprintf 'no end'\nsleep 2\necho ' of line'\n\
         for i in $(seq 41 50); do echo \"line $i\"; done\nsleep 1\nexit 0\n",
    );
    let command = [OsStr::new(env!("CARGO_BIN_EXE_zm")), "run".as_ref(), "-o".as_ref(), "/dev/null".as_ref()];
    let command = [&command[..], &["--".as_ref(), script.as_ref()]].concat();
    let mut terminal = Terminal::start_as("xterm", &command, &[]);
    let last_line = |screen: &vt100::Screen| screen.rows(0, 100).last().unwrap();
    terminal.until("the status line", |screen| {
        let row: Vec<String> = screen.rows(0, 100).collect();
        row[23].starts_with("zm: ") && row[23].contains(" live, peak ") && row[22].starts_with("no end")
    });
    // What the program writes goes on where it was, and scrolls above.
    terminal.until("scrolled", |screen| {
        let row: Vec<String> = screen.rows(0, 100).collect();
        row[21].starts_with("line 50") && row[11].starts_with("no end of line") && row[10].starts_with("line 40")
    });
    assert!(last_line(terminal.emulator.screen()).starts_with("zm: "));
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    terminal.read();
    let screen = terminal.emulator.screen();
    assert!(!screen.contents().contains("zm: "), "{}", screen.contents());
    assert_eq!(screen.rows(0, 100).filter(|row| row.starts_with("line 50")).count(), 1);
}

#[test]
fn no_status_line_where_it_would_disturb() {
    // A program that reads keys one by one, and one under --quiet.
    for (options, script) in [("", "stty raw -echo; sleep 2; stty sane"), ("--quiet", "sleep 2")] {
        let command = format!("{} run {options} -- sh -c '{script}' 2>&1", env!("CARGO_BIN_EXE_zm"));
        let mut terminal = Terminal::start_as("xterm", &["bash", "--norc", "--noprofile", "-c", &command], &[]);
        assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
        terminal.read();
        assert!(!terminal.emulator.screen().contents().contains(" live, peak "));
    }
}

#[test]
fn a_terminal_that_was_told_to_wait_does_not_keep_zm() {
    let command = format!("{} run -o /dev/null -- sh -c 'sleep 3; exit 5'", env!("CARGO_BIN_EXE_zm"));
    let mut terminal = Terminal::start_as("xterm", &["sh", "-c", &format!("exec {command}")], &[]);
    terminal.until("the status line", |screen| screen.contents().contains(" live, peak "));
    terminal.press("\x13");
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = terminal.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "zm waits for the terminal");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(5));
}
