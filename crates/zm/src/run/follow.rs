//! What is done while the program runs: collecting ledgers of processes that are gone, and looking at those that are not.

use super::Outcome;
use super::attend::Attend;
use super::status::{Now, Status};
use super::stopped::Stopped;
use crate::cli::{AtLimit, Run};
use crate::collect::{Collected, Collector};
use crate::record::Recorder;
use crate::report::timeline::{Sample, Timeline};
use crate::watch::{self, Places, Watch};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that goes on beside the program.
pub struct Follow {
    collect_at: Instant,
    started: Instant,
    /// From the program's start.
    watch: Option<Watch>,
    timeline: Option<Every<Timeline>>,
    recorder: Option<Every<Recorder>>,
    status: Option<Every<Status>>,
    used_peak: u64,
    /// Who was stopped at a limit, if that is done then.
    at_limit: Option<Every<Stopped>>,
    /// Of what runs, once it does.
    run: Option<Running>,
}

/// What a recorder begins with.
struct Running {
    session: PathBuf,
    program: Vec<OsString>,
    pid: u32,
}

/// The file of a session that names another one to record in: see `zm set`.
pub const RECORD_REQUEST: &str = "record.request";
/// The file that says why that is not done.
pub const RECORD_REFUSED: &str = "record.refused";

/// Something that is due again and again.
struct Every<T> {
    what: T,
    interval: Duration,
    at: Instant,
}

impl<T> Every<T> {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + self.interval;
        }
        due
    }
}

const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// A shorter program gets no line.
const STATUS_FIRST: Duration = Duration::from_secs(1);
const RECORD_INTERVAL: Duration = Duration::from_millis(250);

impl Follow {
    pub fn new(arguments: &Run, recorder: Option<Recorder>) -> Follow {
        let now = Instant::now();
        let asked = arguments.interval.map(Duration::from_millis);
        let recorded = asked.unwrap_or(RECORD_INTERVAL);
        let status = if arguments.quiet { None } else { Status::new() };
        Follow {
            collect_at: now,
            started: now,
            watch: None,
            timeline: asked.map(|interval| Every { what: Timeline::new(interval.as_secs_f64()), interval, at: now }),
            recorder: recorder.map(|what| Every { what, interval: recorded, at: now }),
            status: status.map(|what| Every { what, interval: STATUS_INTERVAL, at: now + STATUS_FIRST }),
            used_peak: 0,
            at_limit: (arguments.at_limit == AtLimit::Stop).then(|| Every {
                what: Stopped::new(arguments.limit_tree.is_some()),
                interval: STATUS_INTERVAL,
                at: now,
            }),
            run: None,
        }
    }

    /// Begins to record where somebody asked for it.
    fn record_if_asked(&mut self, now: Instant) {
        let Some(run) = &self.run else { return };
        let request = run.session.join(RECORD_REQUEST);
        let Ok(path) = fs::read(&request) else { return };
        let path = PathBuf::from(OsString::from_vec(path));
        let recorder = match &self.recorder {
            Some(_) => Err("this run is recorded already".to_owned()),
            None => Recorder::create(&path).map_err(|error| error.to_string()),
        };
        match recorder {
            Ok(mut recorder) => {
                recorder.begin(&run.program, run.pid, self.started);
                let interval = self.timeline.as_ref().map_or(RECORD_INTERVAL, |every| every.interval);
                self.recorder = Some(Every { what: recorder, interval, at: now });
            }
            // Who asked reads it; nobody else can be told.
            Err(why) => _ = fs::write(run.session.join(RECORD_REFUSED), why),
        }
        let _ = fs::remove_file(&request);
    }

    /// Looks at the processes, for whoever is due.
    fn look(&mut self, now: Instant) {
        let due = (
            self.timeline.as_mut().is_some_and(|every| every.is_due(now)),
            self.recorder.as_mut().is_some_and(|every| every.is_due(now)),
            self.status.as_mut().is_some_and(|every| every.is_due(now)),
        );
        let looks_for_stopped = self.at_limit.as_mut().is_some_and(|every| every.is_due(now));
        let is_due = looks_for_stopped || due != (false, false, false);
        let Some(watch) = self.watch.as_mut().filter(|_| is_due) else { return };
        watch.refresh();
        if let Some(every) = self.at_limit.as_mut().filter(|_| looks_for_stopped) {
            if let Some(status) = &mut self.status {
                status.what.hide();
            }
            every.what.tell(watch);
        }
        let mut sample = Sample {
            seconds: self.started.elapsed().as_secs_f64(),
            processes: 0,
            used_bytes: 0,
            mapped_bytes: 0,
            rss_bytes: 0,
        };
        let mut rate = 0.0;
        for process in watch.processes() {
            let figures = &process.figures;
            sample.processes += 1;
            // A hostile segment may say anything.
            sample.used_bytes = sample.used_bytes.saturating_add(figures.used);
            sample.mapped_bytes = sample.mapped_bytes.saturating_add(figures.mapped.unwrap_or(0));
            sample.rss_bytes = sample.rss_bytes.saturating_add(figures.rss);
            rate += process.rate.unwrap_or(0.0);
        }
        self.used_peak = self.used_peak.max(sample.used_bytes);
        if let Some(every) = self.timeline.as_mut().filter(|_| due.0) {
            every.what.push(sample);
        }
        if let Some(every) = self.recorder.as_mut().filter(|_| due.1) {
            every.what.record(watch, &sample);
        }
        if let Some(every) = self.status.as_mut().filter(|_| due.2) {
            every.what.show(&Now {
                processes: sample.processes as usize,
                used: sample.used_bytes,
                used_peak: self.used_peak,
                rss: sample.rss_bytes,
                rate,
                seconds: sample.seconds,
            });
        }
    }
}

impl Attend for Follow {
    fn begin(&mut self, session: &Path, program: &[OsString], pid: u32) {
        self.started = Instant::now();
        self.watch = Some(Watch::new(Places::session(session)));
        watch::allow_many_files();
        self.run = Some(Running { session: session.to_owned(), program: program.to_vec(), pid });
        if let Some(recorder) = &mut self.recorder {
            recorder.what.begin(program, pid, self.started);
        }
    }

    fn tick(&mut self, _: u32, collector: &mut Collector) -> Duration {
        let now = Instant::now();
        self.record_if_asked(now);
        self.look(now);
        if now >= self.collect_at {
            self.collect_at = now + collector.tick();
        }
        let dues = [
            Some(self.collect_at),
            self.timeline.as_ref().map(|every| every.at),
            self.recorder.as_ref().map(|every| every.at),
            self.status.as_ref().map(|every| every.at),
            self.at_limit.as_ref().map(|every| every.at),
        ];
        let next = dues.into_iter().flatten().min().unwrap_or(now);
        next.saturating_duration_since(Instant::now())
    }

    fn stopped(&mut self) {
        if let Some(status) = &mut self.status {
            status.what.hide();
        }
    }

    fn end(&mut self, outcome: Outcome, collected: &Collected) -> Option<Timeline> {
        // The status line is gone before the report.
        self.status = None;
        if let Some(recorder) = &mut self.recorder {
            recorder.what.end(outcome, collected);
        }
        self.timeline.take().map(|every| every.what)
    }
}
