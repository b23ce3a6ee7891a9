//! re_memory's accounting allocator over jemalloc.

#[global_allocator]
static HEAP: re_memory::AccountingAllocator<tikv_jemallocator::Jemalloc> =
    re_memory::AccountingAllocator::new(tikv_jemallocator::Jemalloc);

fn main() {
    zmalloc_benches::main();
}
