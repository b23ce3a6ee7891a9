//! `zm`: any native program under an exact heap ledger, as it is.
//!
//! Each step of a run is a file: [`backend`] decides what is preloaded, [`session`] where the ledgers lie, [`run`] starts
//! the program and waits, [`collect`] reads what it wrote, [`inspect`] knows what cannot be seen, [`report`] tells.
//! [`compare`] and [`check`] make such runs and judge them.
//! [`watch`] looks at processes while they run: for [`top`], and for what a run shows and [`record`]s meanwhile.

// Rust's own start ignores SIGPIPE and opens closed descriptors; the program must inherit both as zm found them.
#![cfg_attr(not(test), no_main)]

mod backend;
mod check;
mod cli;
mod collect;
mod compare;
mod control;
mod error;
mod export;
mod format;
mod inspect;
mod manual;
mod quantity;
mod record;
mod report;
mod run;
mod search;
mod session;
mod top;
mod watch;

use clap::Parser;
use cli::{Cli, Command};
use error::{EXIT_FAILURE, Error};
use run::Outcome;
use run::inherited::Inherited;
use std::ffi::{CStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

/// The C runtime's entry.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code, reason = "tests have their own entry"))]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let inherited = Inherited::take();
    let arguments: Vec<OsString> = (0..count.max(0) as usize)
        .map(|index| {
            // SAFETY: the C runtime gives `count` pointers to strings that live as long as the process.
            let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
            OsString::from_vec(argument.to_bytes().to_vec())
        })
        .collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            if error.kind() == clap::error::ErrorKind::MissingRequiredArgument {
                let command = arguments.get(1).and_then(|command| command.to_str()).unwrap_or_default();
                let _ = writeln!(std::io::stderr(), "\nFor example: {}", cli::example(command));
            }
            return if error.use_stderr() { EXIT_FAILURE } else { 0 };
        }
    };
    let done = match cli.command {
        Command::Run(arguments) => run::run(&arguments, &inherited),
        Command::Set(arguments) => control::set(&arguments),
        Command::Purge(arguments) => control::purge(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Show(arguments) => record::show(&arguments),
        Command::Check(arguments) => check::check(&arguments, &inherited),
        Command::Compare(arguments) => compare::compare(&arguments, &inherited),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
    };
    match done {
        Ok(Outcome::Code(code)) => code,
        Ok(Outcome::Signal(signal)) => run::signal::die_by(signal),
        Err(Error::Interrupted(signal)) => run::signal::die_by(signal),
        Err(error) => {
            complain(&error);
            error.exit_code()
        }
    }
}

fn complain(error: &Error) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "zm: {error}");
}
