//! The command line: one definition for parser and help.

use crate::check::arguments::Check;
use crate::compare::arguments::Compare;
use crate::control::{Purge, Set};
use crate::manual::{Completions, Man};
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

/// What `zm` can do. The short text of each is here; the long one is with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(about = "Run a program and its children under the ledger, and show what their heaps did")]
    Run(Run),
    #[command(about = "Run a program on its own allocator and on every other, and recommend one")]
    Compare(Compare),
    #[command(about = "Run a program and fail if its heap is over a limit, or has grown")]
    Check(Check),
    #[command(about = "Change what a running process may have")]
    Set(Set),
    #[command(about = "Have a running process give unused memory back")]
    Purge(Purge),
    #[command(about = "Look at every process under the ledger, live")]
    Top(crate::top::Top),
    #[command(about = "Tell what a recording has of a run")]
    Show(crate::record::Show),
    #[command(about = "Write a script that completes zm's commands in a shell")]
    Completions(Completions),
    #[command(about = "Write manual pages")]
    Man(Man),
}

/// Run a program and its children under the ledger, and show what their heaps did.
///
/// PROGRAM runs as it would by itself: its input, output, signals, terminal and exit status are untouched.
///
/// When it has ended, a table on standard error shows, for each program that it was or started: the bytes live when
/// it ended, the most that were live, the most it mapped itself, its peak of resident memory, fragmentation, and what
/// it allocated. While it runs, the last line of the terminal shows what is live.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
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

    /// Also write a line of CSV for each process.
    #[arg(long, value_name = "FILE")]
    pub export_csv: Option<PathBuf>,

    /// Also write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub export_markdown: Option<PathBuf>,

    /// Also write the figures of each program as OpenMetrics, for Prometheus.
    #[arg(long, value_name = "FILE")]
    pub export_openmetrics: Option<PathBuf>,

    /// Write the table to FILE instead of standard error.
    ///
    /// As with the JSON: FILE is replaced at the end, and that it can be written is checked before the program starts.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Show no table, and no line while it runs.
    #[arg(long, short, conflicts_with_all = ["output", "all"])]
    pub quiet: bool,

    /// Give every process a row of its own.
    ///
    /// Without it, more than 12 processes are put together by program, and the smallest are summed up in a line.
    #[arg(long)]
    pub all: bool,

    /// Let no process have more than SIZE bytes live at once, like 512M: what would be more is refused.
    ///
    /// The call answers null, with ENOMEM, as if memory had run out; what the program makes of it is its own. Of each process
    /// by itself, to the byte, and of what is counted alone: see --limit-mapped. A request may be refused up to 64 KiB early for
    /// each of its threads; a resize needs room for the old block and the new one. The report says what was refused, and
    /// when first.
    #[arg(long, value_name = "SIZE", value_parser = crate::quantity::bytes)]
    pub limit: Option<u64>,

    /// Let the program and all its children together have no more than SIZE bytes live at once.
    ///
    /// As --limit, which may be given beside it, of the sum over all processes. A fork needs as much again as the process
    /// holds, and is refused with ENOMEM where that is not left. A request may be refused early by what other processes
    /// keep in hand: a 32nd of SIZE over all of them, at most 1 MiB each, or 64 KiB each where that is more; and 192 KiB for
    /// each of their threads. Not for processes in another PID namespace.
    #[arg(long, value_name = "SIZE", value_parser = crate::quantity::bytes)]
    pub limit_tree: Option<u64>,

    /// What to do when a limit is reached.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub at_limit: AtLimit,

    /// Have the limits count what a program maps itself as well, like an allocator of its own.
    #[arg(long)]
    pub limit_mapped: bool,

    /// Sample what all processes hold, every so many milliseconds: a timeline in the JSON, and a row of bars in the table.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub interval: Option<u64>,

    /// Keep the last minutes in FILE, in 4 MiB: a black box that survives a SIGKILL of zm and the program.
    ///
    /// `zm show FILE` reads it, and says whether the end looks like an OOM kill. Sampled every 250 ms, or --interval.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// The program, and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// What is done when a limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AtLimit {
    /// Refuse what would be more
    #[default]
    Refuse,
    /// Stop the process by SIGSTOP, once: look at it, give it more with `zm set`, then `kill -CONT` it
    Stop,
    /// Say so in the report, and refuse nothing
    Report,
    /// Kill the process by SIGKILL
    Kill,
}

impl AtLimit {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            AtLimit::Refuse => "refuse",
            AtLimit::Stop => "stop",
            AtLimit::Report => "report",
            AtLimit::Kill => "kill",
        }
    }
}

/// What somebody may have wanted to type who gave a command too little.
pub fn example(command: &str) -> &'static str {
    match command {
        "compare" => "zm compare -- python3 job.py",
        "check" => "zm check --max-peak 300M -- ./test-suite",
        "completions" => "zm completions bash",
        "man" => "zm man .",
        "show" => "zm show box",
        "set" => "zm set 4711 limit=512M",
        "purge" => "zm purge 4711",
        _ => "zm run -- sort big.txt",
    }
}

const EXIT_CODES: &str = "\
Examples:
  zm run -- sort big.txt
  zm compare -- python3 job.py
  zm check --max-peak 300M -- ./test-suite

Exit status of run and check: that of PROGRAM; if a signal ended it, the same signal ends zm. Of zm itself:
    0  it is done
  124  check: PROGRAM ended with 0, but a limit was not kept
  125  zm could not do what was asked: see its message
  126  PROGRAM cannot be executed
  127  PROGRAM was not found";

const RUN_EXAMPLES: &str = "\
Examples:
  zm run -- sort big.txt
  zm run --backend mimalloc -- python3 app.py
  zm run --export-json heap.json -- make -j8
  zm run --quiet --export-json heap.json -- ./test-suite
  zm run --all -o heaps.txt -- make -j8
  zm run --quiet --export-openmetrics heap.prom -- ./nightly-job
  zm run --limit 512M -- python3 app.py
  zm run --limit-tree 2G --at-limit kill -- make -j8
  zm run --interval 100 -- ./server
  zm run --record box -- ./server

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
    fn every_command_shows_examples_and_its_exit_status() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            let example = format!("\n  zm {} ", command.get_name());
            assert!(help.contains("Examples:") && help.contains(&example), "{help}");
            assert!(help.contains("Exit status:"), "{help}");
        }
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Examples:") && help.contains("\nExit status of run and check:"), "{help}");
    }

    #[test]
    fn the_documented_exit_statuses_are_those_of_the_help() {
        let numbers = |text: &str, start: &str, end: char| -> Vec<i32> {
            let lines =
                text.lines().filter_map(|line| line.strip_prefix(start)?.split(end).next()?.trim().parse().ok());
            lines.collect()
        };
        let documented = numbers(include_str!("../docs/exit-status.md"), "|", '|');
        assert_eq!(documented, [0, 124, 125, 126, 127]);
        let words = |help: &str| -> Vec<i32> {
            help.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
        };
        assert_eq!(words(EXIT_CODES), documented);
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            let help = help.split("Exit status:").last().unwrap_or_default();
            assert!(words(help).iter().all(|status| documented.contains(status)), "{help}");
        }
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let run = |arguments: &[&str]| match Cli::try_parse_from(arguments).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        };
        let parsed = run(&["zm", "run", "ls", "--backend", "-l"]);
        assert_eq!((parsed.backend.as_str(), parsed.program.len()), ("forward", 3));
        let parsed = run(&["zm", "run", "-b", "libc", "--", "--odd", "--"]);
        assert_eq!((parsed.backend.as_str(), parsed.program), ("libc", vec!["--odd".into(), "--".into()]));
        assert!(Cli::try_parse_from(["zm", "run"]).is_err());
        assert!(Cli::try_parse_from(["zm", "run", "-q", "-o", "file", "ls"]).is_err());
    }
}
