//! The command line of `zm check`.

use crate::quantity::{self, Tolerance};
use clap::{ArgGroup, Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs PROGRAM under the ledger, and fails if its heap, or that of a process it started, is over a limit.
///
/// For tests in CI: PROGRAM's input, output and signals are untouched, and if it fails, that is the exit status. All
/// figures but RSS are exact, so that they are the same on every machine with the same libraries. What grew is shown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "zm check [OPTIONS] <LIMIT or --baseline FILE>... -- <PROGRAM>...")]
#[command(group = ArgGroup::new("gates").required(true).multiple(true).args(GATES))]
pub struct Check {
    /// No process may have more bytes live at once.
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub max_peak: Option<u64>,

    /// All processes together may not have more bytes live at once.
    ///
    /// Their peaks are added where they ran at the same time, which is more than they had together or just as much.
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub max_peak_tree: Option<u64>,

    /// Bytes that the processes which ended in order allocated and never freed, summed. 0 finds every leak.
    ///
    /// What the C library never frees, like the buffer of standard output, counts too.
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub max_live_at_exit: Option<u64>,

    /// Bytes that all processes ever allocated, summed.
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub max_allocated: Option<u64>,

    /// How many blocks all processes ever allocated.
    #[arg(long, value_name = "NUMBER")]
    pub max_allocations: Option<u64>,

    /// No process may have more resident memory at once. This figure is the kernel's, and not the same in every run.
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    pub max_rss: Option<u64>,

    /// Nothing may have grown against FILE, which `--export-json` of this command or of `zm run` wrote.
    ///
    /// Held against it are peak, live at exit, allocated and allocations.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// How far a limit may be passed, or the baseline outgrown: `5%`, or `64K`, which is for sizes alone.
    #[arg(long, value_name = "PART", default_value = "0%", value_parser = quantity::tolerance)]
    pub tolerance: Tolerance,

    /// How the result is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Write the result to FILE instead of standard error. JUnit has to have one.
    #[arg(long, short, value_name = "FILE", required_if_eq("format", "junit"))]
    pub output: Option<PathBuf>,

    /// Also write the figures as JSON: the next baseline.
    #[arg(long, value_name = "FILE")]
    pub export_json: Option<PathBuf>,

    /// The allocator that the program shall use, as in `zm run`.
    #[arg(long, short, value_name = "NAME", default_value = "forward")]
    pub backend: String,

    /// The program, and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// How the result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// The same, and annotations that GitHub Actions shows beside the run.
    Github,
    /// An XML file as JUnit writes it, which most CI systems read; a short text on standard error as well.
    Junit,
}

const GATES: [&str; 7] =
    ["max_peak", "max_peak_tree", "max_live_at_exit", "max_allocated", "max_allocations", "max_rss", "baseline"];

const EXAMPLES: &str = "\
Examples:
  zm check --max-peak 300M -- ./test-suite
  zm check --max-live-at-exit 0 -- ./unit-tests
  zm check --export-json baseline.json --max-peak 1G -- ./bench    # once
  zm check --baseline baseline.json --tolerance 5% -- ./bench      # in CI
  zm check --max-peak 300M --format github -- make test
  zm check --max-peak 300M --format junit -o heap.xml -- make test

Exit status:
    0  PROGRAM ended with 0, and everything held
  124  PROGRAM ended with 0, and something did not hold
  125  zm could not do what was asked, or PROGRAM's heap cannot be counted: see its message
  126  PROGRAM cannot be executed
  127  PROGRAM was not found
Otherwise that of PROGRAM, which failed; if a signal ended it, the same signal ends zm.";
