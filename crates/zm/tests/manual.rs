//! Completions and manual pages come from the command line's definition, whole.

mod common;
use common::{Scratch, zm};
use std::fs;
use std::process::{Command, Stdio};

const COMMANDS: [&str; 9] = ["run", "compare", "check", "completions", "man", "top", "show", "set", "purge"];

#[test]
fn every_shell_gets_its_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = zm().args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        for word in COMMANDS.into_iter().chain(["export-openmetrics", "max-live-at-exit", "warmup"]) {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    let script = zm().args(["completions", "bash"]).output().unwrap().stdout;
    let scratch = Scratch::new();
    let file = scratch.path("zm.bash");
    fs::write(&file, script).unwrap();
    // As bash itself would complete.
    let ask = format!(
        "source {}; COMP_WORDS=(zm check --max-pe); COMP_CWORD=2; _zm zm --max-pe check; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let answer = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "--max-peak --max-peak-tree\n");

    let output = zm().args(["completions", "csh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[possible values: bash, elvish, fish, powershell, zsh]"));
}

#[test]
fn every_command_has_a_page_with_examples() {
    let scratch = Scratch::new();
    let directory = scratch.path("man");
    fs::create_dir(&directory).unwrap();
    assert!(zm().arg("man").arg(&directory).status().unwrap().success());
    let pages = COMMANDS.map(|command| format!("zm-{command}.1"));
    for page in pages.iter().map(String::as_str).chain(["zm.1"]) {
        let text = fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH \"EXAMPLES AND EXIT STATUS\""), "{page}: {text}");
        assert!(!text.contains("EXTRA"), "{page}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), COMMANDS.len() + 1);
    let output = zm().args(["man", "/no/such/directory"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("zm: /no/such/directory/zm.1 cannot be written: "), "{text}");
}

#[test]
fn help_explains_what_a_command_does() {
    for (command, words) in [
        ("run", "its peak of resident memory, fragmentation"),
        ("compare", "With --load, PROGRAM is a server"),
        ("check", "What grew is shown"),
    ] {
        let output = zm().args([command, "--help"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = zm().args(["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
