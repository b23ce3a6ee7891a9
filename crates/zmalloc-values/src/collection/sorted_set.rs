//! A set of byte strings, each with a score.

use super::Encoding;
use super::ordered::Ordered;
use crate::element::Element;
use crate::memory::{Boxed, Counted, Global, Memory};
use crate::packed::{Listpack, Position};
use crate::sds::Sds;
use crate::thresholds::Thresholds;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::hash::BuildHasher;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A set of byte strings in the order of their scores, and where those are equal of their bytes.
///
/// A [`Listpack`] of members and scores while they are few and short; else an index in order, which owns the members,
/// beside a hash table of 16 bytes a member that has no pointer: it tells a member's score by its hash, and the index
/// whether that is right.
///
/// ```
/// use zmalloc_values::{Encoding, Inserted, SortedSet, Thresholds};
///
/// let mut scores: SortedSet = SortedSet::new();
/// scores.insert("Ada", 12.5, &Thresholds::DEFAULT);
/// scores.insert("Grace", 3.0, &Thresholds::DEFAULT);
/// assert_eq!(scores.insert("Ada", 2.0, &Thresholds::DEFAULT), Inserted::Moved);
/// assert_eq!((scores.rank("Ada"), scores.score("Grace")), (Some(0), Some(3.0)));
/// assert_eq!(scores.encoding(), Encoding::Listpack);
/// ```
///
/// A rank costs O(n / 256), all else O(log n) and a move within some KiB.
#[derive(Clone)]
pub struct SortedSet<M: Memory = Global>(Form<M>);

#[derive(Clone)]
enum Form<M: Memory> {
    Few(Listpack<M>),
    Many(Boxed<Index<M>, M>),
}

#[derive(Clone)]
struct Index<M: Memory> {
    order: Ordered<M>,
    scores: HashTable<Score, Counted<M>>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Score {
    hash: u64,
    score: f64,
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The member is new.
    New,
    /// The member was there with another score.
    Moved,
    /// The member was there with that score.
    Same,
}

impl<M: Memory> SortedSet<M> {
    /// An empty set.
    pub fn new() -> Self {
        SortedSet(Form::Few(Listpack::new()))
    }

    /// Its form.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Few(_) => Encoding::Listpack,
            Form::Many(_) => Encoding::Ordered,
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Few(list) => list.len() / 2,
            Form::Many(index) => index.order.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score<'a>(&self, member: impl Into<Element<'a>>) -> Option<f64> {
        let member = member.into();
        match &self.0 {
            Form::Few(list) => {
                let at = list.find(list.first(), member, 1)?;
                list.next(at).map(|at| score_of(list.get(at)))
            }
            Form::Many(index) => member.with_bytes(|bytes| index.score(bytes)),
        }
    }

    /// How many members are before that one.
    pub fn rank<'a>(&self, member: impl Into<Element<'a>>) -> Option<usize> {
        let member = member.into();
        match &self.0 {
            Form::Few(list) => pairs(list).position(|(_, other, _)| other == member),
            Form::Many(index) => member.with_bytes(|bytes| index.order.rank(index.score(bytes)?, bytes)),
        }
    }

    /// Adds a member, or gives it another score.
    ///
    /// Panics if the score is NaN.
    pub fn insert<'a>(&mut self, member: impl Into<Element<'a>>, score: f64, thresholds: &Thresholds) -> Inserted {
        assert!(!score.is_nan(), "a score is no NaN");
        let member = member.into();
        let old = self.score(member);
        if old == Some(score) {
            return Inserted::Same;
        }
        if old.is_some() {
            self.remove(member);
        }
        if let Form::Few(list) = &self.0
            && (list.len() / 2 >= thresholds.sorted_set_listpack_entries_max
                || member.len() > thresholds.sorted_set_listpack_bytes_max
                || !list.fits(member.len() + 64))
        {
            self.make_index();
        }
        match &mut self.0 {
            Form::Few(list) => insert_sorted(list, member, score),
            Form::Many(index) => member.with_bytes(|bytes| index.insert(score, Sds::from(bytes))),
        }
        if old.is_some() { Inserted::Moved } else { Inserted::New }
    }

    /// Removes a member, and answers its score.
    pub fn remove<'a>(&mut self, member: impl Into<Element<'a>>) -> Option<f64> {
        let member = member.into();
        match &mut self.0 {
            Form::Few(list) => {
                let at = list.find(list.first(), member, 1)?;
                let score = list.next(at).map(|at| score_of(list.get(at)));
                list.remove_range(at, 2);
                score
            }
            Form::Many(index) => member.with_bytes(|bytes| index.remove(bytes)),
        }
    }

    /// How many members have a score below that one; those with the same too, if `inclusive`.
    pub fn count_below(&self, score: f64, inclusive: bool) -> usize {
        let below = |other: f64| if inclusive { other <= score } else { other < score };
        match &self.0 {
            Form::Few(list) => pairs(list).take_while(|&(_, _, other)| below(other)).count(),
            Form::Many(index) => index.order.count_before(below),
        }
    }

    /// The members and their scores in order, from either end.
    pub fn iter(&self) -> SortedSetIter<'_> {
        self.iter_from(0)
    }

    /// As [`iter`](SortedSet::iter), from a rank on. With [`count_below`](SortedSet::count_below): from a score on.
    pub fn iter_from(&self, rank: usize) -> SortedSetIter<'_> {
        SortedSetIter(match &self.0 {
            Form::Few(list) => {
                let at = isize::try_from(rank.saturating_mul(2)).ok().and_then(|index| list.seek(index));
                let mut elements = list.iter_from(at);
                let mut behind = elements.clone();
                Box::new(Alternating {
                    next: move || Some((elements.next()?, score_of(elements.next()?))),
                    next_back: move || {
                        let score = score_of(behind.next_back()?);
                        Some((behind.next_back()?, score))
                    },
                    left: list.len() / 2 - rank.min(list.len() / 2),
                })
            }
            Form::Many(index) => {
                let pairs = index.order.iter_from(rank);
                Box::new(pairs.map(|pair| (Element::Bytes(&pair.member), pair.score)))
            }
        })
    }

    /// What all its blocks count for in the ledger, in bytes. O(1).
    pub fn charged_size(&self) -> usize {
        match &self.0 {
            Form::Few(list) => list.charged_size(),
            Form::Many(index) => {
                index.block_charged_size() + index.order.charged_size() + index.scores.allocator().charged_size()
            }
        }
    }

    /// The listpack of members and scores, while it is in that form.
    pub fn as_listpack(&self) -> Option<&Listpack<M>> {
        match &self.0 {
            Form::Few(list) => Some(list),
            Form::Many(_) => None,
        }
    }

    fn make_index(&mut self) {
        let mut index = Index {
            order: Ordered::new(),
            scores: HashTable::with_capacity_in(self.len() + 1, Counted::new()),
            hasher: RandomState::default(),
        };
        for (member, score) in self.iter() {
            member.with_bytes(|bytes| index.insert(score, Sds::from(bytes)));
        }
        self.0 = Form::Many(Boxed::new(index));
    }
}

impl<M: Memory> Index<M> {
    fn score(&self, member: &[u8]) -> Option<f64> {
        let hash = self.hasher.hash_one(member);
        self.scores.find(hash, |entry| is_of(entry, hash, &self.order, member)).map(|entry| entry.score)
    }

    /// Adds a member that is not there.
    fn insert(&mut self, score: f64, member: Sds<M>) {
        let hash = self.hasher.hash_one(&*member);
        self.scores.insert_unique(hash, Score { hash, score }, |entry| entry.hash);
        self.order.insert(score, member);
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = self.hasher.hash_one(member);
        let entry = self.scores.find_entry(hash, |entry| is_of(entry, hash, &self.order, member)).ok()?;
        let (Score { score, .. }, _) = entry.remove();
        self.order.remove(score, member);
        if self.scores.capacity() > 64 && self.scores.len() < self.scores.capacity() / 8 {
            self.scores.shrink_to(self.scores.len() * 2, |entry| entry.hash);
        }
        Some(score)
    }
}

/// Whether an entry is that of a member.
fn is_of<M: Memory>(entry: &Score, hash: u64, order: &Ordered<M>, member: &[u8]) -> bool {
    entry.hash == hash && order.contains(entry.score, member)
}

/// Where each member is, the member, and its score.
fn pairs<M: Memory>(list: &Listpack<M>) -> impl Iterator<Item = (Position, Element<'_>, f64)> {
    let mut at = list.first();
    core::iter::from_fn(move || {
        let member = at?;
        let score = list.next(member)?;
        at = list.next(score);
        Some((member, list.get(member), score_of(list.get(score))))
    })
}

fn insert_sorted<M: Memory>(list: &mut Listpack<M>, member: Element<'_>, score: f64) {
    let before = pairs(list).find(|&(_, other, other_score)| (score, member) < (other_score, other));
    let at = before.map(|(at, ..)| at);
    let text = text_of(score);
    match at {
        Some(at) => {
            list.insert_before(at, &*text);
            list.insert_before(at, member);
        }
        None => {
            list.push_back(member);
            list.push_back(&*text);
        }
    }
}

fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(integer) => integer as f64,
        Element::Bytes(bytes) => core::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0),
    }
}

/// The shortest text that is read as the same score.
fn text_of(score: f64) -> String {
    let magnitude = score.abs();
    if magnitude == 0.0 || (1e-5..1e17).contains(&magnitude) || magnitude.is_infinite() {
        alloc::format!("{score}")
    } else {
        alloc::format!("{score:e}")
    }
}

/// Pairs from either end of a listpack, until those that are left are taken.
struct Alternating<N, B> {
    next: N,
    next_back: B,
    left: usize,
}

impl<T, N: FnMut() -> Option<T>, B> Iterator for Alternating<N, B> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        (self.next)()
    }
}

impl<T, N: FnMut() -> Option<T>, B: FnMut() -> Option<T>> DoubleEndedIterator for Alternating<N, B> {
    fn next_back(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        (self.next_back)()
    }
}

impl<M: Memory> Default for SortedSet<M> {
    fn default() -> Self {
        SortedSet::new()
    }
}

impl<M: Memory> fmt::Debug for SortedSet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(member, score)| (alloc::format!("{member}"), score))).finish()
    }
}

/// The members of a sorted set and their scores, in order, from either end.
pub struct SortedSetIter<'a>(Box<dyn DoubleEndedIterator<Item = (Element<'a>, f64)> + 'a>);

impl<'a> Iterator for SortedSetIter<'a> {
    type Item = (Element<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl DoubleEndedIterator for SortedSetIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}
