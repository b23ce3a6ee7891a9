//! zmalloc over gperftools' tcmalloc.

#[global_allocator]
static HEAP: zmalloc::Zmalloc<zmalloc::backend::Tcmalloc> = zmalloc::Zmalloc::new();

fn main() {
    zmalloc_benches::main();
}
