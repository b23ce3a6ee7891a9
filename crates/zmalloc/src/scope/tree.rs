//! Which scopes there are, and what is within what.

use super::figures::Sums;
use super::node::Node;
use super::outside;
use super::owner;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tree of all scopes. What is seldom needed of a node is here, behind the lock.
pub(super) struct Tree {
    /// By `Node::index`.
    entries: Vec<Entry>,
    /// Scopes without a parent, and what those that ended had counted.
    pub(super) top: Level,
    /// Nodes without a scope.
    free: Vec<&'static Node>,
    /// How many scopes there ever were.
    numbers: u64,
}

#[derive(Default)]
pub(super) struct Entry {
    pub(super) name: Cow<'static, str>,
    /// How many scopes are around it.
    depth: usize,
    pub(super) below: Level,
}

/// Scopes side by side.
#[derive(Default)]
pub(super) struct Level {
    /// In the order they were made.
    pub(super) scopes: BTreeMap<u64, &'static Node>,
    /// What scopes that ended had counted, with those below them.
    pub(super) ended: Sums,
}

static TREE: Mutex<Tree> = Mutex::new(Tree {
    entries: Vec::new(),
    top: Level { scopes: BTreeMap::new(), ended: Sums { allocated: 0, freed: 0, entered: 0 } },
    free: Vec::new(),
    numbers: 0,
});

/// The tree, for the caller alone, without the scopes whose last block is gone.
pub(super) fn lock() -> MutexGuard<'static, Tree> {
    let mut tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(node) = owner::pop() {
        node.stop_watching();
        if node.let_go() {
            tree.end(node);
        }
    }
    tree
}

/// How many scopes may be around one: the views go down by recursion.
const DEEPEST: usize = 256;

/// Makes a scope, with one handle; one that would lie too deep, beside its parent. What the tree keeps of it is no scope's:
/// by owner it would keep that one.
pub(super) fn create(name: Cow<'static, str>, parent: Option<&'static Node>) -> &'static Node {
    outside(|| {
        // A copy, so that the caller's is freed where it was made.
        let name = match &name {
            Cow::Borrowed(name) => Cow::Borrowed(*name),
            Cow::Owned(name) => Cow::Owned(name.clone()),
        };
        create_here(name, parent)
    })
}

fn create_here(name: Cow<'static, str>, parent: Option<&'static Node>) -> &'static Node {
    let mut tree = lock();
    let parent =
        parent.and_then(|parent| if tree.entry(parent).depth < DEEPEST { Some(parent) } else { parent.parent() });
    let node = tree.free.pop().unwrap_or_else(|| {
        let node = Box::leak(Box::new(Node::new(tree.entries.len())));
        tree.entries.push(Entry::default());
        owner::enlist(node);
        node
    });
    tree.numbers += 1;
    let number = tree.numbers;
    if let Some(parent) = parent {
        parent.refer();
    }
    node.begin(number, parent);
    tree.entries[node.index].depth = parent.map_or(0, |parent| tree.entry(parent).depth + 1);
    tree.entries[node.index].name = name;
    tree.level(parent).scopes.insert(node.serial(), node);
    node
}

/// Ends a scope that nobody refers to, unless blocks of its own keep it, and those around it that it alone kept.
pub(super) fn retire(node: &'static Node) {
    outside(|| lock().end(node));
}

/// The name of a scope that the caller refers to.
pub(super) fn name(node: &Node) -> String {
    lock().entry(node).name.clone().into_owned()
}

/// The path of a scope that the caller refers to.
pub(super) fn path(node: &Node) -> String {
    lock().path(node)
}

/// Writes a line of the scopes that hold most, without allocating: nothing if there is none, or if a thread, perhaps this one,
/// is at the tree.
pub(crate) fn write_largest(text: &mut impl fmt::Write) -> fmt::Result {
    const LARGEST: usize = 5;
    let Ok(tree) = TREE.try_lock() else { return Ok(()) };
    let mut largest: [Option<(i64, &Node)>; LARGEST] = [None; LARGEST];
    tree.each(&tree.top, &mut |node| {
        let mut next = Some((node.own().live(), node)).filter(|&(live, _)| live > 0);
        for place in &mut largest {
            if next.map(|(live, _)| live) > place.map(|(live, _)| live) {
                core::mem::swap(place, &mut next);
            }
        }
    });
    for (at, (live, node)) in largest.into_iter().flatten().enumerate() {
        write!(text, "{}", if at == 0 { "zmalloc: scopes that hold most: " } else { ", " })?;
        tree.write_path(text, node)?;
        write!(text, " {live} bytes")?;
    }
    if largest[0].is_some() { writeln!(text) } else { Ok(()) }
}

impl Tree {
    /// Calls `visit` with every scope of a level and below.
    fn each<'tree>(&'tree self, level: &'tree Level, visit: &mut impl FnMut(&'tree Node)) {
        for &node in level.scopes.values() {
            visit(node);
            self.each(&self.entry(node).below, visit);
        }
    }

    fn write_path(&self, text: &mut impl fmt::Write, node: &Node) -> fmt::Result {
        if let Some(parent) = node.parent() {
            self.write_path(text, parent)?;
            text.write_char('/')?;
        }
        text.write_str(&self.entry(node).name)
    }

    /// As `retire`. What is freed with the lock held comes back neither here nor to any other lock.
    fn end(&mut self, node: &'static Node) {
        let mut ending = Some(node);
        while let Some(node) = ending.filter(|node| !node.is_kept_by_blocks()) {
            let parent = node.parent();
            let entry = core::mem::take(&mut self.entries[node.index]);
            let serial = node.serial();
            let level = self.level(parent);
            level.scopes.remove(&serial);
            level.ended = level.ended.plus(entry.below.ended).plus(node.end());
            self.free.push(node);
            ending = parent.filter(|parent| parent.let_go());
        }
    }

    pub(super) fn entry(&self, node: &Node) -> &Entry {
        &self.entries[node.index]
    }

    pub(super) fn path(&self, node: &Node) -> String {
        let mut names = vec![&*self.entry(node).name];
        let mut above = node.parent();
        while let Some(node) = above {
            names.push(&self.entry(node).name);
            above = node.parent();
        }
        names.reverse();
        names.join("/")
    }

    fn level(&mut self, parent: Option<&Node>) -> &mut Level {
        match parent {
            Some(parent) => &mut self.entries[parent.index].below,
            None => &mut self.top,
        }
    }
}
