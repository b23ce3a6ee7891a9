//! The system's allocator as std has it.

#[global_allocator]
static HEAP: std::alloc::System = std::alloc::System;

fn main() {
    zmalloc_benches::main();
}
