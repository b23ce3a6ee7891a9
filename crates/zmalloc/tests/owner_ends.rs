//! Scopes by owner in a program whose every block has one: a scope ends with its last block, whoever frees it when, and
//! nothing that the library keeps for others keeps it.

use std::sync::mpsc::sync_channel;
use std::thread;
use zmalloc::ledger::ByOwner;
use zmalloc::{DefaultBackend, Scope, Zmalloc, scope};

#[global_allocator]
static HEAP: Zmalloc<DefaultBackend, ByOwner> = Zmalloc::new();

/// The names of the scopes there are.
fn names() -> Vec<String> {
    // Those whose last block is gone end as the next one is made.
    drop(Scope::new("looks"));
    scope::snapshot().scopes.into_iter().map(|scope| scope.name).collect()
}

#[test]
fn scopes_end_with_their_last_block() {
    let outer = Scope::new("outer");
    outer.run(|| drop(Scope::new("made within")));
    outer.run(|| drop(outer.child(format!("child {}", 1))));
    outer.run(|| (0..100).map(|number| Scope::new(format!("{number}"))).collect::<Vec<_>>()).clear();
    drop(outer);
    assert!(names().is_empty(), "{:?}", names());

    // Blocks that another thread frees just while the last handle goes.
    let (to_free, blocks) = sync_channel::<Vec<Box<[u8; 64]>>>(4);
    let other = thread::spawn(move || blocks.into_iter().for_each(drop));
    for _ in 0..30_000 {
        let scope = Scope::new("freed elsewhere");
        let mut blocks = Vec::with_capacity(4);
        scope.run(|| blocks.extend((0..4).map(|_| Box::new([0u8; 64]))));
        to_free.send(blocks).unwrap();
        drop(scope);
    }
    drop(to_free);
    other.join().unwrap();
    assert!(names().is_empty(), "{} are left", names().len());
}
