//! How much may it be: limits on what the program holds, and what happens as it comes near them.
//!
//! ```
//! use zmalloc::{Zmalloc, budget};
//!
//! #[global_allocator]
//! static HEAP: Zmalloc = Zmalloc::new();
//!
//! budget::set_limit_bytes_hard(Some(64 << 20));
//! let mut list: Vec<u8> = Vec::new();
//! assert!(list.try_reserve(65 << 20).is_err());
//! assert!(list.try_reserve(32 << 20).is_ok());
//! assert!(zmalloc::used_memory() <= 64 << 20);
//! ```
//!
//! # The limits, and what each of them guarantees
//!
//! - **Hard**: [`used_memory`](crate::used_memory) is never above it, not by a byte and not for a moment. An allocation
//!   that would be is refused: it answers null, which `try_reserve` makes an error of and `push` an abort, with the
//!   figures [on standard error](crate::set_oom_handler). It may be refused early, by what other threads were given of
//!   the limit ahead and have not used: at most 64 KiB for each thread, and less close to the limit. A resize
//!   needs room for the old block and the new one at once; one to less is not refused, and over jemalloc, which counts the
//!   new block first, it may for that moment be above.
//!   Set below what is used, it refuses all but what shrinks until enough is freed. When it is set or lowered, other
//!   threads may land the operation that they are at, and over other backends than jemalloc still use what they were given
//!   before: at most 64 KiB each. Blocks that the C library takes while it registers a thread are not refused. A signal
//!   handler that interrupted the ledger itself is refused what has to be asked for.
//!
//!   Not bounded: over jemalloc, what destructors of C's thread keys allocate that were made before the first counted
//!   operation, as jemalloc's own end comes before them; what other code takes from the same jemalloc past this library, or
//!   by its `experimental.batch_alloc`; and where the program has a `thread_event` hook of its own in it, as much more as a
//!   thread is given at a time.
//! - **Soft**: nothing is refused. As the use rises above it the [level](Level) rises, and those who [watch()] are told,
//!   on a thread of this library's: never by the allocation itself. That is noticed when the thread that crosses it has
//!   allocated another 64 KiB at most, and told as soon as that thread is scheduled; that the use has fallen, within
//!   [`LOOK_INTERVAL`].
//! - **Resident**: [`Zmalloc::bound_resident`](crate::Zmalloc::bound_resident) bounds the pages in RAM, or follows the limit
//!   of the cgroup; that is looked at in intervals, and says there what it can promise.
//!
//! Before a refusal, [reclaimers](reclaimer) are asked to free something, the cheapest first.
//!
//! Whose limits: these are the process's; [scopes](crate::scope) have their own.
//!
//! # Cost
//!
//! Over jemalloc none per operation, with a limit or without: a thread is given 64 KiB ahead, and jemalloc says when they
//! are used up. Over others none either: what is given is the room that the ledger takes from anyway. Requests of 16 KiB and
//! more, and every one close to the limit, take the pool's lock: some 20 ns, and at the limit itself a look at every thread.
//! See `benches/RESULTS.md` in the repository. In the two slower ways to count, each operation under a limit takes a lock.

mod level;
mod limits;
mod lock;
mod reclaim;
mod resident;
mod watch;

pub use level::Level;
pub use limits::{limit_bytes_hard, limit_bytes_soft, set_limit_bytes_hard, set_limit_bytes_soft};
pub use reclaim::{MAX_RECLAIMERS, Reclaimer, TooManyReclaimers, reclaimer};
pub use resident::{NoCgroupLimit, Resident};
pub use watch::{Change, LOOK_INTERVAL, Levels, Watch, level, levels, watch};

pub(crate) use reclaim::{reclaim, reclaims_here};
pub(crate) use resident::bound;
