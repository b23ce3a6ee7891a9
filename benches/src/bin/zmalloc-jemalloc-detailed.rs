//! zmalloc over jemalloc, detailed.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Jemalloc, zmalloc::ledger::Detailed> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
