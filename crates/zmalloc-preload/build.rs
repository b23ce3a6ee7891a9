//! Keeps the library small, as every program of a session loads it, and loaded once it is.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Threads hold pointers into it until they end.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // GNU's linker drops what std brings to print a panic, which cannot happen; others keep it alive by its unwinding
    // tables: 500 KiB instead of 200, and thread-locals that are reached by a call.
    println!("cargo::rustc-cdylib-link-arg=-fuse-ld=bfd");
    // The same goes for the unwinder. As a shared library it would be loaded into every program, for about 60 us; as a
    // static one it is dropped. Under the shared one's name the linker finds a script that says so.
    let out = env::var("OUT_DIR").unwrap_or_default();
    fs::write(Path::new(&out).join("libgcc_s.so"), "INPUT(-lgcc_eh)\n").expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search=native={out}");
}
