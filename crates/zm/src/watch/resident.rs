//! A process's resident memory, again and again. The open file is of this process for good: when it is gone, reading
//! fails, whoever has its pid then.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// `/proc/PID/statm`, kept open.
pub struct Resident {
    statm: File,
    page: u64,
}

/// What the kernel says of a process's memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Pages in RAM.
    pub resident: u64,
    /// Address space.
    pub size: u64,
}

impl Resident {
    pub fn open(pid: u32) -> io::Result<Resident> {
        // SAFETY: no conditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Ok(Resident { statm: File::open(format!("/proc/{pid}/statm"))?, page: u64::try_from(page).unwrap_or(4096) })
    }

    /// The memory now; `None` if the process is gone.
    pub fn read(&self) -> Option<Memory> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let mut words = text[..length].split(|&byte| byte == b' ').map(|word| {
            word.iter().fold(0u64, |number, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit & 15)))
        });
        let memory = Memory { size: words.next()? * self.page, resident: words.next()? * self.page };
        // A zombie has none.
        (memory.size > 0).then_some(memory)
    }
}

/// Whether a process has this file mapped; `None` if that is not ours to know.
pub fn maps(pid: u32, device: u64, inode: u64) -> Option<bool> {
    let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let device = format!("{:02x}:{:02x}", libc::major(device), libc::minor(device));
    let inode = inode.to_string();
    Some(text.split(|&byte| byte == b'\n').any(|line| {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        words.nth(3) == Some(device.as_bytes()) && words.next() == Some(inode.as_bytes())
    }))
}

/// Who a process's user is, and its parent.
pub fn user_and_parent(pid: u32) -> Option<(u32, u32)> {
    let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/status")).ok()?).into_owned();
    let field = |name: &str, index: usize| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(index)?.parse().ok()
    };
    // The effective user: the file's owner.
    Some((field("Uid:", 1)?, field("PPid:", 0)?))
}
