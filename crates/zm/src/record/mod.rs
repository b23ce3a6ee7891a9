//! The black box: `zm run --record FILE` keeps the last minutes of a run in a small file, and `zm show FILE` reads it.
//!
//! The file is written as the run goes on, by plain writes: what was written is the kernel's, so it is there after a
//! SIGKILL of zm, of the program, or of both at once. It is not there after a power cut.

mod format;
mod oom;
mod recorder;
mod show;
mod text;

pub use recorder::Recorder;
pub use show::{Show, show};
