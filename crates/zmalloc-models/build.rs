//! This package alone sees loom's atomics in the files it shares with the library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rustc-cfg=ledger_slots");
    println!("cargo::rustc-check-cfg=cfg(ledger_slots, ledger_shared_atomic, ledger_lock)");
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"serde\"))");
}
