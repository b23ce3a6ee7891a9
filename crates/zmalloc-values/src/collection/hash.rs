//! A map from fields to values.

use super::Encoding;
use super::table::{Keyed, Table};
use crate::element::Element;
use crate::memory::{Boxed, Global, Memory};
use crate::packed::{self, Listpack, ListpackFormat};
use crate::sds::Sds;
use crate::thresholds::Thresholds;
use core::fmt;

/// A map from fields to values: a [`Listpack`] of pairs while they are few and short, else a hash table of [`Sds`].
///
/// ```
/// use zmalloc_values::{Element, Encoding, Hash, Thresholds};
///
/// let mut user: Hash = Hash::new();
/// user.insert("name", "Ada", &Thresholds::DEFAULT);
/// user.insert("visits", 12, &Thresholds::DEFAULT);
/// assert_eq!(user.get("visits"), Some(Element::Integer(12)));
/// assert_eq!(user.encoding(), Encoding::Listpack);
/// assert!(user.remove("name") && !user.remove("name"));
/// ```
#[derive(Clone)]
pub struct Hash<M: Memory = Global>(Form<M>);

#[derive(Clone)]
enum Form<M: Memory> {
    Few(Listpack<M>),
    Many(Boxed<Table<Pair<M>, M>, M>),
}

/// A field and its value.
#[derive(Clone)]
struct Pair<M: Memory> {
    field: Sds<M>,
    value: Sds<M>,
}

impl<M: Memory> Keyed for Pair<M> {
    fn key(&self) -> &[u8] {
        &self.field
    }

    fn charged_size(&self) -> usize {
        self.field.charged_size() + self.value.charged_size()
    }
}

impl<M: Memory> Hash<M> {
    /// An empty map.
    pub fn new() -> Self {
        Hash(Form::Few(Listpack::new()))
    }

    /// Its form.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::Few(_) => Encoding::Listpack,
            Form::Many(_) => Encoding::HashTable,
        }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Few(list) => list.len() / 2,
            Form::Many(table) => table.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get<'a>(&self, field: impl Into<Element<'a>>) -> Option<Element<'_>> {
        let field = field.into();
        match &self.0 {
            Form::Few(list) => {
                let at = list.find(list.first(), field, 1)?;
                Some(list.get(list.next(at)?))
            }
            Form::Many(table) => field.with_bytes(|bytes| table.get(bytes)).map(|pair| Element::Bytes(&pair.value)),
        }
    }

    /// Whether there is such a field.
    pub fn contains<'a>(&self, field: impl Into<Element<'a>>) -> bool {
        self.get(field).is_some()
    }

    /// Gives a field its value, and says whether the field is new.
    pub fn insert<'a, 'b>(
        &mut self,
        field: impl Into<Element<'a>>,
        value: impl Into<Element<'b>>,
        thresholds: &Thresholds,
    ) -> bool {
        let (field, value) = (field.into(), value.into());
        if let Form::Few(list) = &mut self.0 {
            let short = |element: Element<'_>| element.len() <= thresholds.hash_listpack_bytes_max;
            if short(field) && short(value) && list.fits(field.len() + value.len() + 10) {
                if let Some(at) = list.find(list.first(), field, 1) {
                    let at = list.next(at).expect("a value behind each field");
                    list.replace(at, value);
                    return false;
                }
                if list.len() / 2 < thresholds.hash_listpack_entries_max {
                    list.push_back(field);
                    list.push_back(value);
                    return true;
                }
            }
            self.make_table();
        }
        let Form::Many(table) = &mut self.0 else { unreachable!("it was made") };
        table.insert(Pair { field: field.into(), value: value.into() }).is_none()
    }

    /// Removes a field, and says whether it was there.
    pub fn remove<'a>(&mut self, field: impl Into<Element<'a>>) -> bool {
        let field = field.into();
        match &mut self.0 {
            Form::Few(list) => list.find(list.first(), field, 1).map(|at| list.remove_range(at, 2)).is_some(),
            Form::Many(table) => field.with_bytes(|bytes| table.remove(bytes).is_some()),
        }
    }

    /// The fields and their values; in the order of insertion while it is a listpack, else in none that is promised.
    pub fn iter(&self) -> HashIter<'_, M> {
        HashIter(match &self.0 {
            Form::Few(list) => Pairs::Few(list.iter()),
            Form::Many(table) => Pairs::Many(table.iter()),
        })
    }

    /// What all its blocks count for in the ledger, in bytes. O(1).
    pub fn charged_size(&self) -> usize {
        match &self.0 {
            Form::Few(list) => list.charged_size(),
            Form::Many(table) => table.block_charged_size() + table.charged_size(),
        }
    }

    /// The listpack of fields and values, while it is in that form.
    pub fn as_listpack(&self) -> Option<&Listpack<M>> {
        match &self.0 {
            Form::Few(list) => Some(list),
            Form::Many(_) => None,
        }
    }

    fn make_table(&mut self) {
        let mut table = Table::with_capacity(self.len() + 1);
        for (field, value) in self.iter() {
            table.insert(Pair { field: field.into(), value: value.into() });
        }
        self.0 = Form::Many(Boxed::new(table));
    }
}

impl<M: Memory> Default for Hash<M> {
    fn default() -> Self {
        Hash::new()
    }
}

impl<M: Memory> fmt::Debug for Hash<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |element: Element<'_>| alloc::format!("{element}");
        f.debug_map().entries(self.iter().map(|(field, value)| (text(field), text(value)))).finish()
    }
}

/// The fields of a map and their values.
pub struct HashIter<'a, M: Memory>(Pairs<'a, M>);

enum Pairs<'a, M: Memory> {
    Few(packed::Iter<'a, ListpackFormat>),
    Many(hashbrown::hash_table::Iter<'a, Pair<M>>),
}

impl<'a, M: Memory> Iterator for HashIter<'a, M> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pairs::Few(list) => Some((list.next()?, list.next()?)),
            Pairs::Many(table) => table.next().map(|pair| (Element::Bytes(&pair.field), Element::Bytes(&pair.value))),
        }
    }
}
