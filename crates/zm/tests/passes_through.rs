//! The program runs as it would by itself: its streams, its signals, its end.

mod common;
use common::{Scratch, run, run_with, zm};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

#[test]
fn exit_codes_are_the_programs() {
    for code in [0, 1, 3, 125, 126, 127, 255] {
        let ran = run(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(ran.output.status.code(), Some(code));
        assert_eq!(ran.json["exit_code"], code);
    }
}

#[test]
fn zm_dies_by_the_programs_signal() {
    for signal in [libc::SIGTERM, libc::SIGSEGV, libc::SIGKILL, libc::SIGINT, libc::SIGPIPE, libc::SIGABRT] {
        let ran = run(&["sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(ran.output.status.signal(), Some(signal), "{}", ran.output.status);
        assert!(!ran.output.status.core_dumped());
        assert_eq!(ran.json["signal"], signal);
    }
}

#[test]
fn megabytes_pass_untouched() {
    let input: Vec<u8> = (0..5_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let ran = run_with(&[], &["cat"], &input);
    assert!(ran.output.stdout == input, "{} bytes came back", ran.output.stdout.len());
}

#[test]
fn standard_error_is_the_programs_until_the_end() {
    let ran = run(&["sh", "-c", "echo one >&2; echo two"]);
    assert_eq!(ran.stdout(), "two\n");
    assert!(ran.stderr().starts_with("one\nzm: sh | forward | exit 0 | "), "{}", ran.stderr());
    assert!(!ran.stderr().contains('\x1b'), "no colours for a pipe");
}

#[test]
fn signals_to_zm_alone_reach_the_program() {
    for (signal, name) in [
        (libc::SIGTERM, "TERM"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGINT, "INT"),
        (libc::SIGUSR2, "USR2"),
    ] {
        let script = format!("trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let mut command = zm();
        command.args(["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null());
        // Under nohup a hangup is ignored, and a shell does not trap what it was started to ignore.
        // SAFETY: an async-signal-safe call.
        unsafe { command.pre_exec(move || Ok(_ = libc::signal(signal, libc::SIG_DFL))) };
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        // SAFETY: our child, not yet waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(lines.next().unwrap().unwrap(), "got", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(5), "{name}");
    }
}

#[test]
fn signal_dispositions_and_mask_are_inherited() {
    // What the kernel says of a program, by itself and under zm, as started with odd dispositions.
    let status = |under_zm: bool| {
        let mut command = if under_zm { zm() } else { Command::new("cat") };
        if under_zm {
            command.args(["run", "--", "cat"]);
        }
        command.arg("/proc/self/status").stderr(Stdio::null());
        // SAFETY: only async-signal-safe calls.
        unsafe {
            command.pre_exec(|| {
                for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGTSTP] {
                    libc::signal(signal, libc::SIG_IGN);
                }
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGUSR2);
                libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
                Ok(())
            })
        };
        let output = command.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| line.starts_with("Sig")).map(str::to_owned).collect::<Vec<_>>()
    };
    let bare = status(false);
    assert!(bare.iter().any(|line| line.starts_with("SigIgn") && !line.ends_with("0000000000000000")));
    // The queue's use is the user's, not the process's.
    let strip = |lines: Vec<String>| lines.into_iter().filter(|line| !line.starts_with("SigQ")).collect::<Vec<_>>();
    assert_eq!(strip(status(true)), strip(bare));
}

#[test]
fn the_environment_is_untouched_but_for_ours() {
    let variables = |text: String| {
        let ours = ["LD_PRELOAD=", "ZMALLOC_SESSION="];
        text.lines().filter(|line| !ours.iter().any(|key| line.starts_with(key))).map(str::to_owned).collect::<Vec<_>>()
    };
    let bare = Command::new("env").env("ODD", " = ").output().unwrap();
    let under = zm().args(["run", "--", "env"]).env("ODD", " = ").output().unwrap();
    let (bare, under) = (String::from_utf8(bare.stdout).unwrap(), String::from_utf8(under.stdout).unwrap());
    assert!(under.contains("\nLD_PRELOAD=/"));
    assert_eq!(variables(under), variables(bare));
}

#[test]
fn another_preload_is_kept_and_a_zm_in_a_zm_takes_over() {
    let scratch = Scratch::new();
    let library = scratch.compile(
        "other.so",
        "#include <unistd.h>\n__attribute__((constructor)) static void start(void) { write(1, \"other\\n\", 6); }",
        &["-shared", "-fPIC"],
    );
    let output = zm().args(["run", "--", "true"]).env("LD_PRELOAD", &library).output().unwrap();
    // Once in zm itself, once in the program.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "other\nother\n");

    let ran = run(&[env!("CARGO_BIN_EXE_zm"), "run", "--", "sh", "-c", "echo $LD_PRELOAD"]);
    assert!(ran.output.status.success());
    assert_eq!(ran.stdout().matches("libzmalloc_preload.so").count(), 1, "{}", ran.stdout());
    assert_eq!(ran.stderr().matches("zm: ").count(), 2, "{}", ran.stderr());
}

#[test]
fn scripts_links_and_argument_zero_work() {
    let scratch = Scratch::new();
    let script = scratch.script("greet", "#!/bin/sh\necho hello $1\n");
    assert_eq!(run(&[script.as_os_str(), "you".as_ref()]).stdout(), "hello you\n");
    // Without a first line, as execvp does it.
    let script = scratch.script("plain", "echo plain $1\n");
    assert_eq!(run(&[script.as_os_str(), "text".as_ref()]).stdout(), "plain text\n");
    let program = scratch.compile("zero", "#include <stdio.h>\nint main(int c, char **v) { puts(v[0]); }", &[]);
    let ran = zm().args(["run", "zero"]).env("PATH", program.parent().unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "zero\n");
}

#[test]
fn closed_streams_stay_closed() {
    let script = format!("{} run -- sh -c 'ls -l /proc/self/fd' <&- 2>/dev/null", env!("CARGO_BIN_EXE_zm"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // ls opens the directory itself as the lowest free descriptor, which is 0.
    assert!(text.contains(" 0 -> /proc/"), "{text}");
    let script = format!("{} run -- sh -c 'exit 4' 2>&-", env!("CARGO_BIN_EXE_zm"));
    assert_eq!(Command::new("bash").args(["-c", &script]).output().unwrap().status.code(), Some(4));
}

#[test]
fn a_reader_that_goes_away_does_not_change_the_end() {
    let mut child = zm().args(["run", "--", "sh", "-c", "sleep 0.2; exit 9"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(9));
    // The program sees the broken pipe as ever.
    let mut child = zm().args(["run", "--", "yes"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGPIPE));
}

#[test]
fn figures_sent_to_an_open_descriptor_leave_what_is_there() {
    use std::io::{Seek, SeekFrom};
    for place in ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"] {
        for append in [false, true] {
            let scratch = common::Scratch::new();
            let file = scratch.path("log");
            std::fs::write(&file, "earlier\n").unwrap();
            let mut log = std::fs::OpenOptions::new().write(true).append(append).open(&file).unwrap();
            // As of a shell's group of commands, one of which wrote before.
            log.seek(SeekFrom::End(0)).unwrap();
            let arguments = ["run", "--export-json", place, "--", "sh", "-c", "echo said >&2"];
            assert!(common::zm().args(arguments).stderr(log).status().unwrap().success());
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("earlier\nsaid\nzm: sh | "), "{place} {append}: {text}");
            let json = &text[text.find("\n{\n").unwrap()..];
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{place} {append}: {text}");
        }
    }
}
