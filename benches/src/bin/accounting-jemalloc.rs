//! accounting-allocator over jemalloc.

#[global_allocator]
static HEAP: accounting_allocator::AccountingAlloc<tikv_jemallocator::Jemalloc> =
    accounting_allocator::AccountingAlloc::with_allocator(tikv_jemallocator::Jemalloc);

fn main() {
    zmalloc_benches::main();
}
