//! The end: noted when the process exits in order, by `exit` or past it.

use crate::errno::KeepErrno;
use crate::session;

/// Notes the end of this process. Nothing in a `vfork` child, which has its parent's memory and not its number.
pub(crate) fn note() {
    let _errno = KeepErrno::new();
    if let Some(segment) = session::of_this_process() {
        let [peak, now] = resident();
        segment.note_end(session::now_ns(), peak, now);
    }
}

/// Resident memory, in bytes: the most that there ever was, and what there is; 0 if unknown.
///
/// Not from `getrusage`, whose figure begins with that of whoever called `exec`.
fn resident() -> [u64; 2] {
    let mut text = [0u8; 2048];
    let text = session::read_file(c"/proc/self/status", &mut text);
    [b"VmHWM:", b"VmRSS:"].map(|name| {
        let Some(at) = text.windows(name.len()).position(|window| window == name) else { return 0 };
        let digits = text.iter().skip(at + name.len()).skip_while(|byte| byte.is_ascii_whitespace());
        let kib = digits
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
        kib.wrapping_mul(1024)
    })
}

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = {
    extern "C" fn at_exit() {
        note();
    }
    at_exit
};

#[cfg(test)]
mod tests {
    #[test]
    fn peak_and_present_are_read() {
        let [peak, now] = super::resident();
        assert!(now > 1 << 20 && peak >= now && peak < 1 << 40, "{now} of {peak}");
    }
}
