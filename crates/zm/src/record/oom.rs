//! Whether an end looks like one by the kernel's OOM killer: what is known, and what is guessed from it.

use super::format::{Counters, End, Frame, Start};
use crate::collect::Liveness;
use crate::format::bytes;
use serde::Serialize;
use std::fs;

impl Counters {
    /// As they are now.
    pub fn now() -> Counters {
        let cgroup = zmalloc::process::cgroup_memory();
        let machine = fs::read_to_string("/proc/vmstat").unwrap_or_default();
        let machine = machine.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        Counters {
            cgroup_oom_kills: cgroup.oom_kills,
            machine_oom_kills: machine,
            cgroup_used_bytes: cgroup.used.map(|bytes| bytes as u64),
        }
    }
}

/// Which start of the machine this is.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// How sure it is that the kernel killed the program for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The counter of its cgroup rose, and it ended by SIGKILL.
    OomKill,
    /// The machine's counter rose, and it ended by SIGKILL.
    LikelyOomKill,
    /// It ended by SIGKILL near its limit, and no counter tells.
    PossibleOomKill,
    /// SIGKILL, and nothing points to the kernel.
    OtherKill,
    /// The program ended otherwise, but a process of its tree may have been killed for want of memory.
    ChildOomKill,
    NoOomKill,
    /// zm was gone before the program's end.
    Unknown,
    /// It still runs.
    Running,
}

/// The word, and the reasons.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub word: Word,
    pub known: Vec<String>,
    pub guessed: Vec<String>,
}

/// This part of the limit is near it.
const NEAR: f64 = 0.9;

/// Judges a recording; `now` are the counters, and the start of the machine, of the moment it is read.
pub fn judge(start: &Start, last: Option<&Frame>, end: Option<&End>, now: (&Counters, &str)) -> Verdict {
    let mut known = Vec::new();
    let mut guessed = Vec::new();
    let same_boot = start.boot_id == now.1;
    let killed = end.is_some_and(|end| end.signal == Some(libc::SIGKILL));
    let zm_runs = end.is_none() && same_boot && Liveness::of(start.zm_pid).is_alive();
    // Of an end that zm saw, up to then; else the machine's, up to now.
    let rose = |of: fn(&Counters) -> Option<u64>, until: &Counters, since: &Counters| {
        Some(of(until)?.saturating_sub(of(since)?)).filter(|&count| count > 0)
    };
    let (cgroup, machine) = match end {
        Some(end) => (
            rose(|counters| counters.cgroup_oom_kills, &end.counters, &start.counters),
            rose(|counters| counters.machine_oom_kills, &end.counters, &start.counters),
        ),
        None if same_boot => (
            None,
            rose(|counters| counters.machine_oom_kills, now.0, last.map_or(&start.counters, |last| &last.counters)),
        ),
        None => (None, None),
    };
    if let Some(count) = cgroup {
        known.push(format!("the kernel killed {count} of its cgroup's processes for want of memory meanwhile"));
    }
    if let Some(count) = machine {
        let when = if end.is_some() { "meanwhile" } else { "since the last sample" };
        known.push(format!("the kernel killed {count} of this machine's processes for want of memory {when}"));
    }
    let near = last.and_then(|last| {
        let limit = start.memory_limit_bytes.filter(|&limit| limit > 0)?;
        let used = last.rss_bytes.max(last.counters.cgroup_used_bytes.unwrap_or(0));
        known.push(format!("at the last sample {} of a limit of {} were in use", bytes(used), bytes(limit)));
        Some(used as f64 >= limit as f64 * NEAR)
    });
    let near = near.unwrap_or(false);
    let lost = end.map_or(0, |end| end.processes_lost);
    let word = match end {
        None if zm_runs => Word::Running,
        None if machine.is_some() => {
            guessed.push("that zm, which did not see the end, and the program were among those killed".to_owned());
            Word::LikelyOomKill
        }
        None if near => {
            guessed.push("that memory ran out: no counter tells, and zm did not see the end".to_owned());
            Word::PossibleOomKill
        }
        None => {
            known.push("zm was gone before it saw the program's end: by SIGKILL, or with the machine".to_owned());
            Word::Unknown
        }
        Some(_) if killed && cgroup.is_some() => {
            guessed.push("that the program was the one that was killed: it ended by SIGKILL".to_owned());
            Word::OomKill
        }
        Some(_) if killed && machine.is_some() => {
            guessed.push(
                "that the program was among those killed: it ended by SIGKILL, but its cgroup does not count"
                    .to_owned(),
            );
            Word::LikelyOomKill
        }
        Some(end) if killed && near && end.counters.machine_oom_kills.is_none() => {
            guessed.push("that it was the kernel: the limit was near, and no counter can be read".to_owned());
            Word::PossibleOomKill
        }
        Some(_) if killed => {
            known.push("it ended by SIGKILL, and no counter of the kernel's OOM killer rose".to_owned());
            guessed.push(
                "that somebody else sent it: a person, a supervisor, or a daemon like earlyoom or systemd-oomd"
                    .to_owned(),
            );
            Word::OtherKill
        }
        Some(_) if lost > 0 && (cgroup.is_some() || machine.is_some()) => {
            known.push(format!("{lost} of its processes were gone without a word"));
            guessed.push("that the kernel killed one of those".to_owned());
            Word::ChildOomKill
        }
        Some(_) => Word::NoOomKill,
    };
    Verdict { word, known, guessed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(cgroup: Option<u64>, machine: Option<u64>) -> Counters {
        Counters { cgroup_oom_kills: cgroup, machine_oom_kills: machine, cgroup_used_bytes: None }
    }

    #[test]
    fn the_word_follows_from_what_is_known() {
        let start = Start {
            boot_id: "boot".to_owned(),
            // Nobody's.
            zm_pid: u32::MAX,
            memory_limit_bytes: Some(1000),
            counters: counters(Some(5), Some(7)),
            ..Start::default()
        };
        let end = |signal, cgroup, machine, processes_lost| End {
            signal,
            counters: counters(cgroup, machine),
            processes_lost,
            ..End::default()
        };
        let full = Frame { rss_bytes: 950, counters: counters(Some(5), Some(7)), ..Frame::default() };
        let kill = Some(libc::SIGKILL);
        let same = counters(Some(5), Some(7));
        for (end, now, word) in [
            (Some(end(kill, Some(6), Some(8), 1)), &same, Word::OomKill),
            (Some(end(kill, Some(5), Some(8), 1)), &same, Word::LikelyOomKill),
            (Some(end(kill, None, None, 1)), &same, Word::PossibleOomKill),
            (Some(end(kill, Some(5), Some(7), 1)), &same, Word::OtherKill),
            (Some(end(None, Some(6), Some(8), 1)), &same, Word::ChildOomKill),
            (Some(end(None, Some(6), Some(8), 0)), &same, Word::NoOomKill),
            (Some(end(Some(libc::SIGSEGV), Some(5), Some(7), 1)), &same, Word::NoOomKill),
            (None, &counters(None, Some(9)), Word::LikelyOomKill),
            (None, &same, Word::PossibleOomKill),
        ] {
            let verdict = judge(&start, Some(&full), end.as_ref(), (now, "boot"));
            assert_eq!(verdict.word, word, "{verdict:?}");
        }
        // Another start of the machine, whose counters began anew.
        let far = Frame { rss_bytes: 10, ..full };
        assert_eq!(judge(&start, Some(&far), None, (&counters(None, Some(99)), "other")).word, Word::Unknown);
        let here = Start { zm_pid: std::process::id(), ..start };
        assert_eq!(judge(&here, None, None, (&same, "boot")).word, Word::Running);
    }
}
