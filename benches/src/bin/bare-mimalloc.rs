//! mimalloc as its crate has it.

#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    zmalloc_benches::main();
}
