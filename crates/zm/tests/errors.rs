//! What goes wrong is said, with the documented exit status, and before the program runs.

mod common;
use common::{Scratch, zm};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

fn zm_with(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = zm().args(arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_be_executed_126() {
    let (code, _, text) = zm_with(&["run", "--", "no-such-program"]);
    assert_eq!((code, text.as_str()), (Some(127), "zm: no-such-program: not found in PATH\n"));
    let (code, _, text) = zm_with(&["run", "--", "/no/such/program"]);
    assert_eq!((code, text.as_str()), (Some(127), "zm: /no/such/program: No such file or directory\n"));
    assert_eq!(zm_with(&["run", "--", "/etc/passwd/x"]).0, Some(127));

    let scratch = Scratch::new();
    let script = scratch.script("script", "#!/no/such/interpreter\n");
    let (code, _, text) = zm_with(&["run", "--", script.to_str().unwrap()]);
    assert_eq!(code, Some(127));
    assert!(text.ends_with(": the interpreter that it names was not found\n"), "{text}");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, text) = zm_with(&["run", "--", script.to_str().unwrap()]);
    assert_eq!(code, Some(126));
    assert!(text.ends_with(": cannot be executed: Permission denied\n"), "{text}");
    let (code, _, text) = zm_with(&["run", "--", "/"]);
    assert_eq!((code, text.as_str()), (Some(126), "zm: /: is a directory, not a program\n"));
}

#[test]
fn an_unknown_backend_lists_what_there_is() {
    let (code, stdout, text) = zm_with(&["run", "--backend", "nomalloc", "--", "echo", "ran"]);
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    assert!(text.starts_with("zm: there is no backend `nomalloc`\navailable here:\n  forward "), "{text}");
    assert!(text.contains("\n  libc "), "{text}");
}

#[test]
fn a_place_that_cannot_be_written_is_reported_before_the_program_runs() {
    for option in ["--export-json", "--output"] {
        for file in ["/no/such/directory/a.json", "/proc/a.json", "/", "-"] {
            let (code, stdout, text) = zm_with(&["run", option, file, "--", "echo", "ran"]);
            assert_eq!((code, stdout.as_str()), (Some(125), ""), "{file}");
            assert!(text.starts_with("zm: "), "{text}");
        }
    }
}

#[test]
fn table_and_json_do_not_fit_one_file() {
    let scratch = Scratch::new();
    let file = scratch.path("both");
    let file = file.to_str().unwrap();
    let (code, stdout, text) = zm_with(&["run", "-o", file, "--export-json", file, "--", "echo", "ran"]);
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    assert_eq!(text, format!("zm: {file} is named for two outputs: name a file for each\n"));
    // One after the other into an open descriptor is fine.
    assert_eq!(zm_with(&["run", "-o", "/dev/fd/2", "--export-json", "/dev/fd/2", "--", "true"]).0, Some(0));
}

#[test]
fn a_program_that_does_not_start_leaves_no_json() {
    let scratch = Scratch::new();
    let file = scratch.path("a.json");
    assert_eq!(zm_with(&["run", "--export-json", file.to_str().unwrap(), "--", "no-such-program"]).0, Some(127));
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn wrong_usage_is_125_and_help_is_0() {
    for arguments in [&["run"][..], &[], &["walk"], &["run", "--nonsense", "--", "true"]] {
        let (code, stdout, text) = zm_with(arguments);
        assert_eq!((code, stdout.as_str()), (Some(125), ""), "{arguments:?}");
        assert!(text.contains("Usage: zm"), "{text}");
    }
    assert!(zm_with(&["run"]).2.contains("For example: zm run -- sort big.txt\n"));
    assert!(zm_with(&["show"]).2.contains("For example: zm show box\n"));
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let (code, stdout, text) = zm_with(arguments);
        assert_eq!((code, text.as_str()), (Some(0), ""));
        assert!(stdout.contains("zm"));
    }
    assert!(zm_with(&["run", "--help"]).1.contains("127  PROGRAM was not found"));
}
