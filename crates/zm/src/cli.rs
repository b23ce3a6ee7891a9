//! The command line: one definition for parser and help.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Know and explain every byte of heap a native program uses.
#[derive(Debug, Parser)]
#[command(name = "zm", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `zm` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program and its children under the ledger, and show what their heaps did.
    Run(Run),
}

/// Runs PROGRAM as it would run by itself: its input, output, signals, terminal and exit status are untouched.
///
/// When it has ended, a table on standard error shows, for each program that it was or started: the bytes live when
/// it ended, the most that were live, the most it mapped itself, its peak of resident memory, fragmentation, and what
/// it allocated.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = RUN_EXAMPLES)]
pub struct Run {
    /// The allocator that the program shall use.
    ///
    /// `forward` counts the allocator that the program uses anyway. Others replace it: `libc`, `mimalloc`,
    /// `jemalloc`, `tcmalloc` or `snmalloc`, as far as built in or installed.
    #[arg(long, short, value_name = "NAME", default_value = "forward")]
    pub backend: String,

    /// Also write the figures as JSON.
    ///
    /// FILE is replaced at the end, in one step. Standard output belongs to the program, so `-` is refused;
    /// `/dev/stderr`, `/dev/fd/3` or a pipe are fine.
    #[arg(long, value_name = "FILE")]
    pub export_json: Option<PathBuf>,

    /// The program, and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

const EXIT_CODES: &str = "\
Exit status: that of PROGRAM; if a signal ended it, the same signal ends zm. Of zm itself:
  125  zm could not do what was asked: see its message
  126  PROGRAM cannot be executed
  127  PROGRAM was not found";

const RUN_EXAMPLES: &str = "\
Examples:
  zm run -- sort big.txt
  zm run --backend mimalloc -- python3 app.py
  zm run --export-json heap.json -- make -j8

Exit status: that of PROGRAM; if a signal ended it, the same signal ends zm. Of zm itself:
  125  zm could not do what was asked: see its message
  126  PROGRAM cannot be executed
  127  PROGRAM was not found";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let Command::Run(run) = Cli::try_parse_from(["zm", "run", "ls", "--backend", "-l"]).unwrap().command;
        assert_eq!((run.backend.as_str(), run.program.len()), ("forward", 3));
        let Command::Run(run) = Cli::try_parse_from(["zm", "run", "-b", "libc", "--", "--odd", "--"]).unwrap().command;
        assert_eq!((run.backend.as_str(), run.program), ("libc", vec!["--odd".into(), "--".into()]));
        assert!(Cli::try_parse_from(["zm", "run"]).is_err());
    }
}
