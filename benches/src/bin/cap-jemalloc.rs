//! cap over jemalloc.

#[global_allocator]
static HEAP: cap::Cap<tikv_jemallocator::Jemalloc> = cap::Cap::new(tikv_jemallocator::Jemalloc, usize::MAX);

fn main() {
    zmalloc_benches::main();
}
