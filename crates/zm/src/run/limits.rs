//! What the processes of a run may have: each by itself, and all of them together.

use super::launch::Change;
use crate::cli::{AtLimit, Run};
use crate::error::Error;
use crate::format;
use crate::report::{Report, TreeLimit, TreeRefusal};
use crate::session::Session;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use zmalloc::ledger::{AT_LIMIT_VARIABLE, LIMIT_MAPPED_VARIABLE, LIMIT_VARIABLE, TREE_BUDGET_FILE, TreeBudget};

/// The limits of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    each: Option<u64>,
    tree: Option<u64>,
    at_limit: AtLimit,
    mapped: bool,
}

impl Limits {
    /// Those of the command line.
    pub fn of(arguments: &Run) -> Limits {
        Limits {
            each: arguments.limit,
            tree: arguments.limit_tree,
            at_limit: arguments.at_limit,
            mapped: arguments.limit_mapped,
        }
    }

    /// What is asked for limits where none is.
    pub fn without_effect(&self) -> Option<&'static str> {
        let is_asked = self.mapped || self.at_limit != AtLimit::Refuse;
        (is_asked && self.each.is_none() && self.tree.is_none()).then_some(
            "nothing is limited: --at-limit and --limit-mapped are for --limit, --limit-tree, and what `zm set` limits later",
        )
    }

    /// What the program's environment gets. What an outer zm set is not this one's.
    pub fn variables(&self) -> Vec<Change> {
        let at_limit = match self.at_limit {
            AtLimit::Refuse => None,
            AtLimit::Report => Some("report"),
            AtLimit::Stop => Some("stop"),
            AtLimit::Kill => Some("kill"),
        };
        vec![
            (LIMIT_VARIABLE.into(), self.each.map(|bytes| bytes.to_string().into())),
            (AT_LIMIT_VARIABLE.into(), at_limit.map(OsString::from)),
            (LIMIT_MAPPED_VARIABLE.into(), self.mapped.then(|| "1".into())),
        ]
    }

    /// Makes the budget of the tree, before anything runs.
    pub fn prepare(&self, session: &Session) -> Result<Option<Tree>, Error> {
        let Some(bytes) = self.tree else { return Ok(None) };
        let started_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        let budget = Tree::create(session, bytes)
            .map_err(|error| Error::System("the tree's budget cannot be made in the session's directory", error))?;
        Ok(Some(Tree { budget, started_ns }))
    }

    /// Says what the limits refused.
    pub fn note(&self, report: &mut Report, tree: Option<&Tree>) {
        if let Some(bytes) = self.each {
            report.limit_bytes = Some(bytes);
        }
        let refused = report.processes.iter().any(|process| process.refusals > 0);
        report.at_limit = (self.each.is_some() || self.tree.is_some() || refused).then_some(self.at_limit.name());
        let (mut remarks, tree) = (Vec::new(), tree.map(Tree::seen));
        if let Some(tree) = &tree {
            remarks.push(tree_remark(tree, report));
        }
        if self.each.is_some() || tree.is_some() || refused {
            remarks.extend(self.process_remarks(report));
            if !report.not_counted.is_empty() {
                remarks.push("the limit does not hold for what is not counted".to_owned());
            }
        }
        report.tree_limit = tree;
        report.remarks.extend(remarks);
    }

    fn process_remarks(&self, report: &Report) -> Vec<String> {
        let limit = match (self.each, self.tree) {
            (Some(bytes), None) => format!("the limit of {}", format::bytes(bytes)),
            _ => "a limit".to_owned(),
        };
        let refused = report.processes.iter().filter(|process| process.refusals > 0);
        let remarks = refused.map(|process| {
            let (name, pid, count) = (process.name(), process.pid, process.refusals);
            let limit = match process.limit_set_bytes {
                Some(bytes) => format!("the limit of {}, by `zm set`,", format::bytes(bytes)),
                None => limit.clone(),
            };
            let requests =
                if count == 1 { "a request".to_owned() } else { format!("{} requests", format::count(count)) };
            let first = process.refused_first_seconds.map_or(String::new(), |at| {
                let first = if count == 1 { "" } else { "the first " };
                format!(", {first}after {}", format::seconds(at))
            });
            match self.at_limit {
                AtLimit::Refuse => format!("{name} ({pid}): {limit} refused {requests}{first}"),
                AtLimit::Stop => format!("{name} ({pid}): {limit} stopped it, and was reached by {requests}{first}"),
                AtLimit::Kill => format!("{name} ({pid}): {limit} killed it{first}"),
                AtLimit::Report => {
                    let at = process
                        .refused_first_seconds
                        .map_or(String::new(), |at| format!(" after {}", format::seconds(at)));
                    format!("{name} ({pid}): {limit} was reached{at}, and nothing refused from then on")
                }
            }
        });
        let mut remarks: Vec<String> = remarks.collect();
        if remarks.is_empty() && self.each.is_some() {
            remarks.push(format!("{limit} refused nothing"));
        }
        remarks
    }
}

fn tree_remark(tree: &TreeLimit, report: &Report) -> String {
    let limit = format::bytes(tree.bytes);
    let Some(first) = &tree.refused_first else { return format!("the tree's limit of {limit} refused nothing") };
    let name = |pid: u32| {
        let process = report.processes.iter().rev().find(|process| process.pid == pid);
        process.map_or(format!("process {pid}"), |process| format!("{} ({pid})", process.name()))
    };
    format!(
        "the tree's limit of {limit} was reached after {}: {} wanted {} more, while {} held the most, {}",
        format::seconds(first.seconds),
        name(first.pid),
        format::bytes(first.wanted_bytes),
        name(first.largest_pid),
        format::bytes(first.largest_bytes)
    )
}

/// The budget that all processes of a run share.
pub struct Tree {
    budget: &'static TreeBudget,
    started_ns: u64,
}

impl Tree {
    fn create(session: &Session, bytes: u64) -> io::Result<&'static TreeBudget> {
        let path = session.directory().join(TREE_BUDGET_FILE);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        // With memory for all of it: a process that finds none behind its share would be killed.
        // SAFETY: an open file.
        let allocated = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, TreeBudget::BYTES as libc::off_t) };
        if allocated != 0 {
            return Err(io::Error::from_raw_os_error(allocated));
        }
        let budget = map(&file)?;
        budget.publish(bytes, namespace());
        Ok(budget)
    }

    fn seen(&self) -> TreeLimit {
        let (refusals, first) = self.budget.refusals();
        let refused_first = first.map(|first| TreeRefusal {
            seconds: first.at_ns.saturating_sub(self.started_ns) as f64 / 1e9,
            pid: first.pid,
            wanted_bytes: first.wanted,
            largest_pid: first.largest_pid,
            largest_bytes: first.largest,
        });
        TreeLimit { bytes: self.budget.bytes(), refusals, refused_first }
    }
}

/// Sets the budget that the processes of another zm's session share. False if they have none.
pub fn set_tree_limit(session: &Path, bytes: u64) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    let path = session.join(TREE_BUDGET_FILE);
    let file = match options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() || file.metadata()?.len() < TreeBudget::BYTES as u64 {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let budget = map(&file)?;
    let is_known = budget.is_for(namespace());
    if is_known {
        budget.set_bytes(bytes);
    }
    Ok(is_known)
}

/// The namespace in which processes have their numbers here.
fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// The file as it is in every process; for as long as zm runs.
fn map(file: &File) -> io::Result<&'static TreeBudget> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a file that is as long, which is never taken away; any content is a budget.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), TreeBudget::BYTES, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(&*at.cast::<TreeBudget>()) }
    }
}
