//! Chooses how the ledger counts, and links what the system provides.

use std::env;

fn main() {
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ledger_slots, ledger_shared_atomic, ledger_lock)");
    let wide_atomics = target("HAS_ATOMIC").split(',').any(|width| width == "64");
    let way = if has("LEDGER_LOCK") || !wide_atomics {
        "ledger_lock"
    } else if has("LEDGER_SHARED_ATOMIC") {
        "ledger_shared_atomic"
    } else {
        "ledger_slots"
    };
    println!("cargo::rustc-cfg={way}");
}
