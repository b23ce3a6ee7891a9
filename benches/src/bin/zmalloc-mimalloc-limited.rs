//! zmalloc over mimalloc, under a hard limit that is never reached.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Mimalloc> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc::budget::set_limit_bytes_hard(Some(64 << 30));
    zmalloc_benches::main();
}
