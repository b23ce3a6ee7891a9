//! zmalloc over mimalloc.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Mimalloc> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
