//! A server's run: it starts, is loaded, is left idle, and is asked to end.
//!
//! All of it happens between two looks at the server: zm has one thread, and one place where it waits.

use super::tree::{listens, resident, tree};
use crate::collect::Collector;
use crate::compare::arguments::Compare;
use crate::error::Error;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What drives the server, and what was seen of it.
pub struct Drive<'run> {
    load: &'run str,
    ready: Option<&'run str>,
    idle: Duration,
    /// How long the load may take.
    limit: Option<Duration>,
    phase: Phase,
    since: Instant,
    load_output: File,
    /// How long the load took.
    pub load_seconds: Option<f64>,
    /// The most resident memory of the server and its children, as far as seen.
    pub resident_peak: u64,
    /// Their most live bytes, as far as seen.
    pub live_peak: u64,
    /// After the idle time: resident memory, and live bytes.
    pub after: Option<(u64, u64)>,
    /// What went wrong.
    pub trouble: Option<String>,
}

enum Phase {
    Starting,
    Loading(Child),
    Idle,
    Ending,
    Killed,
}

const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Short against a load that is worth measuring, and cheap: a few files are read.
const SAMPLE_AGAIN: Duration = Duration::from_millis(100);

impl Drive<'_> {
    /// For one run of a server.
    pub fn new<'run>(arguments: &'run Compare, load: &'run str, limit: Option<Duration>) -> Result<Drive<'run>, Error> {
        let load_output =
            tempfile::tempfile().map_err(|error| Error::System("no file for the load's output can be made", error))?;
        Ok(Drive {
            load,
            ready: arguments.ready.as_deref(),
            idle: Duration::from_secs_f64(arguments.idle),
            limit,
            phase: Phase::Starting,
            since: Instant::now(),
            load_output,
            load_seconds: None,
            resident_peak: 0,
            live_peak: 0,
            after: None,
            trouble: None,
        })
    }

    /// Does what is due; says when to be called next, at the latest.
    pub fn tick(&mut self, server: u32, collector: &mut Collector) -> Duration {
        match &mut self.phase {
            Phase::Starting => {
                if self.is_ready(server) {
                    self.start_load(server)
                } else if self.since.elapsed() > READY_WITHIN {
                    let hint = if self.ready.is_some() { "" } else { "; say with --ready what tells" };
                    self.give_up(server, format!("was not ready within {} s{hint}", READY_WITHIN.as_secs()))
                } else {
                    LOOK_AGAIN
                }
            }
            Phase::Loading(load) => {
                let ended = load.try_wait();
                let took = self.since.elapsed();
                self.sample(server, collector);
                match ended {
                    Ok(Some(status)) if status.success() => {
                        self.load_seconds = Some(took.as_secs_f64());
                        self.enter(Phase::Idle);
                        SAMPLE_AGAIN.min(self.idle)
                    }
                    Ok(Some(status)) => {
                        let words = last_words(&mut self.load_output);
                        self.give_up(server, format!("lets the load fail ({status}){words}"))
                    }
                    _ if self.limit.is_some_and(|limit| took > limit) => {
                        self.give_up(server, format!("lets the load take more than {} s", took.as_secs()))
                    }
                    _ => SAMPLE_AGAIN,
                }
            }
            Phase::Idle if self.since.elapsed() < self.idle => {
                SAMPLE_AGAIN.min(self.idle.saturating_sub(self.since.elapsed()))
            }
            Phase::Idle => {
                self.after = Some(self.sample(server, collector));
                self.end(server)
            }
            Phase::Ending if self.since.elapsed() > END_WITHIN => {
                self.trouble.get_or_insert(format!("did not end within {} s of SIGTERM", END_WITHIN.as_secs()));
                send(server, libc::SIGKILL);
                self.enter(Phase::Killed);
                collector.tick()
            }
            Phase::Ending | Phase::Killed => collector.tick().min(SAMPLE_AGAIN),
        }
    }

    /// Whether the server was driven through to its end; otherwise it ended by itself.
    pub fn is_through(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Killed)
    }

    fn is_ready(&self, server: u32) -> bool {
        match self.ready {
            Some(command) => {
                shell(command).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
            }
            None => listens(&tree(server)),
        }
    }

    fn start_load(&mut self, server: u32) -> Duration {
        let output = || self.load_output.try_clone();
        let load = output().and_then(|out| shell(self.load).stdout(out).stderr(output()?).spawn());
        match load {
            Ok(load) => {
                self.enter(Phase::Loading(load));
                SAMPLE_AGAIN
            }
            Err(error) => self.give_up(server, format!("has no load: it cannot be started: {error}")),
        }
    }

    fn sample(&mut self, server: u32, collector: &mut Collector) -> (u64, u64) {
        collector.tick();
        let (resident, live) = (resident(&tree(server)), collector.live_bytes());
        self.resident_peak = self.resident_peak.max(resident);
        self.live_peak = self.live_peak.max(live);
        (resident, live)
    }

    fn give_up(&mut self, server: u32, why: String) -> Duration {
        self.trouble = Some(why);
        self.end(server)
    }

    fn end(&mut self, server: u32) -> Duration {
        send(server, libc::SIGTERM);
        self.enter(Phase::Ending);
        LOOK_AGAIN
    }

    fn enter(&mut self, phase: Phase) {
        self.end_load();
        self.phase = phase;
        self.since = Instant::now();
    }

    /// A load that still runs is of no use any more.
    fn end_load(&mut self) {
        if let Phase::Loading(load) = &mut self.phase {
            let _ = load.kill();
            let _ = load.wait();
        }
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        self.end_load();
    }
}

/// A command in a shell, in zm's own environment.
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    shell
}

/// To a child that was not yet waited for, so its pid is still its own.
pub fn send(pid: u32, signal: libc::c_int) {
    // SAFETY: numbers only.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// The end of what was written, to show why something failed.
pub fn last_words(file: &mut File) -> String {
    const BYTES: u64 = 4096;
    let mut text = Vec::new();
    let start = file.metadata().map_or(0, |file| file.len().saturating_sub(BYTES));
    let read = file.seek(std::io::SeekFrom::Start(start)).and_then(|_| file.take(BYTES).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) if read.is_ok() => format!(": {}", line.chars().take(200).collect::<String>()),
        _ => String::new(),
    }
}
