use super::*;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use zmalloc::ledger::{Identity, Segment};

/// A segment of this process, in a session directory of its own.
struct Session {
    directory: PathBuf,
    file: File,
    segment: &'static Segment,
}

impl Session {
    fn new(name: &str) -> Session {
        let directory = std::env::temp_dir().join(format!("zm-watch-{}-{name}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join(format!("{}.77.segment", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).unwrap();
        file.set_len(Segment::BYTES as u64).unwrap();
        use std::os::fd::AsRawFd;
        // SAFETY: a new shared mapping of a file of that size.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), Segment::BYTES, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: zeroed memory of that size, mapped for good, is a segment.
        let segment = unsafe { &*memory.cast::<Segment>() };
        Session { directory, file, segment }
    }

    fn publish(&self) {
        let (backend, executable, command) = (&b"forward"[..], &b"/bin/of a test"[..], &b"/usr/bin/called\0b\0"[..]);
        let pid = std::process::id();
        self.segment.publish(&Identity { pid, parent_pid: 1, started_ns: 77, backend, executable, command });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_process_appears_when_it_publishes_and_its_rate_is_what_it_allocates() {
    let session = Session::new("rate");
    let mut watch = Watch::new(Places::session(&session.directory));
    watch.refresh();
    assert_eq!((watch.processes().count(), watch.refused().count()), (0, 0));
    session.publish();
    watch.refresh();
    let process = watch.processes().next().unwrap();
    assert_eq!((process.pid, process.name(), process.rate), (std::process::id(), "called", None));
    session.segment.charge_mapped(12_345);
    std::thread::sleep(std::time::Duration::from_millis(20));
    watch.refresh();
    let process = watch.processes().next().unwrap();
    assert_eq!((process.figures.mapped, process.rate), (Some(12_345), Some(0.0)));
    assert!(process.figures.rss > 1 << 20 && process.health == Health::Good);
    assert!(watch.detail(std::process::id()).unwrap().scopes.is_empty());
    // It is about to become another program.
    session.segment.note_exec(true);
    watch.refresh();
    assert_eq!(watch.processes().count(), 0);
}

#[test]
fn absurd_and_changing_bytes_are_shown_as_damaged_and_never_end_it() {
    let session = Session::new("absurd");
    session.publish();
    let mut watch = Watch::new(Places::session(&session.directory));
    watch.refresh();
    assert_eq!(watch.processes().count(), 1);
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let header = 60;
    let mut damaged = 0;
    for round in 0..2000 {
        if round >= 60 && damaged > 0 {
            break;
        }
        for _ in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = header + (random >> 40) % 20_000;
            session.file.write_all_at(&random.to_ne_bytes(), at).unwrap();
        }
        watch.refresh();
        if round % 20 == 0 {
            let _ = watch.detail(std::process::id());
        }
        damaged += watch.processes().filter(|process| process.health != Health::Good).count();
    }
    assert!(damaged > 0);
    // Cut short, it is an error, not a signal.
    session.file.set_len(5000).unwrap();
    watch.refresh();
    let healths: Vec<_> = watch.processes().map(|process| process.health.clone()).collect();
    assert!(healths.iter().all(|health| *health != Health::Good), "{healths:?}");
}
