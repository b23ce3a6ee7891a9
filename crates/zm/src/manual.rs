//! `zm completions` and `zm man`: from the one definition of the command line.

use crate::cli::Cli;
use crate::error::Error;
use crate::run::Outcome;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::roff::{Roff, roman};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// Writes a script to standard output by which a shell completes zm's commands and options.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes a manual page for zm and for each of its commands into DIR.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct Man {
    /// A directory that exists.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Writes the script.
pub fn completions(arguments: &Completions) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "zm", &mut script);
    match io::stdout().write_all(&script).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::System("standard output cannot be written", error))
        }
        _ => Ok(Outcome::Code(0)),
    }
}

/// Writes the pages.
pub fn man(arguments: &Man) -> Result<Outcome, Error> {
    let mut zm = Cli::command().disable_help_subcommand(true);
    zm.build();
    for command in [&zm].into_iter().chain(zm.get_subcommands()) {
        let page = clap_mangen::Man::new(command.clone().after_help(None::<&str>));
        let path = arguments.directory.join(page.get_filename());
        let text = render(&page, command.get_after_help().map(ToString::to_string).unwrap_or_default());
        let written = text.and_then(|text| fs::write(&path, text));
        written.map_err(|error| Error::Export(path, error))?;
    }
    Ok(Outcome::Code(0))
}

/// A page, with what follows the help as it stands: examples and tables are not to be filled.
fn render(page: &clap_mangen::Man, after_help: String) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut end = Roff::new();
    end.control("SH", ["EXAMPLES AND EXIT STATUS"]).control("nf", []);
    after_help.lines().for_each(|line| _ = end.text([roman(line)]));
    end.control("fi", []).to_writer(&mut text)?;
    Ok(text)
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  zm completions bash >~/.local/share/bash-completion/completions/zm
  zm completions zsh >~/.zfunc/_zm
  zm completions fish >~/.config/fish/completions/zm.fish

Exit status: 0; 125 if it cannot be written.";

const MAN_EXAMPLES: &str = "\
Examples:
  zm man ~/.local/share/man/man1
  zm man . && man ./zm-run.1

Exit status: 0; 125 if they cannot be written.";
