//! snmalloc as its crate has it.

#[global_allocator]
static HEAP: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

fn main() {
    zmalloc_benches::main();
}
