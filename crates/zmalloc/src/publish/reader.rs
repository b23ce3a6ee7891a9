//! Reading a published file. Nothing in it is trusted: numbers are taken out of a copy, and none is followed unchecked.

use super::format::{self, buffer, buffer_at, get, get_small, get_text, header, scope};
use crate::ledger::{ClassTotals, Details, SIZE_CLASSES, Totals};
use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A published file, kept open to be read again and again.
#[derive(Debug)]
pub struct Reader {
    file: File,
}

/// What a program publishes that a row of a table has. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// When it was copied, in nanoseconds since 1970.
    pub taken_ns: u64,
    /// Bytes allocated and freed since the program started.
    pub totals: Totals,
    /// The most bytes that were live at once, as [`peak_memory`](crate::peak_memory) says.
    pub used_peak_bytes: u64,
    /// Threads alive that have allocated or freed; `None` where they are not told apart.
    pub threads: Option<u64>,
    /// How many scopes there are.
    pub scopes: u64,
    /// Live bytes that count in no scope.
    pub outside_live_bytes: i64,
    /// The program noted its orderly end, in nanoseconds since 1970.
    pub ended_ns: Option<u64>,
}

/// Everything that a program publishes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// The process, as it says.
    pub pid: u32,
    /// Its parent when it began to publish.
    pub parent_pid: u32,
    /// When the process started, in the kernel's clock ticks since the machine did.
    pub started_ticks: Option<u64>,
    /// When it began to publish, in nanoseconds since 1970.
    pub started_ns: u64,
    /// How often it copies.
    pub interval: Duration,
    /// The allocator that it counts.
    pub backend: String,
    /// The path of its executable.
    pub executable: String,
    /// Its arguments.
    pub command: Vec<String>,
    /// The figures.
    pub figures: Figures,
    /// Requested bytes and size classes, of a heap that counts them.
    pub details: Option<Details>,
    /// The largest scopes with those around them, each after the one that it is in.
    pub scopes: Vec<PublishedScope>,
}

/// A scope as it was published. Live bytes may be negative: see [`scope`](crate::scope).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedScope {
    /// Its name, cut after 60 bytes.
    pub name: String,
    /// The place of the scope around it in the list.
    pub parent: Option<usize>,
    /// Live bytes, of none below it.
    pub own_live_bytes: i64,
    /// Live bytes, with all scopes below it.
    pub live_bytes: i64,
    /// The most of these that were seen.
    pub peak_live_bytes: u64,
    /// Bytes allocated, with all scopes below it.
    pub allocated_bytes: u64,
    /// Bytes freed, with all scopes below it.
    pub freed_bytes: u64,
    /// Times it, or one below it, was entered and left.
    pub entered: u64,
    /// Its soft limit.
    pub limit_bytes_soft: Option<u64>,
    /// Its hard limit.
    pub limit_bytes_hard: Option<u64>,
}

impl Reader {
    /// A reader of this file, which should be a regular one, as others may block.
    pub fn new(file: File) -> Reader {
        Reader { file }
    }

    /// The figures of the last copy. Cost: three system calls; allocates nothing.
    pub fn figures(&self) -> io::Result<Figures> {
        let mut bytes = [0; buffer::FIGURES];
        let head = self.copy(&mut bytes)?;
        Ok(figures(&head, &bytes))
    }

    /// The whole last copy.
    pub fn publication(&self) -> io::Result<Publication> {
        let mut texts = vec![0; format::HEADER_BYTES];
        self.file.read_exact_at(&mut texts, 0)?;
        let mut bytes = vec![0; buffer::BYTES];
        let head = self.copy(&mut bytes)?;
        let text = |at, most| String::from_utf8_lossy(get_text(&texts, at, most)).into_owned();
        let command = text(header::COMMAND, header::TEXT_BYTES);
        Ok(Publication {
            pid: get_small(&head, header::PID),
            parent_pid: get_small(&head, header::PARENT_PID),
            started_ticks: Some(get(&head, header::STARTED_TICKS)).filter(|&ticks| ticks != 0),
            started_ns: get(&head, header::STARTED_NS),
            interval: Duration::from_nanos(get(&head, header::INTERVAL_NS)),
            backend: text(header::BACKEND, header::BACKEND_BYTES),
            executable: text(header::EXECUTABLE, header::TEXT_BYTES),
            command: command.split_terminator('\0').map(str::to_owned).collect(),
            figures: figures(&head, &bytes),
            details: (get(&bytes, buffer::HAS_DETAILS) == 1).then(|| details(&bytes)),
            scopes: scopes(&bytes)?,
        })
    }

    /// Fills `bytes` with the start of the current buffer, as one copy left it; answers the header's figures.
    fn copy(&self, bytes: &mut [u8]) -> io::Result<[u8; header::FIGURES]> {
        const ATTEMPTS: usize = 4;
        let mut head = [0; header::FIGURES];
        for _ in 0..ATTEMPTS {
            self.file.read_exact_at(&mut head, 0)?;
            check(&head)?;
            let turn = get(&head, header::TURN);
            self.file.read_exact_at(bytes, buffer_at(turn))?;
            let mut now = [0; 8];
            self.file.read_exact_at(&mut now, header::TURN as u64)?;
            // While the header names it, this buffer is not written.
            if get(bytes, buffer::TURN) == turn && u64::from_ne_bytes(now) == turn {
                return Ok(head);
            }
        }
        Err(damaged("its copies do not hold still"))
    }
}

fn check(head: &[u8]) -> io::Result<()> {
    if get(head, header::MAGIC) != format::MAGIC || get(head, header::TURN) == 0 {
        return Err(damaged("nothing is published in it"));
    }
    let version = get_small(head, header::VERSION);
    if version != format::PUBLISHED_VERSION {
        let this = format::PUBLISHED_VERSION;
        return Err(damaged(&format!(
            "of version {version}, but this is version {this}: use the zm that belongs to it"
        )));
    }
    if get_small(head, header::FILE_BYTES) != format::FILE_BYTES as u32 {
        return Err(damaged("sizes that this version does not write"));
    }
    Ok(())
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not a published ledger: {why}"))
}

fn figures(head: &[u8], bytes: &[u8]) -> Figures {
    let totals = Totals { allocated_bytes: get(bytes, buffer::ALLOCATED), freed_bytes: get(bytes, buffer::FREED) };
    Figures {
        taken_ns: get(bytes, buffer::TAKEN_NS),
        totals,
        used_peak_bytes: get(bytes, buffer::PEAK).max(totals.live_bytes()),
        threads: Some(get(bytes, buffer::THREADS)).filter(|&threads| threads != u64::MAX),
        scopes: get(bytes, buffer::SCOPES_TOTAL),
        outside_live_bytes: get(bytes, buffer::OUTSIDE_LIVE) as i64,
        ended_ns: Some(get(head, header::ENDED_NS)).filter(|&ended| ended != 0),
    }
}

fn details(bytes: &[u8]) -> Details {
    let mut classes = [ClassTotals::default(); SIZE_CLASSES];
    for (index, class) in classes.iter_mut().enumerate() {
        let at = buffer::CLASSES + index * buffer::CLASS_BYTES;
        *class = ClassTotals {
            blocks_allocated: get(bytes, at),
            bytes_allocated: get(bytes, at + 8),
            blocks_freed: get(bytes, at + 16),
            bytes_freed: get(bytes, at + 24),
        };
    }
    let requested = Totals {
        allocated_bytes: get(bytes, buffer::REQUESTED_ALLOCATED),
        freed_bytes: get(bytes, buffer::REQUESTED_FREED),
    };
    Details { requested, classes }
}

fn scopes(bytes: &[u8]) -> io::Result<Vec<PublishedScope>> {
    let written = get(bytes, buffer::SCOPES_WRITTEN);
    if written > format::SCOPES as u64 {
        return Err(damaged("more scopes than fit"));
    }
    let scope = |index: usize| {
        let record = &bytes[buffer::SCOPES + index * scope::BYTES..][..scope::BYTES];
        let parent = get(record, scope::PARENT);
        // A scope comes after the one around it: so there are no circles.
        if parent > index as u64 {
            return Err(damaged("scopes out of order"));
        }
        let limit = |at| Some(get(record, at)).filter(|&limit| limit != u64::MAX);
        Ok(PublishedScope {
            name: String::from_utf8_lossy(get_text(record, scope::NAME, scope::NAME_BYTES)).into_owned(),
            parent: (parent > 0).then(|| parent as usize - 1),
            own_live_bytes: get(record, scope::OWN_LIVE) as i64,
            live_bytes: get(record, scope::TOTAL_LIVE) as i64,
            peak_live_bytes: get(record, scope::TOTAL_PEAK),
            allocated_bytes: get(record, scope::TOTAL_ALLOCATED),
            freed_bytes: get(record, scope::TOTAL_FREED),
            entered: get(record, scope::ENTERED),
            limit_bytes_soft: limit(scope::LIMIT_SOFT),
            limit_bytes_hard: limit(scope::LIMIT_HARD),
        })
    };
    (0..written as usize).map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    /// A file that one copy was written into.
    fn published() -> Vec<u8> {
        let mut bytes = vec![0; format::FILE_BYTES];
        format::put(&mut bytes, header::MAGIC, format::MAGIC);
        format::put_small(&mut bytes, header::VERSION, format::PUBLISHED_VERSION);
        format::put_small(&mut bytes, header::FILE_BYTES, format::FILE_BYTES as u32);
        format::put(&mut bytes, header::TURN, 1);
        format::put_text(&mut bytes, header::EXECUTABLE, b"/bin/a", header::TEXT_BYTES);
        let copy = &mut bytes[buffer_at(1) as usize..];
        format::put(copy, buffer::TURN, 1);
        format::put(copy, buffer::ALLOCATED, 5000);
        format::put(copy, buffer::FREED, 1000);
        format::put(copy, buffer::HAS_DETAILS, 1);
        format::put(copy, buffer::SCOPES_WRITTEN, 2);
        let second = &mut copy[buffer::SCOPES + scope::BYTES..];
        format::put(second, scope::PARENT, 1);
        format::put_text(second, scope::NAME, b"below", scope::NAME_BYTES);
        bytes
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn reader(name: &str, bytes: &[u8]) -> (Scratch, Reader) {
            let path = std::env::temp_dir().join(format!("zmalloc-published-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            (Scratch(path), Reader::new(file))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_copy_is_read_and_absurd_ones_are_refused() {
        let bytes = published();
        let (_scratch, reader) = Scratch::reader("read", &bytes);
        let publication = reader.publication().unwrap();
        assert_eq!(publication.figures, reader.figures().unwrap());
        assert_eq!((publication.figures.totals.live_bytes(), publication.figures.used_peak_bytes), (4000, 4000));
        assert_eq!((publication.scopes[1].name.as_str(), publication.scopes[1].parent), ("below", Some(0)));
        let copy = buffer_at(1) as usize;
        for (at, number, why) in [
            (header::MAGIC, 7, "nothing is published"),
            (header::TURN, 0, "nothing is published"),
            (header::VERSION, (format::FILE_BYTES as u64) << 32 | 99, "version 99"),
            (header::VERSION, u64::from(format::PUBLISHED_VERSION), "sizes"),
            (header::TURN, 2, "hold still"),
            (copy + buffer::SCOPES_WRITTEN, 65, "more scopes"),
            (copy + buffer::SCOPES + scope::BYTES + scope::PARENT, 2, "out of order"),
        ] {
            let mut changed = bytes.clone();
            format::put(&mut changed, at, number);
            reader.file.write_all_at(&changed, 0).unwrap();
            let error = reader.publication().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        reader.file.set_len(5000).unwrap();
        assert!(reader.figures().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            changes in proptest::collection::vec((0..format::FILE_BYTES - 8, any::<u64>()), 0..60),
            length in prop_oneof![Just(format::FILE_BYTES), 0..format::FILE_BYTES],
        ) {
            let mut bytes = published();
            for (at, number) in changes {
                format::put(&mut bytes, at, number);
            }
            let (_scratch, reader) = Scratch::reader("any", &bytes[..length]);
            let figures = reader.figures();
            if let Ok(publication) = reader.publication() {
                prop_assert_eq!(publication.figures, figures.unwrap());
                let mut scopes = publication.scopes.iter().enumerate();
                prop_assert!(scopes.all(|(index, scope)| scope.parent.is_none_or(|parent| parent < index)));
            }
        }
    }
}
