//! jemalloc as `tikv-jemallocator` has it.

#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    zmalloc_benches::main();
}
