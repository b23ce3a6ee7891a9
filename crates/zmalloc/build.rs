//! Chooses how the ledger counts, and links what the system provides.

use std::env;
use std::path::Path;
use std::process::Command;

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

    if has("TCMALLOC") {
        link_tcmalloc(&target("VENDOR"));
    }
    #[cfg(feature = "apple-stand-in")]
    if target("VENDOR") != "apple" {
        println!("cargo::rerun-if-changed=src/backend/apple_stand_in.c");
        cc::Build::new().file("src/backend/apple_stand_in.c").warnings(true).compile("zmalloc_apple_stand_in");
    }
}

/// Links gperftools' tcmalloc from TCMALLOC_LIB_DIR, or from where the linker looks anyway.
fn link_tcmalloc(vendor: &str) {
    println!("cargo::rerun-if-env-changed=TCMALLOC_LIB_DIR");
    let file = if vendor == "apple" { "libtcmalloc_minimal.dylib" } else { "libtcmalloc_minimal.so" };
    let found = match env::var_os("TCMALLOC_LIB_DIR") {
        Some(folder) => {
            println!("cargo::rustc-link-search=native={}", folder.display());
            Path::new(&folder).join(file).exists()
        }
        None => linker_finds(file),
    };
    if !found {
        println!(
            "cargo::error=zmalloc: the feature `tcmalloc` links {file}, which was not found; install gperftools \
             (Debian and Ubuntu: libgoogle-perftools-dev, Fedora: gperftools-devel, Homebrew: gperftools), or name the \
             folder that has it in TCMALLOC_LIB_DIR"
        );
    }
    println!("cargo::rustc-link-lib=dylib=tcmalloc_minimal");
}

/// Asks the linker's driver; one that cannot tell may still find the library.
fn linker_finds(file: &str) -> bool {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    match Command::new(linker).arg(format!("-print-file-name={file}")).output() {
        // The bare name is the driver's way to say that it found nothing.
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim() != file,
        _ => true,
    }
}
