//! The library's own files, over loom's atomics.

#[path = "../../../zmalloc/src/ledger/details.rs"]
mod details;
#[path = "../../../zmalloc/src/ledger/limit.rs"]
pub mod limit;
#[path = "../../../zmalloc/src/ledger/peak.rs"]
pub mod peak;
#[path = "../../../zmalloc/src/ledger/pool.rs"]
pub mod pool;
/// No model has a limit that others have too.
mod share {
    pub(super) fn is_shared() -> bool {
        false
    }

    pub(super) fn trim(_: &super::limit::Limit) {}

    pub(super) fn raise(_: &super::limit::Limit, _: u64) -> bool {
        false
    }
}
#[path = "../../../zmalloc/src/ledger/size_class.rs"]
mod size_class;
#[path = "../../../zmalloc/src/ledger/slot.rs"]
pub mod slot;
#[path = "../../../zmalloc/src/ledger/small_sizes.rs"]
mod small_sizes;
#[path = "../../../zmalloc/src/ledger/step.rs"]
mod step;
#[path = "../../../zmalloc/src/ledger/sync.rs"]
mod sync;
#[path = "../../../zmalloc/src/ledger/totals.rs"]
mod totals;

use details::Details;
use totals::Totals;
