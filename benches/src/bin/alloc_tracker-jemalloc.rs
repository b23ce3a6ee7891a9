//! alloc_tracker over jemalloc.

#[global_allocator]
static HEAP: alloc_tracker::Allocator<tikv_jemallocator::Jemalloc> =
    alloc_tracker::Allocator::new(tikv_jemallocator::Jemalloc);

fn main() {
    zmalloc_benches::main();
}
