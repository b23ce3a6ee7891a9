//! zmalloc over jemalloc, by owner: each thread goes back and forth between two scopes, so that half of the blocks are
//! freed in the one that does not own them.

use zmalloc::{Scope, Zmalloc, backend::Jemalloc, ledger::ByOwner};

#[global_allocator]
static HEAP: Zmalloc<Jemalloc, ByOwner> = Zmalloc::new();

thread_local! {
    static SCOPES: [Scope; 2] = std::array::from_fn(|_| Scope::new("of a thread"));
}

fn main() {
    zmalloc_benches::TURN.set(|number| SCOPES.with(|scopes| std::mem::forget(scopes[number % 2].enter()))).unwrap();
    zmalloc_benches::main();
}
