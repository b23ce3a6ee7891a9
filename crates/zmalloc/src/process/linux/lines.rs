//! Lines of a file of any length, through a buffer of fixed size.

/// Where bytes come from.
pub(super) trait Source {
    /// Fills the start of the buffer and answers how many bytes that is. 0 is the end, unless the buffer is empty;
    /// `None` is a failure.
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize>;
}

/// Lines without their ends. Of a line longer than `CAPACITY`, the first `CAPACITY` bytes.
pub(super) struct Lines<S, const CAPACITY: usize> {
    source: S,
    buffer: [u8; CAPACITY],
    /// The bytes read and not yet given out are `start..end`.
    start: usize,
    end: usize,
    /// They continue a line whose start was given out.
    continued: bool,
    failed: bool,
}

impl<S: Source, const CAPACITY: usize> Lines<S, CAPACITY> {
    pub(super) fn new(source: S) -> Self {
        Lines { source, buffer: [0; CAPACITY], start: 0, end: 0, continued: false, failed: false }
    }

    /// The next line; `None` at the end or after a failure. Not an iterator: a line lives until the next call.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let unseen = &self.buffer[self.start..self.end];
            let (line, next) = if let Some(length) = unseen.iter().position(|&byte| byte == b'\n') {
                (self.start..self.start + length, Some(self.start + length + 1))
            } else if unseen.len() == CAPACITY {
                (self.start..self.end, None)
            } else if self.fill() {
                continue;
            } else if self.start < self.end && !self.failed {
                // The last line lacks its end.
                (self.start..self.end, Some(self.end))
            } else {
                return None;
            };
            self.start = next.unwrap_or(self.end);
            if !core::mem::replace(&mut self.continued, next.is_none()) {
                return Some(&self.buffer[line]);
            }
        }
    }

    /// Whether the source failed, so that lines are missing.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Makes room behind the unseen bytes and reads once; false at the end.
    fn fill(&mut self) -> bool {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = if self.failed { Some(0) } else { self.source.read(&mut self.buffer[self.end..]) };
        self.failed |= read.is_none();
        self.end += read.unwrap_or(0);
        read.is_some_and(|read| read > 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Lines, Source};
    use proptest::prelude::*;

    /// Gives a text in pieces of the sizes given, over and over.
    struct Pieces<'a> {
        text: &'a [u8],
        sizes: &'a [usize],
        turn: usize,
    }

    impl Source for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
            assert!(!buffer.is_empty());
            let size = self.sizes[self.turn % self.sizes.len()].min(buffer.len()).min(self.text.len());
            self.turn += 1;
            buffer[..size].copy_from_slice(&self.text[..size]);
            self.text = &self.text[size..];
            Some(size)
        }
    }

    fn read<const CAPACITY: usize>(text: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut lines = Lines::<_, CAPACITY>::new(Pieces { text, sizes, turn: 0 });
        let mut result = Vec::new();
        while let Some(line) = lines.next() {
            result.push(line.to_vec());
        }
        assert!(lines.next().is_none() && !lines.failed());
        result
    }

    /// The obvious way.
    fn split(text: &[u8], capacity: usize) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> =
            text.split(|&byte| byte == b'\n').map(|line| line[..line.len().min(capacity)].to_vec()).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines
    }

    #[test]
    fn a_line_may_be_split_at_every_place() {
        let text = b"Rss:       12 kB\n\nPrivate_Dirty:  4 kB\nVmFlags: rd wr mr\nlast";
        for size in 1..=text.len() {
            assert_eq!(read::<16>(text, &[size]), split(text, 16), "pieces of {size}");
            assert_eq!(read::<24>(text, &[size]), split(text, 24), "pieces of {size}");
            assert_eq!(read::<4096>(text, &[size, 1]), split(text, 4096), "pieces of {size} and 1");
        }
    }

    #[test]
    fn a_failure_is_told_and_ends() {
        struct Once(Option<&'static [u8]>);
        impl Source for Once {
            fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
                let text = self.0.take()?;
                buffer[..text.len()].copy_from_slice(text);
                Some(text.len())
            }
        }
        let mut lines = Lines::<_, 64>::new(Once(Some(b"whole\nhalf")));
        assert_eq!(lines.next(), Some(&b"whole"[..]));
        assert_eq!(lines.next(), None);
        assert!(lines.failed());
        assert_eq!(lines.next(), None);
    }

    proptest! {
        #[test]
        fn equals_the_obvious_split(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1usize..40, 1..8),
        ) {
            prop_assert_eq!(read::<1>(&text, &sizes), split(&text, 1));
            prop_assert_eq!(read::<7>(&text, &sizes), split(&text, 7));
            prop_assert_eq!(read::<256>(&text, &sizes), split(&text, 256));
        }
    }
}
