//! zmalloc over jemalloc, by owner: each thread stays in a scope of its own.

use zmalloc::{Scope, Zmalloc, backend::Jemalloc, ledger::ByOwner};

#[global_allocator]
static HEAP: Zmalloc<Jemalloc, ByOwner> = Zmalloc::new();

thread_local! {
    static SCOPES: [Scope; 1] = std::array::from_fn(|_| Scope::new("of a thread"));
}

fn main() {
    zmalloc_benches::TURN.set(|number| SCOPES.with(|scopes| std::mem::forget(scopes[number % 1].enter()))).unwrap();
    zmalloc_benches::main();
}
