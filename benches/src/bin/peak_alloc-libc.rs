//! peak_alloc, which is over the system's allocator alone.

#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

fn main() {
    zmalloc_benches::main();
}
