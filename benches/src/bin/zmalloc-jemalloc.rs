//! zmalloc over jemalloc.

#[global_allocator]
static HEAP: zmalloc::Zmalloc = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
