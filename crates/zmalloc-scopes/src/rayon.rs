//! Scopes on the threads of rayon.
//!
//! A job runs on whichever thread of the pool takes it, and that thread is in no scope, or in that of a job it waits
//! within. So a closure has to bring its scope along: those that are given to the functions here do, from the thread that
//! calls, and the items of a [parallel iterator](ParallelIteratorScopeExt::in_scope) are told theirs.
//!
//! # What cannot be inherited
//!
//! - A thread that waits for its own half of a `join` runs other jobs meanwhile, within the scope it waits in. Those
//!   that bring their scope along count there; jobs that have none count where the thread waits.
//! - What rayon allocates itself, to queue a job or to start a thread, counts where it does so.
//! - Closures of a parallel iterator without `in_scope`: only the part that the calling thread runs by itself is in its
//!   scope, if it is one of the pool's.

use rayon::iter::ParallelIterator;
use rayon::iter::plumbing::{Consumer, Folder, Reducer, UnindexedConsumer};
use rayon::{Scope as RayonScope, ThreadPool};
use zmalloc::Scope;
use zmalloc::scope::{Entered, inherit};

/// [`rayon::join`], both closures in the scope that the caller is in.
pub fn join<A, B, RA, RB>(first: A, second: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    rayon::join(inherit(first), inherit(second))
}

/// [`rayon::spawn`], the closure in the scope that the caller is in.
pub fn spawn(section: impl FnOnce() + Send + 'static) {
    rayon::spawn(inherit(section));
}

/// [`ThreadPool::install`], the closure in the scope that the caller is in.
pub fn install<R: Send>(pool: &ThreadPool, section: impl FnOnce() -> R + Send) -> R {
    pool.install(inherit(section))
}

/// [`rayon::scope`], the closure in the scope that the caller is in; what it spawns by [`spawn_in`] inherits too.
pub fn scope<'scope, R: Send>(section: impl FnOnce(&RayonScope<'scope>) -> R + Send) -> R {
    let scope = Scope::current();
    rayon::scope(move |rayon| run(scope, || section(rayon)))
}

/// [`rayon::Scope::spawn`], the closure in the scope that the caller is in.
pub fn spawn_in<'scope>(rayon: &RayonScope<'scope>, section: impl FnOnce(&RayonScope<'scope>) + Send + 'scope) {
    let scope = Scope::current();
    rayon.spawn(move |rayon| run(scope, || section(rayon)));
}

fn run<R>(scope: Option<Scope>, section: impl FnOnce() -> R) -> R {
    match scope {
        Some(scope) => scope.run(section),
        None => section(),
    }
}

/// Puts parallel iterators into a scope, written after them.
pub trait ParallelIteratorScopeExt: ParallelIterator {
    /// The iterator, whose items are made and consumed in the scope, on whichever threads.
    ///
    /// The closures before it in the chain and those after it run in the scope, and so does what collects the results,
    /// except where a closure enters another. Splitting does not, nor does what the caller does with what comes out.
    /// What needs the order of the items (`enumerate`, `zip`) comes before; the order of what is collected is kept.
    ///
    /// ```
    /// use rayon::iter::{IntoParallelIterator, ParallelIterator};
    /// use zmalloc::Scope;
    /// use zmalloc_scopes::rayon::ParallelIteratorScopeExt;
    ///
    /// let query = Scope::new("query");
    /// let rows: Vec<String> = (0..100).into_par_iter().in_scope(&query).map(|row| row.to_string()).collect();
    /// assert_eq!(rows[99], "99");
    /// ```
    ///
    /// Cost: to enter and leave a scope for each piece that a thread works on, not for each item.
    fn in_scope(self, scope: &Scope) -> InScope<Self> {
        InScope { base: self, scope: scope.clone() }
    }
}

impl<I: ParallelIterator> ParallelIteratorScopeExt for I {}

/// A parallel iterator in a scope: see [`in_scope`](ParallelIteratorScopeExt::in_scope).
#[must_use = "a parallel iterator does nothing unless it is consumed"]
#[derive(Clone, Debug)]
pub struct InScope<I> {
    base: I,
    scope: Scope,
}

impl<I: ParallelIterator> ParallelIterator for InScope<I> {
    type Item = I::Item;

    fn drive_unindexed<C: UnindexedConsumer<I::Item>>(self, consumer: C) -> C::Result {
        self.base.drive_unindexed(Within { base: consumer, scope: self.scope })
    }

    fn opt_len(&self) -> Option<usize> {
        self.base.opt_len()
    }
}

/// A consumer or a reducer whose work is in a scope.
struct Within<T> {
    base: T,
    scope: Scope,
}

impl<Item, C: Consumer<Item>> Consumer<Item> for Within<C> {
    type Folder = ScopedFolder<C::Folder>;
    type Reducer = Within<C::Reducer>;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, Self::Reducer) {
        let Within { base, scope } = self;
        let (left, right, reducer) = base.split_at(index);
        (
            Within { base: left, scope: scope.clone() },
            Within { base: right, scope: scope.clone() },
            Within { base: reducer, scope },
        )
    }

    fn into_folder(self) -> Self::Folder {
        let entered = self.scope.entered();
        ScopedFolder { base: self.base.into_folder(), entered }
    }

    fn full(&self) -> bool {
        self.base.full()
    }
}

impl<Item, C: UnindexedConsumer<Item>> UnindexedConsumer<Item> for Within<C> {
    fn split_off_left(&self) -> Self {
        Within { base: self.base.split_off_left(), scope: self.scope.clone() }
    }

    fn to_reducer(&self) -> Self::Reducer {
        Within { base: self.base.to_reducer(), scope: self.scope.clone() }
    }
}

impl<Result, R: Reducer<Result>> Reducer<Result> for Within<R> {
    fn reduce(self, left: Result, right: Result) -> Result {
        let Within { base, scope } = self;
        scope.run(|| base.reduce(left, right))
    }
}

/// What one thread does with the items of one piece; it stays on that thread.
struct ScopedFolder<F> {
    /// Dropped first, in the scope.
    base: F,
    entered: Entered,
}

impl<Item, F: Folder<Item>> Folder<Item> for ScopedFolder<F> {
    type Result = F::Result;

    fn consume(self, item: Item) -> Self {
        ScopedFolder { base: self.base.consume(item), entered: self.entered }
    }

    fn consume_iter<I: IntoIterator<Item = Item>>(self, items: I) -> Self {
        ScopedFolder { base: self.base.consume_iter(items), entered: self.entered }
    }

    fn complete(self) -> F::Result {
        let ScopedFolder { base, entered } = self;
        let result = base.complete();
        drop(entered);
        result
    }

    fn full(&self) -> bool {
        self.base.full()
    }
}
