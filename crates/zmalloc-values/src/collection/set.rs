//! A set of byte strings.

use super::Encoding;
use super::table::Table;
use crate::element::Element;
use crate::intset::{self, Intset};
use crate::memory::{Boxed, Global, Memory};
use crate::packed::{self, Listpack, ListpackFormat};
use crate::sds::Sds;
use crate::thresholds::Thresholds;
use core::fmt;

/// A set of byte strings: an [`Intset`] while all are integers, a [`Listpack`] while they are few and short, else a hash
/// table of [`Sds`].
///
/// ```
/// use zmalloc_values::{Encoding, Set, Thresholds};
///
/// let mut set: Set = Set::new();
/// assert!(set.insert("3", &Thresholds::DEFAULT));
/// assert_eq!(set.encoding(), Encoding::Intset);
/// assert!(set.insert("three", &Thresholds::DEFAULT));
/// assert_eq!(set.encoding(), Encoding::Listpack);
/// assert!(set.contains("3") && !set.contains("4"));
/// ```
#[derive(Clone)]
pub struct Set<M: Memory = Global>(Form<M>);

#[derive(Clone)]
enum Form<M: Memory> {
    Integers(Intset<M>),
    Few(Listpack<M>),
    Many(Boxed<Table<Sds<M>, M>, M>),
}

impl<M: Memory> Set<M> {
    /// An empty set.
    pub fn new() -> Self {
        Set(Form::Integers(Intset::new()))
    }

    /// Its form.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Integers(_) => Encoding::Intset,
            Form::Few(_) => Encoding::Listpack,
            Form::Many(_) => Encoding::HashTable,
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Integers(integers) => integers.len(),
            Form::Few(list) => list.len(),
            Form::Many(table) => table.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a member.
    pub fn contains<'a>(&self, member: impl Into<Element<'a>>) -> bool {
        let member = member.into();
        match &self.0 {
            Form::Integers(integers) => member.integer().is_some_and(|integer| integers.contains(integer)),
            Form::Few(list) => list.find(list.first(), member, 0).is_some(),
            Form::Many(table) => member.with_bytes(|bytes| table.get(bytes).is_some()),
        }
    }

    /// Adds a member, and says whether it is new.
    pub fn insert<'a>(&mut self, member: impl Into<Element<'a>>, thresholds: &Thresholds) -> bool {
        let member = member.into();
        if let (Form::Integers(integers), Some(integer)) = (&mut self.0, member.integer()) {
            let new = integers.insert(integer);
            if integers.len() > thresholds.set_intset_entries_max {
                self.make_table();
            }
            return new;
        }
        if self.contains(member) {
            return false;
        }
        self.make_room_for(member, thresholds);
        match &mut self.0 {
            Form::Few(list) => list.push_back(member),
            Form::Many(table) => drop(table.insert(member.into())),
            Form::Integers(_) => unreachable!("an integer was added above, and anything else makes another form"),
        }
        true
    }

    /// Removes a member, and says whether it was there.
    pub fn remove<'a>(&mut self, member: impl Into<Element<'a>>) -> bool {
        let member = member.into();
        match &mut self.0 {
            Form::Integers(integers) => member.integer().is_some_and(|integer| integers.remove(integer)),
            Form::Few(list) => list.find(list.first(), member, 0).map(|at| list.remove(at)).is_some(),
            Form::Many(table) => member.with_bytes(|bytes| table.remove(bytes).is_some()),
        }
    }

    /// The members, in no order that is promised.
    pub fn iter(&self) -> SetIter<'_, M> {
        SetIter(match &self.0 {
            Form::Integers(integers) => Members::Integers(integers.iter()),
            Form::Few(list) => Members::Few(list.iter()),
            Form::Many(table) => Members::Many(table.iter()),
        })
    }

    /// What all its blocks count for in the ledger, in bytes. O(1).
    pub fn charged_size(&self) -> usize {
        match &self.0 {
            Form::Integers(integers) => integers.charged_size(),
            Form::Few(list) => list.charged_size(),
            Form::Many(table) => table.block_charged_size() + table.charged_size(),
        }
    }

    /// Brings it into a form that can take a member that is none of an intset's.
    fn make_room_for(&mut self, member: Element<'_>, thresholds: &Thresholds) {
        if matches!(self.0, Form::Many(_)) {
            return;
        }
        let short = |element: Element<'_>| element.len() <= thresholds.set_listpack_bytes_max;
        let few = self.len() < thresholds.set_listpack_entries_max && short(member);
        match &self.0 {
            Form::Integers(integers) if few && integers.iter().all(|integer| short(integer.into())) => {
                let mut list = Listpack::new();
                integers.iter().for_each(|integer| list.push_back(integer));
                self.0 = Form::Few(list);
            }
            Form::Few(list) if few && list.fits(member.len()) => {}
            _ => self.make_table(),
        }
    }

    fn make_table(&mut self) {
        let mut table = Table::with_capacity(self.len() + 1);
        for member in self.iter() {
            table.insert(member.into());
        }
        self.0 = Form::Many(Boxed::new(table));
    }
}

impl<M: Memory> Default for Set<M> {
    fn default() -> Self {
        Set::new()
    }
}

impl<M: Memory> fmt::Debug for Set<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|member| alloc::format!("{member}"))).finish()
    }
}

/// The members of a set.
pub struct SetIter<'a, M: Memory>(Members<'a, M>);

enum Members<'a, M: Memory> {
    Integers(intset::Iter<'a>),
    Few(packed::Iter<'a, ListpackFormat>),
    Many(hashbrown::hash_table::Iter<'a, Sds<M>>),
}

impl<'a, M: Memory> Iterator for SetIter<'a, M> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            Members::Integers(integers) => integers.next().map(Element::Integer),
            Members::Few(list) => list.next(),
            Members::Many(table) => table.next().map(|member| Element::Bytes(member)),
        }
    }
}
