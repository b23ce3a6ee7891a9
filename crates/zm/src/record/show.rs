//! `zm show FILE`: reading a recording.

use super::format::{self, Counters, End, Frame, Start, read_block};
use super::oom::{self, Verdict, judge};
use super::text;
use crate::error::Error;
use crate::run::Outcome;
use clap::Args;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Read what `zm run --record FILE` kept, and say whether the end looks like an OOM kill.
///
/// Also of a run that goes on, and of one whose zm was killed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Show {
    /// As JSON, with every sample.
    #[arg(long)]
    pub json: bool,

    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  zm run --record box -- ./server
  zm show box
  zm show --json box

Exit status: 0, or 125 if FILE cannot be read.";

/// The version of the JSON's keys.
pub const SCHEMA: &str = "zmalloc.record.v1";

/// A recording. The keys are documented in `docs/record-json.md`.
#[derive(Serialize)]
pub struct Recording {
    pub schema: &'static str,
    pub start: Start,
    pub end: Option<End>,
    pub verdict: Verdict,
    /// The earliest first.
    pub samples: Vec<Frame>,
}

/// Prints the recording.
pub fn show(arguments: &Show) -> Result<Outcome, Error> {
    let recording = read(&arguments.file)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&recording).expect("a recording is plain data") + "\n"
    } else {
        text::render(&recording)
    };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Nobody is there to read the rest.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::System("standard output", error)),
        _ => Ok(Outcome::Code(0)),
    }
}

fn read(path: &Path) -> Result<Recording, Error> {
    let refused = |why: &str| Error::Record(path.to_owned(), why.to_owned());
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| refused(&crate::error::reason(&error)))?;
    if !file.metadata().is_ok_and(|there| there.is_file()) {
        return Err(refused("not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(format::FILE_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| refused(&crate::error::reason(&error)))?;
    parse(&bytes).ok_or_else(|| refused("not a recording of `zm run --record`, or one of another version"))
}

/// Whatever the bytes are, what is whole in them.
fn parse(bytes: &[u8]) -> Option<Recording> {
    bytes.strip_prefix(format::MAGIC)?;
    let start: Start = read_block(bytes, format::START_AT, format::START_BYTES)?;
    let end: Option<End> = read_block(bytes, format::END_AT, format::END_BYTES);
    let slots = (0..format::SLOTS).map(|slot| format::RING_AT + slot * format::SLOT_BYTES as u64);
    let mut samples: Vec<Frame> = slots.filter_map(|at| read_block(bytes, at, format::SLOT_BYTES)).collect();
    samples.sort_by_key(|frame| frame.number);
    let verdict = judge(&start, samples.last(), end.as_ref(), (&Counters::now(), &oom::boot_id()));
    Some(Recording { schema: SCHEMA, start, end, verdict, samples })
}

#[cfg(test)]
mod tests {
    use super::super::format::write_block;
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn recorded(name: &str, frames: u64) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("zm-record-{}-{name}", std::process::id()));
        let file = File::create(&path).unwrap();
        file.write_all_at(format::MAGIC, 0).unwrap();
        let start = Start { command: vec!["a".to_owned()], ..Start::default() };
        assert!(write_block(&file, format::START_AT, format::START_BYTES, &start).unwrap());
        for number in 1..=frames {
            let frame = Frame { number, used_bytes: number * 10, ..Frame::default() };
            let at = format::RING_AT + (number - 1) % format::SLOTS * format::SLOT_BYTES as u64;
            assert!(write_block(&file, at, format::SLOT_BYTES, &frame).unwrap());
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    }

    #[test]
    fn a_ring_that_went_round_has_its_last_samples_in_order() {
        let recording = parse(&recorded("round", format::SLOTS + 100)).unwrap();
        assert_eq!(recording.samples.len() as u64, format::SLOTS);
        assert_eq!((recording.samples[0].number, recording.samples[1019].number), (101, 1120));
        assert!(recording.end.is_none());
        // A sample that was being written is missing, and nothing else.
        let mut bytes = recorded("half", 10);
        bytes[format::RING_AT as usize + 3 * format::SLOT_BYTES + 40] ^= 1;
        let numbers: Vec<u64> = parse(&bytes).unwrap().samples.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
        assert!(parse(b"something else").is_none() && parse(format::MAGIC).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_read_or_refused(
            changes in proptest::collection::vec((0usize..60_000, any::<u8>()), 0..60),
            length in prop_oneof![Just(usize::MAX), 0usize..60_000],
        ) {
            let mut bytes = recorded("any", 10);
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(length);
            if let Some(recording) = parse(&bytes) {
                prop_assert!(!text::render(&recording).is_empty());
            }
        }
    }
}
