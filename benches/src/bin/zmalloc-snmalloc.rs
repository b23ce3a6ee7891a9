//! zmalloc over snmalloc.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Snmalloc> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
