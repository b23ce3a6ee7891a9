//! One line, and a program knows its heap.
use zmalloc::Zmalloc;
#[global_allocator]
static HEAP: Zmalloc = Zmalloc::new();
fn main() {
    println!("{:?}", zmalloc::is_global_allocator());
    let b = zmalloc::used_memory();
    let v = vec![0u8; 1000];
    println!("{} {} {}", b, zmalloc::used_memory() - b, v.len());
    let t: Vec<_> = (0..4).map(|i| std::thread::spawn(move || vec![1u8; 100_000 * (i + 1)])).collect();
    let k: Vec<_> = t.into_iter().map(|t| t.join().unwrap()).collect();
    println!("{} peak {}", zmalloc::used_memory() - b, zmalloc::peak_memory());
    drop(k);
    drop(v);
    println!("{} {}", zmalloc::used_memory() as isize - b as isize, zmalloc::ledger::threads());
}
