//! A process and its descendants, as the kernel shows them now.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The process, and all that it started and that still are its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()
    }) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let after = &text[text.iter().rposition(|&byte| byte == b')')? + 1..];
    std::str::from_utf8(after).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The resident memory of processes, summed, in bytes. What they share counts in each.
pub fn resident(pids: &[u32]) -> u64 {
    let page = {
        // SAFETY: asks only.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64
    };
    let pages = pids.iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    });
    pages.sum::<u64>() * page
}

/// Whether one of the processes listens on a socket, of TCP or of the local kind.
pub fn listens(pids: &[u32]) -> bool {
    pids.iter().any(|pid| {
        let own = sockets(*pid);
        !own.is_empty() && listening(*pid).any(|inode| own.contains(&inode))
    })
}

/// The inodes of the sockets that a process has open.
fn sockets(pid: u32) -> HashSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let inode = link.as_os_str().as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
            std::str::from_utf8(inode).ok()?.parse().ok()
        })
        .collect()
}

/// The inodes of all sockets that listen, where the process is.
fn listening(pid: u32) -> impl Iterator<Item = u64> {
    // A line's fields: for TCP, the state is the fourth and the inode the tenth; for local sockets, the flags are the
    // fourth and the inode the seventh.
    let kinds = [("tcp", 3, "0A", 9), ("tcp6", 3, "0A", 9), ("unix", 3, "00010000", 6)];
    kinds.into_iter().flat_map(move |(kind, state, listens, inode)| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
        let inodes: Vec<u64> = text
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                if fields.get(state) != Some(&listens) {
                    return None;
                }
                fields.get(inode)?.parse().ok()
            })
            .collect();
        inodes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    #[test]
    fn children_are_found_and_have_memory() {
        let own = std::process::id();
        let mut child = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while tree(child.id()).len() < 2 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let all = tree(own);
        assert!(all.len() >= 3 && all[0] == own && all.contains(&child.id()), "{all:?}");
        assert!(resident(&all) > resident(&[own]));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(tree(child.id()), [child.id()]);
        assert_eq!(resident(&[child.id()]), 0);
    }

    #[test]
    fn a_listening_socket_is_seen() {
        // Each in a process of its own: other tests of this one may listen.
        let own = [std::process::id()];
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(&own));
        drop(tcp);
        let path = std::env::temp_dir().join(format!("zm-listens-{}", own[0]));
        let local = UnixListener::bind(&path).unwrap();
        assert!(listens(&own));
        drop(local);
        std::fs::remove_file(path).unwrap();
        assert!(!listens(&own));
    }
}
