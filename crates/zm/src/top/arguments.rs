//! The arguments of `zm top`.

use super::state::Column;
use clap::Args;

/// Watch every process under the ledger: those under `zm run`, and programs that publish.
///
/// Yours, or as root those of every user. What a program holds is exact; `zm top` reads it from outside, at no cost to the
/// program. Keys: `?` shows them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Top {
    /// Print the processes once, and exit: the second of two looks, --interval apart, which the rate is of.
    #[arg(long)]
    pub once: bool,

    /// As JSON, on standard output.
    #[arg(long, requires = "once")]
    pub json: bool,

    /// Milliseconds between two looks.
    #[arg(long, short, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=3_600_000))]
    pub interval: u64,

    /// The column to sort by.
    #[arg(long, short, value_name = "COLUMN", value_enum, default_value_t = Column::Live)]
    pub sort: Column,

    /// Only processes with TEXT in their program's path, arguments, allocator or pid.
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub filter: String,

    /// Children below their parents.
    #[arg(long, short)]
    pub tree: bool,
}

const EXAMPLES: &str = "\
Examples:
  zm top
  zm top --sort rate --filter python
  zm top --once
  zm top --once --json --interval 200

Exit status: 0, or 125 if it could not do what was asked. A signal that ends it restores the terminal first.";
