//! A list of byte strings.

use super::Encoding;
use crate::element::Element;
use crate::memory::{Boxed, Counted, Global, Memory};
use crate::packed::{self, Listpack, ListpackFormat, Position};
use crate::sds::Sds;
use crate::thresholds::Thresholds;
use allocator_api2::vec::Vec;
use core::fmt;
use core::ops::Range;

/// A list of byte strings: one [`Listpack`] while it is short, else a quicklist, which is a row of them.
///
/// ```text
///  quicklist: elements before ─► counts in one block, so a position is found without a look at the listpacks
///  ┌────────────┬────────────┬────────────┐
///  │ ptr, count │ ptr, count │ ptr, count │ …
///  └─│──────────┴─│──────────┴─│──────────┘
///    ▼            ▼            ▼
///  ┌──────────┐ ┌──────────┐ ┌──────────┐
///  │ listpack │ │ listpack │ │ listpack │      8 KiB each, by default
///  └──────────┘ └──────────┘ └──────────┘
/// ```
///
/// Redis links its nodes; here they stand in one array. That saves the links, and what it costs is to move 16 bytes a node
/// when a listpack is added in front or in the middle: once in some hundred pushes, 200 KB for a list of 100 MB.
///
/// ```
/// use zmalloc_values::{Encoding, List, Thresholds};
///
/// let mut list: List = List::new();
/// for number in 0..3000 {
///     list.push_back(number, &Thresholds::DEFAULT);
/// }
/// assert_eq!(list.encoding(), Encoding::Quicklist);
/// assert_eq!(list.get(-1).unwrap().integer(), Some(2999));
/// assert_eq!(list.pop_front(&Thresholds::DEFAULT).unwrap(), b"0");
/// ```
#[derive(Clone)]
pub struct List<M: Memory = Global>(Form<M>);

#[derive(Clone)]
enum Form<M: Memory> {
    One(Listpack<M>),
    Row(Boxed<Row<M>, M>),
}

/// None of its listpacks is empty.
#[derive(Clone)]
struct Row<M: Memory>(Vec<Node<M>, Counted<M>>);

#[derive(Clone)]
struct Node<M: Memory> {
    list: Listpack<M>,
    count: usize,
}

/// What an element takes at most beside its bytes.
const OVERHEAD_BYTES: usize = 10;

impl<M: Memory> List<M> {
    /// An empty list.
    pub fn new() -> Self {
        List(Form::One(Listpack::new()))
    }

    /// Its form.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Form::One(_) => Encoding::Listpack,
            Form::Row(_) => Encoding::Quicklist,
        }
    }

    /// The number of elements. O(listpacks).
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::One(list) => list.len(),
            Form::Row(row) => row.0.iter().map(|node| node.count).sum(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::One(list) => list.is_empty(),
            Form::Row(row) => row.0.is_empty(),
        }
    }

    /// The element with that index; -1 is the last. O(listpacks), then a walk within one.
    pub fn get(&self, index: isize) -> Option<Element<'_>> {
        let (node, within) = self.locate(self.index(index)?)?;
        let list = self.node(node);
        list.seek(within as isize).map(|at| list.get(at))
    }

    /// Adds an element in front.
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>, thresholds: &Thresholds) {
        self.insert_at(0, 0, element.into(), thresholds);
    }

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>, thresholds: &Thresholds) {
        let node = self.nodes() - 1;
        self.insert_at(node, self.count(node), element.into(), thresholds);
    }

    /// Adds an element so that it has that index; false, and nothing is done, if it is beyond the end.
    pub fn insert<'a>(&mut self, index: usize, element: impl Into<Element<'a>>, thresholds: &Thresholds) -> bool {
        if index == self.len() {
            self.push_back(element, thresholds);
            return true;
        }
        let Some((node, within)) = self.locate(index) else { return false };
        self.insert_at(node, within, element.into(), thresholds);
        true
    }

    /// Puts an element in the place of another one; false if there is none.
    pub fn set<'a>(&mut self, index: isize, element: impl Into<Element<'a>>, thresholds: &Thresholds) -> bool {
        let element = element.into();
        let Some(index) = self.index(index).filter(|&index| index < self.len()) else { return false };
        let (node, within) = self.locate(index).expect("an index within");
        let list = self.node_mut(node);
        let at = list.seek(within as isize).expect("an index within");
        if list.as_bytes().len() + element.len() + OVERHEAD_BYTES <= thresholds.list_listpack_bytes_max {
            list.replace(at, element);
        } else {
            self.remove(index, thresholds);
            self.insert(index, element, thresholds);
        }
        true
    }

    /// Removes the element with that index, and says whether there was one.
    pub fn remove(&mut self, index: usize, thresholds: &Thresholds) -> bool {
        let Some((node, within)) = self.locate(index) else { return false };
        self.change(node, |list| {
            let at = list.seek(within as isize).expect("an index within");
            list.remove(at);
        });
        self.narrow(thresholds);
        true
    }

    /// Removes the first element, and answers it.
    pub fn pop_front(&mut self, thresholds: &Thresholds) -> Option<Sds<M>> {
        let element = Sds::from(self.get(0)?);
        self.remove(0, thresholds);
        Some(element)
    }

    /// Removes the last element, and answers it.
    pub fn pop_back(&mut self, thresholds: &Thresholds) -> Option<Sds<M>> {
        let element = Sds::from(self.get(-1)?);
        let node = self.nodes() - 1;
        self.change(node, |list| {
            let last = list.last().expect("the one above");
            list.remove(last);
        });
        self.narrow(thresholds);
        Some(element)
    }

    /// Removes up to `count` elements that equal one, from the front; from the end if `backward`. Answers their number.
    pub fn remove_equal<'a>(
        &mut self,
        element: impl Into<Element<'a>>,
        count: usize,
        backward: bool,
        thresholds: &Thresholds,
    ) -> usize {
        let (element, mut removed, nodes) = (element.into(), 0, self.nodes());
        let mut node = if backward { nodes.wrapping_sub(1) } else { 0 };
        while node < self.nodes() && removed < count {
            let before = self.nodes();
            self.change(node, |list| {
                let mut at = if backward { list.last() } else { list.first() };
                while let Some(position) = at.filter(|_| removed < count) {
                    let equal = list.get(position) == element;
                    removed += usize::from(equal);
                    at = match (equal, backward) {
                        (false, false) => list.next(position),
                        (false, true) => list.previous(position),
                        (true, false) => list.remove(position),
                        (true, true) => {
                            let previous = list.previous(position);
                            list.remove(position);
                            previous
                        }
                    };
                }
            });
            // A listpack that got empty is gone, and the next one stands in its place.
            node = match (backward, self.nodes() < before) {
                (true, _) => node.wrapping_sub(1),
                (false, true) => node,
                (false, false) => node + 1,
            };
        }
        self.narrow(thresholds);
        removed
    }

    /// Keeps the elements whose index lies in a range, and removes the others.
    pub fn keep(&mut self, range: Range<usize>, thresholds: &Thresholds) {
        let length = self.len();
        let (start, end) = (range.start.min(length), range.end.min(length));
        // What is behind first, so that the indices before stay.
        self.remove_all(end.max(start)..length);
        self.remove_all(0..start);
        self.narrow(thresholds);
    }

    /// The elements, from either end.
    pub fn iter(&self) -> ListIter<'_, M> {
        match &self.0 {
            Form::One(list) => ListIter { nodes: [].iter(), front: Some(list.iter()), back: None },
            Form::Row(row) => ListIter { nodes: row.0.iter(), front: None, back: None },
        }
    }

    /// What all its blocks count for in the ledger, in bytes. O(listpacks).
    pub fn charged_size(&self) -> usize {
        match &self.0 {
            Form::One(list) => list.charged_size(),
            Form::Row(row) => {
                let lists: usize = row.0.iter().map(|node| node.list.charged_size()).sum();
                row.block_charged_size() + row.0.allocator().charged_size() + lists
            }
        }
    }

    /// Its listpacks, in order.
    pub fn listpacks(&self) -> impl Iterator<Item = &Listpack<M>> {
        (0..self.nodes()).map(|node| self.node(node)).filter(|list| !list.is_empty())
    }

    /// An index from the front.
    fn index(&self, index: isize) -> Option<usize> {
        if index < 0 { self.len().checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) }
    }

    /// The listpack that has the element with that index, and its index there.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        let mut before = 0;
        for node in 0..self.nodes() {
            let count = self.count(node);
            if index - before < count {
                return Some((node, index - before));
            }
            before += count;
        }
        None
    }

    /// The number of listpacks; an empty list has one, but for a row that just lost its last.
    fn nodes(&self) -> usize {
        match &self.0 {
            Form::One(_) => 1,
            Form::Row(row) => row.0.len(),
        }
    }

    fn node(&self, node: usize) -> &Listpack<M> {
        match &self.0 {
            Form::One(list) => list,
            Form::Row(row) => &row.0[node].list,
        }
    }

    fn node_mut(&mut self, node: usize) -> &mut Listpack<M> {
        match &mut self.0 {
            Form::One(list) => list,
            Form::Row(row) => &mut row.0[node].list,
        }
    }

    fn count(&self, node: usize) -> usize {
        match &self.0 {
            Form::One(list) => list.len(),
            Form::Row(row) => row.0[node].count,
        }
    }

    /// Changes a listpack; one of a row that is empty then goes.
    fn change(&mut self, node: usize, change: impl FnOnce(&mut Listpack<M>)) {
        change(self.node_mut(node));
        if let Form::Row(row) = &mut self.0 {
            row.0[node].count = row.0[node].list.len();
            if row.0[node].count == 0 {
                row.0.remove(node);
            }
        }
    }

    /// Inserts an element into a listpack, or beside it where there is no room.
    fn insert_at(&mut self, node: usize, within: usize, element: Element<'_>, thresholds: &Thresholds) {
        let fits = |list: &Listpack<M>| {
            let bytes = list.as_bytes().len() + element.len() + OVERHEAD_BYTES;
            bytes <= thresholds.list_listpack_bytes_max || list.is_empty()
        };
        if fits(self.node(node)) {
            return self.change(node, |list| insert(list, within, element));
        }
        let count = self.count(node);
        let row = self.make_row();
        let mut alone = Listpack::new();
        alone.push_back(element);
        let alone = Node { list: alone, count: 1 };
        if within == 0 || within == count {
            // At its edge the neighbour may have room.
            let neighbour = if within == 0 { node.checked_sub(1) } else { Some(node + 1) };
            match neighbour.and_then(|neighbour| row.get_mut(neighbour)) {
                Some(neighbour) if fits(&neighbour.list) => {
                    let end = if within == 0 { neighbour.count } else { 0 };
                    insert(&mut neighbour.list, end, element);
                    neighbour.count += 1;
                }
                _ => row.insert(if within == 0 { node } else { node + 1 }, alone),
            }
            return;
        }
        let list = &mut row[node].list;
        let at = list.seek(within as isize).expect("an index within");
        let mut behind = list.split_off(at);
        row[node].count = within;
        if fits(&behind) {
            behind.push_front(element);
            row.insert(node + 1, Node { list: behind, count: count - within + 1 });
        } else {
            row.insert(node + 1, Node { list: behind, count: count - within });
            row.insert(node + 1, alone);
        }
    }

    fn remove_all(&mut self, range: Range<usize>) {
        let mut left = range.len();
        while left > 0 {
            let (node, within) = self.locate(range.start).expect("a range within");
            let here = left.min(self.count(node) - within);
            self.change(node, |list| {
                let at = list.seek(within as isize).expect("an index within");
                list.remove_range(at, here);
            });
            left -= here;
        }
    }

    fn make_row(&mut self) -> &mut Vec<Node<M>, Counted<M>> {
        if let Form::One(list) = &mut self.0 {
            let list = core::mem::take(list);
            let mut row = Vec::new_in(Counted::new());
            row.push(Node { count: list.len(), list });
            self.0 = Form::Row(Boxed::new(Row(row)));
        }
        match &mut self.0 {
            Form::Row(row) => &mut row.0,
            Form::One(_) => unreachable!("it was made"),
        }
    }

    /// A row of one listpack that is at most half full is that listpack.
    fn narrow(&mut self, thresholds: &Thresholds) {
        let Form::Row(row) = &mut self.0 else { return };
        if row.0.len() > 1 {
            return;
        }
        match row.0.pop() {
            Some(node) if node.list.as_bytes().len() > thresholds.list_listpack_bytes_max / 2 => row.0.push(node),
            node => self.0 = Form::One(node.map_or_else(Listpack::new, |node| node.list)),
        }
    }
}

fn insert<M: Memory>(list: &mut Listpack<M>, index: usize, element: Element<'_>) {
    let at: Option<Position> = if index == 0 { list.first() } else { list.seek(index as isize) };
    match at {
        Some(at) => list.insert_before(at, element),
        None => list.push_back(element),
    }
}

impl<M: Memory> Default for List<M> {
    fn default() -> Self {
        List::new()
    }
}

impl<M: Memory> fmt::Debug for List<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|element| alloc::format!("{element}"))).finish()
    }
}

/// The elements of a list, from either end.
pub struct ListIter<'a, M: Memory> {
    nodes: core::slice::Iter<'a, Node<M>>,
    front: Option<packed::Iter<'a, ListpackFormat>>,
    back: Option<packed::Iter<'a, ListpackFormat>>,
}

impl<'a, M: Memory> Iterator for ListIter<'a, M> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(element) = self.front.as_mut().and_then(Iterator::next) {
                return Some(element);
            }
            match self.nodes.next() {
                Some(node) => self.front = Some(node.list.iter()),
                None => return self.back.as_mut()?.next(),
            }
        }
    }
}

impl<'a, M: Memory> DoubleEndedIterator for ListIter<'a, M> {
    fn next_back(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(element) = self.back.as_mut().and_then(DoubleEndedIterator::next_back) {
                return Some(element);
            }
            match self.nodes.next_back() {
                Some(node) => self.back = Some(node.list.iter()),
                None => return self.front.as_mut()?.next_back(),
            }
        }
    }
}
