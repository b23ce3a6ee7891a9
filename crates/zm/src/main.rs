//! `zm`: any native program under an exact heap ledger, as it is.
//!
//! Each step of a run is a file: [`backend`] decides what is preloaded, [`session`] where the ledgers lie, [`run`] starts
//! the program and waits, [`collect`] reads what it wrote, [`inspect`] knows what cannot be seen, [`report`] tells.

// Rust's own start ignores SIGPIPE and opens closed descriptors; the program must inherit both as zm found them.
#![cfg_attr(not(test), no_main)]

mod backend;
mod cli;
mod collect;
mod error;
mod export;
mod format;
mod inspect;
mod report;
mod run;
mod search;
mod session;

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
    let arguments = (0..count.max(0) as usize).map(|index| {
        // SAFETY: the C runtime gives `count` pointers to strings that live as long as the process.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
        OsString::from_vec(argument.to_bytes().to_vec())
    });
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            if error.kind() == clap::error::ErrorKind::MissingRequiredArgument {
                let _ = writeln!(std::io::stderr(), "\nFor example: zm run -- sort big.txt");
            }
            return if error.use_stderr() { EXIT_FAILURE } else { 0 };
        }
    };
    let Command::Run(arguments) = cli.command;
    match run::run(&arguments, inherited) {
        Ok(Outcome::Code(code)) => code,
        Ok(Outcome::Signal(signal)) => run::signal::die_by(signal),
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
