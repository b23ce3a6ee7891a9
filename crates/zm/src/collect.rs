//! Reading what the processes of a run wrote: while it goes on, of those that are gone, so that a tree of thousands
//! does not fill memory; at the end, of all.

use crate::session::open_regular;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zmalloc::ledger::Snapshot;
use zmalloc::publish::{self, Publication};

/// Watches a session's directory.
///
/// A segment is final when its process is gone, or has become another program, which has a segment of its own. Both
/// are decided by a listing made after the process was looked at, so no image is missed and none is taken for another.
pub struct Collector {
    directory: PathBuf,
    images: HashMap<Key, Watched>,
    done: Vec<Image>,
    /// Files in which programs publish, as of the last listing.
    published: Vec<Key>,
    unreadable: Vec<io::Error>,
    pause: Duration,
}

/// A program that a process is or was: the process, and when it became this.
type Key = (u32, u64);

/// What was seen of an image that goes on.
#[derive(Default)]
struct Watched {
    liveness: Option<Liveness>,
    /// The most that was seen of its resident memory.
    resident_peak: Option<u64>,
}

/// A segment, and what was seen of its process from outside.
#[derive(Debug)]
pub struct Image {
    /// What it wrote.
    pub snapshot: Snapshot,
    /// How it ended.
    pub end: End,
    /// When it ended, in nanoseconds since 1970; of a running one, now.
    pub ended_ns: u64,
    /// The most resident memory that was seen while it ran.
    pub resident_peak_seen: Option<u64>,
    /// What the program said of a heap of its own.
    pub published: Option<Publication>,
}

/// How an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It left in order.
    Exit,
    /// Its process became another program.
    Exec,
    /// A signal ended it.
    Killed,
    /// Its process became a program that is not counted; or, of the program itself, exited without a word.
    Replaced,
    /// It was gone without a word, and its exit status is not known here: killed, or ended past the C library.
    Unknown,
    /// It still runs.
    Running,
}

/// Everything that was collected.
pub struct Collected {
    /// All images, the earliest first.
    pub images: Vec<Image>,
    /// Why segments could not be read.
    pub unreadable: Vec<io::Error>,
    /// Processes of the run that go on without a segment, as far as they can be told.
    pub running_unseen: usize,
}

/// Looks, 2 ms apart, for processes that were just born.
const STARTS_WAITED_FOR: usize = 25;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_USUAL: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// A look takes at most one part in so many of one processor's time.
const COST_PART: u32 = 50;

impl Collector {
    /// A collector of the segments in `directory`.
    pub fn new(directory: &Path) -> Collector {
        Collector {
            directory: directory.to_owned(),
            images: HashMap::new(),
            done: Vec::new(),
            published: Vec::new(),
            unreadable: Vec::new(),
            pause: PAUSE_FIRST,
        }
    }

    /// Looks once; says when to look again: soon at first, then seldom, and the more seldom the more there is to see.
    pub fn tick(&mut self) -> Duration {
        let started = Instant::now();
        self.look();
        let cost = started.elapsed() * COST_PART;
        let next = self.pause.max(cost).min(PAUSE_LONGEST);
        self.pause = (self.pause + self.pause / 8).min(PAUSE_USUAL);
        next
    }

    /// The bytes that are live in all processes that were there at the last look.
    pub fn live_bytes(&self) -> u64 {
        let alive = self.images.keys().filter(|key| Liveness::of(key.0).is_alive());
        let snapshots = alive.filter_map(|&key| read(&self.directory.join(file_name(key)), key).ok());
        snapshots.fold(0, |sum: u64, snapshot| sum.saturating_add(snapshot.totals.live_bytes()))
    }

    fn look(&mut self) {
        let now = now_ns();
        let mut gone = HashSet::new();
        let mut peaks = Vec::new();
        for (&key, watched) in &mut self.images {
            let liveness = Liveness::of(key.0);
            // The same pid with another start is somebody else's process.
            let same = watched.liveness.is_none_or(|first| first == liveness);
            watched.liveness.get_or_insert(liveness);
            if !liveness.is_alive() || !same {
                gone.insert(key);
            } else if let Some(peak) = resident_peak(key.0) {
                peaks.push((key, peak));
            }
        }

        let latest = self.list();
        for (key, peak) in peaks {
            // Otherwise the sample may be that of the next image.
            if latest.get(&key.0) == Some(&key.1)
                && let Some(watched) = self.images.get_mut(&key)
            {
                watched.resident_peak = watched.resident_peak.max(Some(peak));
            }
        }
        let replaced = |key: &Key| latest.get(&key.0).filter(|&&later| later > key.1).copied();
        let final_ones: Vec<Key> =
            self.images.keys().copied().filter(|key| replaced(key).is_some() || gone.contains(key)).collect();
        for key in final_ones {
            let Some(watched) = self.images.remove(&key) else { continue };
            let path = self.directory.join(file_name(key));
            match read(&path, key) {
                Ok(snapshot) => {
                    let (end, ended_ns) = match (replaced(&key), snapshot.ended_ns) {
                        (Some(later), noted) => (End::Exec, noted.unwrap_or(later)),
                        (None, Some(noted)) => (End::Exit, noted),
                        (None, None) if snapshot.notes.exec => (End::Replaced, now),
                        (None, None) => (End::Unknown, now),
                    };
                    // Samples may be those of the program that it became.
                    let resident_peak_seen = watched.resident_peak.filter(|_| !snapshot.notes.exec || end == End::Exec);
                    let published = self.take_published(key, replaced(&key), true);
                    self.done.push(Image { snapshot, end, ended_ns, resident_peak_seen, published });
                }
                Err(error) => self.note_unreadable(error),
            }
            let _ = fs::remove_file(path);
        }
    }

    /// Takes new images in; says which is the latest of each process.
    fn list(&mut self) -> HashMap<u32, u64> {
        let mut latest = HashMap::new();
        let Ok(entries) = fs::read_dir(&self.directory) else { return latest };
        self.published.clear();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(key) = name.to_str().and_then(parse_file_name) else {
                self.published.extend(name.to_str().and_then(publish::parse_file_name));
                continue;
            };
            self.images.entry(key).or_default();
            let last = latest.entry(key.0).or_insert(key.1);
            *last = key.1.max(*last);
        }
        latest
    }

    /// Collects the rest, once the program that ran as the process `program` has ended.
    pub fn finish(mut self, program: u32) -> Collected {
        // The first look finds what appeared last, the second sees whether it is gone.
        self.look();
        self.look();
        // A child may be between its birth and its segment, when the directory must not go away under it.
        let mut unseen = self.unseen(program);
        for _ in 0..STARTS_WAITED_FOR {
            if unseen.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
            self.look();
            unseen.retain(|&pid| Liveness::of(pid).is_alive() && !self.has_image_of(pid));
        }
        let now = now_ns();
        for (key, watched) in std::mem::take(&mut self.images) {
            match read(&self.directory.join(file_name(key)), key) {
                Ok(snapshot) => self.done.push(Image {
                    snapshot,
                    end: End::Running,
                    ended_ns: now,
                    resident_peak_seen: watched.resident_peak.max(resident_peak(key.0)),
                    published: self.take_published(key, None, false),
                }),
                // It may be about to publish.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable.extend(not_just_starting(error)),
            }
        }
        self.done.sort_by_key(|image| (image.snapshot.started_ns, image.snapshot.pid));
        Collected { images: self.done, unreadable: self.unreadable, running_unseen: unseen.len() }
    }

    /// What an image published: after it began, and before the process's `next` one. Of one that is `gone` the file is
    /// not needed any more.
    fn take_published(&self, (pid, started_ns): Key, next: Option<u64>, gone: bool) -> Option<Publication> {
        let of_image = |key: &&Key| key.0 == pid && key.1 >= started_ns && next.is_none_or(|next| key.1 < next);
        let &(_, published_ns) = self.published.iter().filter(of_image).max()?;
        let path = self.directory.join(publish::file_name(pid, published_ns));
        let said = open_regular(&path).and_then(|file| publish::Reader::new(file).publication()).ok();
        if gone {
            let _ = fs::remove_file(path);
        }
        said
    }

    fn has_image_of(&self, pid: u32) -> bool {
        self.images.keys().any(|key| key.0 == pid)
    }

    /// Processes that were started with this session in their environment and have no segment.
    fn unseen(&self, program: u32) -> Vec<u32> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        // Pids grow until they start again from below.
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let last = load.split_ascii_whitespace().last().and_then(|last| last.parse::<u32>().ok()).unwrap_or(0);
        let is_later = |pid: u32| if last >= program { pid > program } else { pid > program || pid <= last };
        let session = self.directory.as_os_str().as_bytes();
        let mut session_line = format!("\0{}=", zmalloc::ledger::SESSION_VARIABLE).into_bytes();
        session_line.extend(session);
        session_line.push(0);
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| {
            let of_ours = || {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.windows(session_line.len()).any(|part| part == session_line)
            };
            is_later(pid) && !self.has_image_of(pid) && of_ours() && Liveness::of(pid).is_alive()
        })
        .collect()
    }

    fn note_unreadable(&mut self, error: io::Error) {
        self.unreadable.extend(not_just_starting(error));
    }
}

/// A process that ended before it published has counted nothing: that is no error.
fn not_just_starting(error: io::Error) -> Option<io::Error> {
    use zmalloc::ledger::SegmentError;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<SegmentError>());
    (inner != Some(&SegmentError::NotPublished)).then_some(error)
}

fn read(path: &Path, key: Key) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::read(&mut open_regular(path)?)?;
    // The name is what the process was watched by; a file that says otherwise is not to be believed.
    snapshot.pid = key.0;
    snapshot.started_ns = key.1;
    Ok(snapshot)
}

fn file_name((pid, started_ns): Key) -> String {
    format!("{pid}.{started_ns}.segment")
}

/// The process, and its start, that a segment's file is named for.
pub fn parse_file_name(name: &str) -> Option<Key> {
    let (pid, started_ns) = name.strip_suffix(".segment")?.split_once('.')?;
    let key = (pid.parse().ok().filter(|&pid| pid > 0 && pid <= i32::MAX as u32)?, started_ns.parse().ok()?);
    // Only the name that we would write ourselves.
    (file_name(key) == name).then_some(key)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// Whether a process is there, and which one of those that had its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// There is none, or only its exit status is left.
    Gone,
    /// It runs, and started at this clock tick after the machine.
    Alive(u64),
}

impl Liveness {
    /// Looks at a process.
    pub fn of(pid: u32) -> Liveness {
        let Ok(text) = fs::read(format!("/proc/{pid}/stat")) else { return Liveness::Gone };
        // The name, in parentheses, may hold anything; after it the fields are plain, from the state on.
        let after = text.iter().rposition(|&byte| byte == b')').map_or(&[][..], |end| &text[end + 1..]);
        let after = String::from_utf8_lossy(after);
        let mut fields = after.split_ascii_whitespace();
        let state = fields.next().unwrap_or("X");
        let threads = fields.nth(16).and_then(|threads| threads.parse::<u64>().ok()).unwrap_or(0);
        let started = fields.nth(1).and_then(|started| started.parse().ok()).unwrap_or(0);
        // A process whose first thread has ended looks like a zombie while its other threads go on.
        let gone = state == "X" || (state == "Z" && threads <= 1);
        if gone { Liveness::Gone } else { Liveness::Alive(started) }
    }

    /// Whether it runs.
    pub fn is_alive(self) -> bool {
        self != Liveness::Gone
    }
}

/// The most resident memory that the process's program has had so far, in bytes.
fn resident_peak(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(parse_file_name("12.345.segment"), Some((12, 345)));
        for name in ["0.1.segment", "012.1.segment", "1.+1.segment", "1.segment", "a.1.segment", "1.1.segment~", "."] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
        assert_eq!(parse_file_name("4294967295.1.segment"), None);
    }

    #[test]
    fn processes_are_seen_to_live_and_to_be_gone() {
        let own = Liveness::of(std::process::id());
        assert!(own.is_alive());
        assert_eq!(own, Liveness::of(std::process::id()));
        assert!(resident_peak(std::process::id()).unwrap() > 100_000);
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Liveness::of(pid).is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!Liveness::of(pid).is_alive(), "a zombie is gone");
        child.wait().unwrap();
        assert!(!Liveness::of(pid).is_alive());
    }

    #[test]
    fn what_hostile_hands_put_into_the_directory_is_survived() {
        let directory = std::env::temp_dir().join(format!("zm-collect-{}", std::process::id()));
        fs::create_dir_all(directory.join("7.1.segment")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.join("999999999.2.segment")).unwrap();
        fs::write(directory.join("999999999.3.segment"), []).unwrap();
        fs::write(directory.join("999999998.3.segment"), vec![0xff; 100_000]).unwrap();
        let mut magic = b"zmalloc\x01".to_vec();
        magic.extend([0xff; 50]);
        fs::write(directory.join("999999997.3.segment"), magic).unwrap();
        let fifo = std::ffi::CString::new(directory.join("999999996.3.segment").to_str().unwrap()).unwrap();
        // SAFETY: a path that ends.
        unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) };
        let mut collector = Collector::new(&directory);
        collector.tick();
        collector.tick();
        let collected = collector.finish(1);
        assert!(collected.images.is_empty());
        assert!(collected.unreadable.len() >= 2, "{:?}", collected.unreadable);
        fs::remove_dir_all(directory).unwrap();
    }
}
