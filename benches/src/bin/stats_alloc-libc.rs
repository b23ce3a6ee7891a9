//! stats_alloc over the system's allocator: over another it can not be a static.

#[global_allocator]
static HEAP: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() {
    zmalloc_benches::main();
}
