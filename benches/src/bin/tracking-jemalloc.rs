//! tracking-allocator over jemalloc, with a tracker that does nothing and a group entered.

use tracking_allocator::{AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static HEAP: Allocator<tikv_jemallocator::Jemalloc> = Allocator::from_allocator(tikv_jemallocator::Jemalloc);

struct Nothing;

impl AllocationTracker for Nothing {
    fn allocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId) {}
    fn deallocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {}
}

fn main() {
    AllocationRegistry::set_global_tracker(Nothing).expect("the first tracker");
    AllocationRegistry::enable_tracking();
    let mut token = AllocationGroupToken::register().expect("a group");
    let _guard = token.enter();
    zmalloc_benches::main();
}
