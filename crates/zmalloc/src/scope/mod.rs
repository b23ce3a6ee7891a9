//! Whose bytes are these: named, nested scopes; by the flow on their threads at no cost per operation, or by owner.
//!
//! ```
//! use zmalloc::{Scope, Zmalloc, backend::Libc, scope};
//!
//! #[global_allocator]
//! static HEAP: Zmalloc<Libc> = Zmalloc::new();
//!
//! let tenants = Scope::new("tenants");
//! let tenant = tenants.child("tenant-42");
//! let list = tenant.run(|| vec![0u8; 1000]);
//! assert!(tenant.figures().own.live_bytes >= 1000);
//! assert!(tenants.figures().total.live_bytes >= 1000, "with its children");
//! print!("{}", scope::snapshot());
//! drop(list); // Outside of the scope: it goes on to show 1000 bytes as live.
//! ```
//!
//! # By flow, or by owner
//!
//! The heap's type chooses. `Zmalloc` counts the **flow**: a free counts in the scope that its thread is in, whoever allocated
//! the block. `Zmalloc<DefaultBackend, ByOwner>` counts **by owner** ([`ByOwner`](crate::ledger::ByOwner)): a free counts in
//! the scope that allocated the block, whichever thread frees it, in whichever scope. All figures, peaks, limits
//! and views are the one or the other.
//!
//! | | by flow | by owner |
//! |---|---|---|
//! | a block is freed in another scope | counts there | counts in its own |
//! | live bytes | may be negative | what the scope's blocks have |
//! | a block is resized in another scope | freed and allocated there | freed in its own, and that scope's from then on; unless its usable size and place stay |
//! | the last handle goes while blocks live | the scope ends | it stays, with its name, until the last is freed |
//! | per operation, over jemalloc | nothing | 1.3x to 1.5x on a 64 B pair and on 100,000 blocks |
//! | per block | nothing | a tag: usually 2 to 8 % of the heap |
//!
//! # What is counted where
//!
//! The ledger keeps sums for each thread. A scope reads those of the calling thread when it is entered and when it is
//! left, and counts the differences: the *flow* of bytes on that thread meanwhile. So:
//!
//! - An allocation counts in the innermost scope that its thread is in. By flow, a free counts in the innermost scope that
//!   *its* thread is in, wherever the block came from: live bytes are a difference: of a scope that frees what another one allocated
//!   they are **negative**, and blocks that leave a scope and are freed elsewhere stay in them. A scope that frees
//!   what it allocates, as that of a request or a task, shows what it holds.
//! - A new thread is in no scope; [`inherit`] gives it that of the thread which starts it. A future is in the scope it
//!   was [wrapped](Scope::scoped) in, whichever thread polls or drops it.
//! - Bytes of threads without sums of their own (in destructors that run after the thread gave its slot back) count
//!   outside of every scope.
//! - Over jemalloc, what a thread took from it past this library before the first operation that is counted, counts where
//!   that operation does.
//! - A child's bytes are its parent's as well, in `total`; its `own` are those of no child.
//!
//! Exact: at rest the sums over all scopes, of what [ended](Snapshot::ended) and [outside](Snapshot::outside) equal
//! [`totals`](crate::totals), to the byte. A scope that nobody refers to any more (by owner: and that has no blocks) goes away, and its sums pass to its
//! parent's [`ended`](ScopeFigures::ended), or the tree's.
//!
//! # Freshness
//!
//! A scope's figures have what each thread did until it last entered or left a scope; what it did since counts outside
//! until then. Reading figures brings those of the calling thread up to date, and so does [`settle`], for threads
//! that stay in a scope for long. While other threads work, `allocated` and `freed` may be of different moments.
//!
//! # Cost
//!
//! By flow, nothing per allocation or free. To enter and leave takes 6 to 9 ns: two readings of the thread's sums, and plain
//! additions for the thread at home there, usually the first that enters. Others exchange one atomic (4 ns more); if the live bytes
//! changed, each scope around it costs one atomic addition. Neither allocates nor locks, but for a thread's first time,
//! and guards that are dropped out of order. See `benches/RESULTS.md` in the repository.
//!
//! To make and drop a scope takes a lock that all scopes share and about 70 ns; a scope takes about 400 bytes and its name,
//! most of them kept for the next one when it ends, so the memory is that of the most scopes at once.
//!
//! # What a tag costs
//!
//! Where a block's tag lies follows from its address: in a table of 257 MiB for each GiB of address space that has blocks. That
//! much is reserved, which a limit of address space (`RLIMIT_AS`) counts; memory is had where blocks are, and never given
//! back. Where all blocks of a page of 4 KiB are one scope's, that is a word for the page, 1 KiB for each MiB of heap. The first
//! block of another scope has those that follow in its page tagged one by one: for each MiB of such pages 4 KiB, if all blocks
//! begin at multiples of 512 bytes, and twice that for each halving, so at most an eighth where they are aligned to 16.
//! Where the kernel refuses it, blocks are tagged as nobody's.
//!
//! An operation sets or compares a tag: some 15 instructions, and no counter is touched. On 100,000 blocks that is 1.1x to 1.3x of
//! jemalloc where threads stay in their scopes. A free of another scope's block costs its size, and an atomic addition for
//! that scope and each around it, and pages with blocks of several scopes another cache line: 2.2x to 2.6x on 100,000
//! blocks, half of them freed so. 65,534 scopes at once have tags; those
//! beyond count the flow, and their blocks are nobody's.
//!
//! A block that is allocated by owner has to be freed by owner, and not beneath or through a heap of another detail over the
//! same backend: otherwise a scope may have bytes of another, and may stay in the tree after its last block. The sum over
//! all stays exact.
//!
//! # Where it does not work
//!
//! With `ledger-shared-atomic` and `ledger-lock`, what a thread did that ends within a scope, its guard forgotten, counts outside.
//! On targets without 64-bit atomics the module is not there. In a signal handler scopes must not be entered. A child
//! that is forked while another thread makes, drops or reads scopes must do neither; it may enter and leave
//! those that it has. Within an allocator around [`Zmalloc`](crate::Zmalloc), scopes must be left alone.
//!
//! A guard that is forgotten (`mem::forget`) keeps its thread in the scope. When that scope ends, what the thread does
//! until it enters another may count in the next scope that is made, instead of outside; the sum over all stays exact.

mod budgeted;
mod fallible;
mod figures;
mod future;
mod guard;
mod here;
mod node;
mod open_metrics;
mod outside;
mod over_budget;
mod owner;
mod rest;
mod snapshot;
mod spawn;
mod table;
mod tree;
mod with_report;

pub use budgeted::Budgeted;
pub use fallible::{fallible, set_fallible};
pub use figures::{Figures, Flow};
pub use future::Scoped;
pub use guard::{Entered, Guard};
pub use outside::outside;
pub use over_budget::{ChildUse, OverBudget};
pub use snapshot::{ScopeFigures, Snapshot, snapshot};
pub use spawn::inherit;
pub use with_report::ReportWithScopes;

pub(crate) use fallible::admits_here;
pub(crate) use tree::write_largest;

use core::ptr::NonNull;
use node::Node;
use std::borrow::Cow;
use std::fmt;

/// A named part of the program, whose bytes are told apart.
///
/// A handle: clones refer to the same scope, which lasts as long as one of them, a child, or a future in it; by owner, also as
/// long as one of its blocks. Scopes of the
/// same name are different ones. How bytes are counted: see the [module](self).
///
/// ```
/// use zmalloc::Scope;
///
/// let requests = Scope::new("requests");
/// let request = requests.child(format!("request {}", 7));
/// {
///     let _in_scope = request.enter();
///     // What this thread allocates and frees here counts in `request`.
/// }
/// let sum = request.run(|| (1..=10).sum::<u32>());
/// assert_eq!(sum, 55);
/// assert_eq!((request.path().as_str(), request.figures().own.entered), ("requests/request 7", 2));
/// ```
pub struct Scope {
    /// While a handle lives, the node is this scope's.
    node: &'static Node,
}

impl Scope {
    /// A scope at the top of the tree.
    ///
    /// Cost: a short lock and about 70 ns. Allocates a little, which counts outside of every scope.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Scope {
        Scope { node: tree::create(name.into(), None) }
    }

    /// A scope within this one; cost as [`new`](Scope::new). At most 256 lie in each other: a child of the innermost is
    /// made beside it.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Scope {
        Scope { node: tree::create(name.into(), Some(self.node)) }
    }

    /// The innermost scope that the calling thread is in. Cost: a few nanoseconds.
    pub fn current() -> Option<Scope> {
        let (node, serial) = here::current()?;
        let scope = Scope { node: node.try_refer()? };
        // Otherwise its guard was forgotten and the scope has ended; the node is another's by now.
        (node.serial() == serial).then_some(scope)
    }

    /// Enters the scope on this thread until the guard is dropped.
    ///
    /// Guards may be dropped in any order: the scope of one that is not the innermost is left with it, and the innermost
    /// stays as it is. A guard that is forgotten leaves the thread in its scope, or outside once that has ended.
    ///
    /// Not over an `await`: the thread would be in the scope while it does other work. Use [`scoped`](Scope::scoped).
    ///
    /// Cost: see the [module](self).
    #[inline]
    pub fn enter(&self) -> Guard<'_> {
        Guard::new(self)
    }

    /// As [`enter`](Scope::enter), with a guard that keeps the handle: for a place that outlives the caller.
    #[inline]
    pub fn entered(self) -> Entered {
        Entered::new(self)
    }

    /// Runs `section` in the scope, also if it panics.
    #[inline]
    pub fn run<R>(&self, section: impl FnOnce() -> R) -> R {
        let _guard = self.enter();
        section()
    }

    /// A future that is in the scope whenever it is polled, and when it is dropped.
    pub fn scoped<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(self.clone(), future)
    }

    /// A future that is in the scope as [`scoped`](Scope::scoped), and ends with [`OverBudget`] when the scope is over
    /// its hard limit after a poll.
    pub fn budgeted<F: Future>(&self, future: F) -> Budgeted<F> {
        Budgeted::new(self.scoped(future))
    }

    /// The name it was made with.
    pub fn name(&self) -> String {
        tree::name(self.node)
    }

    /// Its name after those of the scopes around it, with slashes between.
    pub fn path(&self) -> String {
        tree::path(self.node)
    }

    /// Its figures, with those of its children; freshness: see the [module](self).
    ///
    /// Cost: a lock while the part of the tree below it is walked, about 100 ns for each scope in it.
    pub fn figures(&self) -> ScopeFigures {
        snapshot::figures_of(self.node)
    }

    /// Live bytes, children included; may be negative. Freshness: see the [module](self). Cost: a few nanoseconds.
    pub fn live_bytes(&self) -> i64 {
        settle();
        self.node.live_total()
    }

    /// Bytes above which the program should let go of some; `None` for no limit, as at first.
    ///
    /// Nothing happens by itself: ask [`is_over_limit_soft`](Scope::is_over_limit_soft).
    pub fn limit_bytes_soft(&self) -> Option<u64> {
        self.node.limit_soft().get()
    }

    /// Sets or removes the soft limit, in bytes; from any thread at any time.
    pub fn set_limit_bytes_soft(&self, limit: Option<u64>) {
        self.node.limit_soft().set(limit);
    }

    /// Bytes above which [budgeted](Scope::budgeted) futures end; `None` for no limit, as at first. It refuses no
    /// allocation: between two polls a future may take more.
    pub fn limit_bytes_hard(&self) -> Option<u64> {
        self.node.limit_hard().get()
    }

    /// Sets or removes the hard limit, in bytes; from any thread at any time. A lower one than what is in use ends futures
    /// at their next poll.
    pub fn set_limit_bytes_hard(&self, limit: Option<u64>) {
        self.node.limit_hard().set(limit);
    }

    /// Whether the live bytes, children included, are at most the hard limit, as they are if there is none, and so for each
    /// scope around it; freshness as [`live_bytes`](Scope::live_bytes). For work that can be refused before it starts, or
    /// that is no future.
    ///
    /// Cost: a few nanoseconds; if they are above, that of [`figures`](Scope::figures), and it allocates.
    ///
    /// # Errors
    /// If they are above: the figures and the largest children.
    pub fn check_limit_hard(&self) -> Result<(), OverBudget> {
        OverBudget::of(self).map_or(Ok(()), Err)
    }

    /// Whether the live bytes, children included, are above the soft limit; freshness and cost as
    /// [`live_bytes`](Scope::live_bytes).
    pub fn is_over_limit_soft(&self) -> bool {
        self.is_over(self.limit_bytes_soft())
    }

    /// Whether the live bytes, children included, are above the hard limit; freshness and cost as
    /// [`live_bytes`](Scope::live_bytes).
    pub fn is_over_limit_hard(&self) -> bool {
        self.is_over(self.limit_bytes_hard())
    }

    fn is_over(&self, limit: Option<u64>) -> bool {
        limit.is_some_and(|limit| i128::from(self.live_bytes()) > i128::from(limit))
    }

    /// The handle as an address, for another language to keep; nothing is done but by [`from_raw`](Scope::from_raw).
    pub fn into_raw(self) -> NonNull<core::ffi::c_void> {
        NonNull::from_ref(core::mem::ManuallyDrop::new(self).node).cast()
    }

    /// The handle again.
    ///
    /// # Safety
    /// 1. `raw` is from [`into_raw`](Scope::into_raw), of the same version of this crate.
    /// 2. Of the handles made from one address, at most one is dropped, and none is used after that.
    pub unsafe fn from_raw(raw: NonNull<core::ffi::c_void>) -> Scope {
        // SAFETY: a node's address, by 1, and nodes are never freed. While the handle lives it is this scope's, by 2.
        Scope { node: unsafe { raw.cast::<Node>().as_ref() } }
    }
}

/// Counts what the calling thread did until now in the scope it is in, for others to read. Cost: as entering a scope.
pub fn settle() {
    here::settle();
}

impl Clone for Scope {
    fn clone(&self) -> Scope {
        self.node.refer();
        Scope { node: self.node }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.node.let_go() {
            tree::retire(self.node);
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.path())
    }
}

/// Whether both are handles of one scope.
impl PartialEq for Scope {
    fn eq(&self, other: &Scope) -> bool {
        core::ptr::eq(self.node, other.node)
    }
}

impl Eq for Scope {}
