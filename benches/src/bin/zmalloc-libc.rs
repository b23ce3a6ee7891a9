//! zmalloc over the C library.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Libc> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
