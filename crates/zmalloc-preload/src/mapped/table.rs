//! The ranges that the program mapped, sorted, in memory of their own.

use core::ptr::null_mut;

/// Non-empty ranges that neither overlap nor, with the same state, touch; in ascending order.
pub(crate) struct Table {
    ranges: *mut Range,
    length: usize,
    capacity: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
    /// The program may access it: it counts.
    accessible: bool,
}

impl Range {
    fn counted(&self) -> usize {
        if self.accessible { self.end - self.start } else { 0 }
    }
}

/// Bytes to charge and to credit, after some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) charged: usize,
    pub(crate) credited: usize,
}

impl Table {
    pub(crate) const fn new() -> Table {
        Table { ranges: null_mut(), length: 0, capacity: 0 }
    }

    /// Makes `start..end` accessible or not, or with `None` forgets it.
    ///
    /// If the table cannot grow, a new range is not kept, nor what lies behind a hole: then less is counted than is
    /// mapped, but what is counted is there, and is credited when it goes.
    pub(crate) fn set(&mut self, start: usize, end: usize, state: Option<bool>, change: &mut Change) {
        let ranges = self.ranges();
        let mut first = ranges.partition_point(|range| range.end <= start);
        let mut last = first + ranges[first..].partition_point(|range| range.start < end);
        let touched = &ranges[first..last];
        change.credited += touched.iter().map(Range::counted).sum::<usize>();

        let left = touched.first().filter(|range| range.start < start).map(|range| Range { end: start, ..*range });
        let right = touched.last().filter(|range| range.end > end).map(|range| Range { start: end, ..*range });
        let [mut kept_left, mut new, mut kept_right] =
            [left, state.map(|accessible| Range { start, end, accessible }), right];
        if let Some(new) = &mut new {
            // Joins what it touches: a piece of what it cuts, or a neighbour.
            let before = left.or_else(|| first.checked_sub(1).map(|index| ranges[index]));
            let after = right.or_else(|| ranges.get(last).copied());
            if let Some(before) = before.filter(|range| range.end == start && range.accessible == new.accessible) {
                new.start = before.start;
                match left {
                    Some(_) => kept_left = None,
                    None => {
                        first -= 1;
                        change.credited += before.counted();
                    }
                }
            }
            if let Some(after) = after.filter(|range| range.start == end && range.accessible == new.accessible) {
                new.end = after.end;
                match right {
                    Some(_) => kept_right = None,
                    None => {
                        last += 1;
                        change.credited += after.counted();
                    }
                }
            }
        }
        let mut pieces = [kept_left, new, kept_right];
        // At most two more than before. Without room: first the new range goes, then what is behind the hole.
        let fits = |table: &Table, pieces: &[Option<Range>; 3]| {
            table.length - (last - first) + pieces.iter().flatten().count() <= table.capacity
        };
        if !fits(self, &pieces) {
            self.grow();
            while !fits(self, &pieces) {
                let given_up = if pieces[1].is_some() { 1 } else { 2 };
                pieces[given_up] = None;
            }
        }
        self.splice(first, last, pieces, change);
    }

    /// Gives or takes access to what is known of `start..end`.
    pub(crate) fn protect(&mut self, start: usize, end: usize, accessible: bool, change: &mut Change) {
        let mut from = start;
        while from < end {
            let next = self.ranges().get(self.ranges().partition_point(|range| range.end <= from)).copied();
            let Some(range) = next.filter(|range| range.start < end) else { break };
            let (part_start, part_end) = (range.start.max(from), range.end.min(end));
            if range.accessible != accessible {
                self.set(part_start, part_end, Some(accessible), change);
            }
            from = part_end;
        }
    }

    /// What is known of `start..end` and may not be accessed, in bytes.
    pub(crate) fn inaccessible(&self, start: usize, end: usize) -> usize {
        let first = self.ranges().partition_point(|range| range.end <= start);
        let touched = self.ranges().iter().skip(first).take_while(|range| range.start < end);
        touched.filter(|range| !range.accessible).map(|range| range.end.min(end) - range.start.max(start)).sum()
    }

    /// The state of `start..end`, if all of it is known and the same.
    pub(crate) fn state(&self, start: usize, end: usize) -> Option<bool> {
        let range = self.ranges().get(self.ranges().partition_point(|range| range.end <= start))?;
        (range.start <= start && range.end >= end).then_some(range.accessible)
    }

    fn ranges(&self) -> &[Range] {
        if self.ranges.is_null() {
            return &[];
        }
        // SAFETY: the first `length` ranges are written.
        unsafe { core::slice::from_raw_parts(self.ranges, self.length) }
    }

    /// Puts the pieces in the place of `first..last`; there is room.
    fn splice(&mut self, first: usize, last: usize, pieces: [Option<Range>; 3], change: &mut Change) {
        let count = pieces.iter().flatten().count();
        if count == 0 && first == last {
            return;
        }
        // SAFETY: `last <= length` and the new length fits the capacity.
        unsafe {
            self.ranges.add(last).copy_to(self.ranges.add(first + count), self.length - last);
            for (index, piece) in pieces.iter().flatten().enumerate() {
                self.ranges.add(first + index).write(*piece);
                change.charged += piece.counted();
            }
        }
        self.length = self.length - (last - first) + count;
    }

    /// Moves to a mapping twice as large, if there is memory.
    fn grow(&mut self) {
        const FIRST: usize = 4096 / size_of::<Range>();
        let capacity = if self.capacity == 0 { FIRST } else { self.capacity * 2 };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, to which the ranges are copied; the old one is used by nobody then. The system calls
        // themselves, as `mmap` and `munmap` are ours.
        unsafe {
            let bytes = capacity * size_of::<Range>();
            let memory = libc::syscall(libc::SYS_mmap, 0usize, bytes, access, kind, -1, 0usize);
            if memory == -1 {
                return;
            }
            let memory = core::ptr::with_exposed_provenance_mut::<Range>(memory as usize);
            if !self.ranges.is_null() {
                memory.copy_from_nonoverlapping(self.ranges, self.length);
                libc::syscall(libc::SYS_munmap, self.ranges, self.capacity * size_of::<Range>());
            }
            (self.ranges, self.capacity) = (memory, capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPACE: usize = 64;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Set(Option<bool>),
        Protect(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, usize, usize)>> {
        let step = prop_oneof![
            proptest::option::of(any::<bool>()).prop_map(Step::Set),
            any::<bool>().prop_map(Step::Protect),
        ];
        proptest::collection::vec((step, 0..SPACE, 1..SPACE / 2), 0..60)
    }

    proptest! {
        /// Page by page is the obvious way.
        #[test]
        fn equals_a_set_of_pages(steps in steps()) {
            let mut table = Table::new();
            let mut pages = [None; SPACE * 2];
            let mut counted = 0;
            for (step, start, length) in steps {
                let end = start + length;
                let mut change = Change::default();
                match step {
                    Step::Set(state) => {
                        table.set(start, end, state, &mut change);
                        pages[start..end].fill(state);
                    }
                    Step::Protect(accessible) => {
                        table.protect(start, end, accessible, &mut change);
                        pages[start..end].iter_mut().flatten().for_each(|page| *page = accessible);
                    }
                }
                counted = counted + change.charged - change.credited;
                prop_assert_eq!(counted, pages.iter().filter(|page| **page == Some(true)).count());
                for (page, state) in pages.iter().enumerate() {
                    prop_assert_eq!(table.state(page, page + 1), *state);
                }
                for pair in table.ranges().windows(2) {
                    let touch = pair[0].end == pair[1].start && pair[0].accessible == pair[1].accessible;
                    prop_assert!(pair[0].end <= pair[1].start && !touch);
                }
            }
        }
    }

    #[test]
    fn grows_and_empties() {
        let mut table = Table::new();
        let mut change = Change::default();
        for index in 0..10_000 {
            table.set(index * 3, index * 3 + 2, Some(true), &mut change);
        }
        assert_eq!((table.length, change), (10_000, Change { charged: 20_000, credited: 0 }));
        table.set(0, usize::MAX, None, &mut change);
        assert_eq!((table.length, change.charged, change.credited), (0, 20_000, 20_000));
    }

    #[test]
    fn without_room_less_is_counted_and_never_too_little_credited() {
        let mut range = [Range { start: 0, end: 0, accessible: false }];
        let mut table = Table { ranges: range.as_mut_ptr(), length: 0, capacity: 1 };
        let mut change = Change::default();
        table.set(0, 10, Some(true), &mut change);
        // As if `grow` failed: the pieces that do not fit are given up.
        let pieces = [Some(Range { start: 0, end: 4, accessible: true }), None, None];
        change.credited += 10;
        table.splice(0, 1, pieces, &mut change);
        assert_eq!(change.charged - change.credited, 4);
    }
}
