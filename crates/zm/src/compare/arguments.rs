//! The command line of `zm compare`.

use super::row::Tunables;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs PROGRAM on its own allocator and on every other that is here, in turns, and shows what each costs.
///
/// PROGRAM's output is kept back and compared: an allocator under which it ends differently or writes something else is
/// reported and left out. Standard input is given to every run, if it is a file or a pipe. The figures are medians; a
/// ratio is called a difference when Wilcoxon's signed-rank test on the rounds says so (5 % for all rows of a column
/// together) and it is above 1 %.
///
/// With --load, PROGRAM is a server: it is started, waited for, loaded by COMMAND, left idle, and ended by SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Compare {
    /// How many rounds are measured. Each runs every row once.
    #[arg(long, short = 'n', value_name = "RUNS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=200))]
    pub runs: u32,

    /// How many rounds are made before, and thrown away.
    #[arg(long, value_name = "RUNS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub warmup: u32,

    /// Only these allocators, beside the program's own. Without it, all that `zm run --backend` finds.
    #[arg(long, short, value_name = "NAME", value_delimiter = ',')]
    pub backend: Vec<String>,

    /// One more row: `NAME=[BACKEND] VARIABLE=VALUE ...`.
    ///
    /// Without a BACKEND the program keeps its own allocator. For example `--row 'two arenas=MALLOC_ARENA_MAX=2'` or
    /// `--row 'je narrow=jemalloc MALLOC_CONF=narenas:1,dirty_decay_ms:0'`.
    #[arg(long, value_name = "ROW")]
    pub row: Vec<Tunables>,

    /// PROGRAM is a server: run COMMAND in a shell against it, and measure meanwhile and after it.
    #[arg(long, value_name = "COMMAND")]
    pub load: Option<String>,

    /// The server is ready when COMMAND exits with 0. Without it: when it listens on a socket.
    #[arg(long, value_name = "COMMAND", requires = "load")]
    pub ready: Option<String>,

    /// How long the server is left idle after the load, before its memory is looked at.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, requires = "load", value_parser = seconds)]
    pub idle: f64,

    /// Also write all figures, each run's too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub export_json: Option<PathBuf>,

    /// Also write a line of CSV for each row and figure.
    #[arg(long, value_name = "FILE")]
    pub export_csv: Option<PathBuf>,

    /// Also write the tables as Markdown.
    #[arg(long, value_name = "FILE")]
    pub export_markdown: Option<PathBuf>,

    /// The program, and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, from 0 to 86400".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  zm compare -- python3 job.py
  zm compare -n 20 --backend jemalloc,mimalloc -- jq . <big.json
  zm compare --load 'redis-benchmark -q -n 200000' -- redis-server --save ''
  zm compare --row 'one arena=MALLOC_ARENA_MAX=1' -- ./threads
  zm compare --export-markdown table.md --export-json runs.json -- sort big.txt

Exit status:
    0  compared; also if the program breaks under some allocator, which the table says
  125  zm could not do what was asked: see its message
  126  PROGRAM cannot be executed
  127  PROGRAM was not found
A signal that stops the comparison ends zm.";
