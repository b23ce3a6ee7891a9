//! thresher over jemalloc, its limits armed and never hit.

#[global_allocator]
static HEAP: thresher::Thresher<tikv_jemallocator::Jemalloc> = thresher::Thresher::new(tikv_jemallocator::Jemalloc);

fn main() {
    HEAP.set_callback_threshold(usize::MAX / 4);
    HEAP.set_hard_limit(usize::MAX / 2);
    zmalloc_benches::main();
}
