//! gperftools' tcmalloc as it replaces C's malloc: std's own allocator, over it.

#[global_allocator]
static HEAP: std::alloc::System = std::alloc::System;

fn main() {
    // Linked for its `malloc`, which the linker would otherwise drop.
    std::hint::black_box(<zmalloc::backend::Tcmalloc as zmalloc::backend::Backend>::version());
    zmalloc_benches::main();
}
