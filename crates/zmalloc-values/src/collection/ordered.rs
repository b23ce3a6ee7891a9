//! Pairs of score and member in order: rows of some hundred in one array, which is a tree of two levels.

use crate::memory::{Counted, Memory};
use crate::sds::Sds;
use allocator_api2::vec::Vec;
use core::cmp::Ordering;

#[derive(Clone)]
pub struct Ordered<M: Memory> {
    /// None of them is empty, and each is sorted and before the next.
    rows: Vec<Row<M>, Counted<M>>,
    /// What the rows and the members are charged: kept, so that nobody has to walk them.
    rows_bytes: usize,
    members_bytes: usize,
    len: usize,
}

type Row<M> = Vec<Scored<M>, Counted<M>>;

#[derive(Clone)]
pub struct Scored<M: Memory> {
    pub score: f64,
    pub member: Sds<M>,
}

/// Pairs in a row: to insert moves half of them, 2 KiB.
const ROW_MAX: usize = 256;
/// Rows of fewer are joined with a neighbour.
const ROW_MIN: usize = ROW_MAX / 4;

/// Where a pair is: its row, and its index there.
type Place = (usize, usize);

impl<M: Memory> Ordered<M> {
    pub fn new() -> Self {
        Ordered { rows: Vec::new_in(Counted::new()), rows_bytes: 0, members_bytes: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// What its blocks and those of the members are charged. O(1).
    pub fn charged_size(&self) -> usize {
        self.rows.allocator().charged_size() + self.rows_bytes + self.members_bytes
    }

    pub fn contains(&self, score: f64, member: &[u8]) -> bool {
        self.find(score, member).is_ok()
    }

    /// Adds a pair that is not there.
    pub fn insert(&mut self, score: f64, member: Sds<M>) {
        let (Ok((row, at)) | Err((row, at))) = self.find(score, &member);
        self.members_bytes += member.charged_size();
        self.len += 1;
        if self.rows.is_empty() {
            self.rows.push(Vec::new_in(Counted::new()));
        }
        self.change(row, |row| row.insert(at, Scored { score, member }));
        if self.rows[row].len() > ROW_MAX {
            let mut behind = Vec::with_capacity_in(ROW_MAX, Counted::new());
            self.change(row, |row| {
                behind.extend(row.drain(ROW_MAX / 2..));
                row.shrink_to(ROW_MAX * 3 / 4);
            });
            self.rows_bytes += behind.allocator().charged_size();
            self.rows.insert(row + 1, behind);
        }
    }

    /// Removes a pair, and answers its member.
    pub fn remove(&mut self, score: f64, member: &[u8]) -> Option<Sds<M>> {
        let (row, at) = self.find(score, member).ok()?;
        let removed = self.change(row, |row| row.remove(at)).member;
        self.members_bytes -= removed.charged_size();
        self.len -= 1;
        if self.rows[row].len() < ROW_MIN {
            self.join(row);
        }
        Some(removed)
    }

    /// How many pairs are before that one, if it is there. O(rows).
    pub fn rank(&self, score: f64, member: &[u8]) -> Option<usize> {
        let (row, at) = self.find(score, member).ok()?;
        Some(self.rows[..row].iter().map(Vec::len).sum::<usize>() + at)
    }

    /// How many pairs in front are `before`, of which those are that are in front.
    pub fn count_before(&self, before: impl Fn(f64) -> bool) -> usize {
        let full = self.rows.partition_point(|row| row.last().is_some_and(|last| before(last.score)));
        let within = self.rows.get(full).map_or(0, |row| row.partition_point(|pair| before(pair.score)));
        self.rows[..full].iter().map(Vec::len).sum::<usize>() + within
    }

    /// The pairs from a rank on. O(rows) to begin.
    pub fn iter_from(&self, rank: usize) -> impl DoubleEndedIterator<Item = &Scored<M>> {
        let (mut first, mut skipped) = (0, rank);
        while let Some(row) = self.rows.get(first).filter(|row| row.len() <= skipped) {
            skipped -= row.len();
            first += 1;
        }
        let (head, tail) = match self.rows.get(first) {
            Some(row) => (&row[skipped..], &self.rows[first + 1..]),
            None => (&[][..], &[][..]),
        };
        head.iter().chain(tail.iter().flatten())
    }

    /// Where a pair is, or would be.
    fn find(&self, score: f64, member: &[u8]) -> Result<Place, Place> {
        let compare = |pair: &Scored<M>| compare(pair, score, member);
        let row = self.rows.partition_point(|row| row.last().is_some_and(|last| compare(last) == Ordering::Less));
        match self.rows.get(row) {
            Some(pairs) => match pairs.binary_search_by(compare) {
                Ok(at) => Ok((row, at)),
                Err(at) => Err((row, at)),
            },
            // Behind all others: at the end of the last row.
            None => Err((row.saturating_sub(1), self.rows.last().map_or(0, Vec::len))),
        }
    }

    /// Changes a row, and keeps what it is charged.
    fn change<R>(&mut self, row: usize, change: impl FnOnce(&mut Row<M>) -> R) -> R {
        self.rows_bytes -= self.rows[row].allocator().charged_size();
        let answer = change(&mut self.rows[row]);
        self.rows_bytes += self.rows[row].allocator().charged_size();
        answer
    }

    /// Moves a row's pairs to a neighbour, if that has room; an empty one goes anyway.
    fn join(&mut self, row: usize) {
        let into = if row > 0 { row - 1 } else { row + 1 };
        let room = self.rows.get(into).is_some_and(|other| other.len() + self.rows[row].len() <= ROW_MAX);
        if !room && !self.rows[row].is_empty() {
            return;
        }
        let pairs = self.rows.remove(row);
        self.rows_bytes -= pairs.allocator().charged_size();
        if room {
            let into = into.min(row);
            let end = if row > into { self.rows[into].len() } else { 0 };
            self.change(into, |into| drop(into.splice(end..end, pairs)));
        }
    }
}

fn compare<M: Memory>(pair: &Scored<M>, score: f64, member: &[u8]) -> Ordering {
    // No score is NaN; that -0 equals 0 is Redis's order too.
    pair.score.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| (*pair.member).cmp(member))
}
