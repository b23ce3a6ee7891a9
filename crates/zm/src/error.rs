//! What can keep `zm` from doing its work, said so that the reader knows what to do next.

use crate::backend::Unavailable;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Exit status of `zm check` when a limit was not kept, as `timeout` has it for its own.
pub const EXIT_OVER_LIMIT: i32 = 124;
/// Exit status when `zm` could not do what was asked.
pub const EXIT_FAILURE: i32 = 125;
/// Exit status when the program cannot be executed.
pub const EXIT_NOT_EXECUTABLE: i32 = 126;
/// Exit status when the program was not found.
pub const EXIT_NOT_FOUND: i32 = 127;

/// Why `zm` gave up.
#[derive(Debug)]
pub enum Error {
    /// There is no such allocator here.
    Backend(Unavailable),
    /// The file for the figures cannot be written.
    Export(PathBuf, io::Error),
    /// Two outputs were to go to one file.
    OneFile(PathBuf),
    /// Figures were to go to standard output.
    ExportToStdout,
    /// No directory to keep the ledgers in.
    NoSessionDirectory(Vec<(PathBuf, String)>),
    /// A file is no recording that can be read.
    Record(PathBuf, String),
    /// There is no terminal to show processes in.
    NoTerminal,
    /// A name with a 0 byte in it.
    ZeroByte,
    /// The program could not be started, as execvp says.
    Start(String, io::Error),
    /// The program cannot be compared, measured or held against limits: a sentence why.
    Unfit(String),
    /// A file of figures that does not hold what it should.
    Figures(PathBuf, String),
    /// A signal ended the work.
    Interrupted(i32),
    /// The operating system refused something else.
    System(&'static str, io::Error),
}

impl Error {
    /// The exit status that goes with it: 125, or 126 and 127 as shells use them.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Start(_, error) if error.kind() == io::ErrorKind::NotFound => EXIT_NOT_FOUND,
            Error::Start(_, error) if error.raw_os_error() == Some(libc::ENOTDIR) => EXIT_NOT_FOUND,
            Error::Start(..) => EXIT_NOT_EXECUTABLE,
            _ => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Backend(unavailable) => unavailable.fmt(f),
            Error::Export(path, error) => {
                write!(f, "{} cannot be written: {}", path.display(), reason(error))
            }
            Error::OneFile(path) => {
                write!(f, "{} is named for two outputs: name a file for each", path.display())
            }
            Error::ExportToStdout => f.write_str(
                "standard output belongs to the program, so the figures cannot go to `-`; \
                 name a file, or /dev/stderr, or /dev/fd/3 with `3>file`",
            ),
            Error::NoSessionDirectory(tried) => {
                f.write_str("no directory to keep the ledgers in; tried")?;
                for (path, why) in tried {
                    write!(f, "\n  {}: {why}", path.display())?;
                }
                f.write_str("\nset TMPDIR to a directory of yours that programs may be run from")
            }
            Error::Record(path, why) => write!(f, "{}: {why}", path.display()),
            Error::NoTerminal => f.write_str(
                "`zm top` needs a terminal for input and output; without one: `zm top --once`, or `zm top --once --json`",
            ),
            Error::ZeroByte => f.write_str("an argument has a 0 byte in it"),
            Error::Start(program, error) if self.exit_code() == EXIT_NOT_FOUND => {
                if std::path::Path::new(program).exists() {
                    write!(f, "{program}: the interpreter that it names was not found")
                } else if program.contains('/') {
                    write!(f, "{program}: {}", reason(error))
                } else {
                    write!(f, "{program}: not found in PATH")
                }
            }
            Error::Start(program, _) if std::path::Path::new(program).is_dir() => {
                write!(f, "{program}: is a directory, not a program")
            }
            Error::Start(program, error) => write!(f, "{program}: cannot be executed: {}", reason(error)),
            Error::Unfit(why) => f.write_str(why),
            Error::Figures(path, why) => write!(f, "{}: {why}", path.display()),
            Error::Interrupted(signal) => write!(f, "{}: stopped", crate::report::text::signal_name(*signal)),
            Error::System(what, error) => write!(f, "{what}: {}", reason(error)),
        }
    }
}

impl std::error::Error for Error {}

/// The system's words, without the number that Rust puts behind them.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
