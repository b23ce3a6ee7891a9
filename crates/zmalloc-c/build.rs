//! Hands the symbol prefix to the code, and the shared object its name.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ZMALLOC_SYMBOL_PREFIX");
    let prefix = env::var("ZMALLOC_SYMBOL_PREFIX").unwrap_or_default();
    let is_identifier = prefix.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if !is_identifier || prefix.starts_with(|first: char| first.is_ascii_digit()) {
        println!("cargo::error=ZMALLOC_SYMBOL_PREFIX is `{prefix}`, which no C name begins with; give one like `my_`");
    }
    println!("cargo::rustc-env=ZMALLOC_SYMBOL_PREFIX={prefix}");
    println!("cargo::rustc-check-cfg=cfg(symbol_prefix)");
    if !prefix.is_empty() {
        println!("cargo::rustc-cfg=symbol_prefix");
    }
    let version = env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libzmalloc.so.{version}");
        // The C library keeps the destructor of threads beyond a dlclose.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
