//! Builds the preloaded objects that `zm` carries: one that forwards, and one for each allocator chosen by feature.
//!
//! Cargo cannot hand a shared library from one package to another, so this runs a cargo of its own on the sibling
//! package. Where there is no sibling (`cargo install zm` from a registry), a package made for the purpose depends on the
//! published one of the same version. `ZM_PRELOAD_DIR` names a directory with ready-made objects instead, for those
//! who package each library by itself.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The allocators that may be built in; each is a feature here and of the preload.
const ALLOCATORS: [&str; 3] = ["mimalloc", "snmalloc", "jemalloc"];

/// The same as the workspace's, which a published package does not carry.
const PROFILE: [&str; 5] = ["inherits='release'", "lto='fat'", "codegen-units=1", "panic='abort'", "strip='debuginfo'"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ZM_PRELOAD_DIR");
    let out = PathBuf::from(required("OUT_DIR"));
    let chosen = ALLOCATORS.into_iter().filter(|name| env::var_os(feature_variable(name)).is_some());
    let names: Vec<&str> = std::iter::once("forward").chain(chosen).collect();

    if let Some(ready) = env::var_os("ZM_PRELOAD_DIR").map(PathBuf::from) {
        for name in names {
            let from = ready.join(format!("{name}.so"));
            println!("cargo::rerun-if-changed={}", from.display());
            copy(&from, &out.join(format!("{name}.so")));
        }
    } else if env::var_os("DOCS_RS").is_some() {
        names.iter().for_each(|name| fs::write(out.join(format!("{name}.so")), []).expect("OUT_DIR is writable"));
    } else {
        let sibling = sibling();
        for name in names {
            let built = build(sibling.as_deref(), &out, name);
            copy(&built, &out.join(format!("{name}.so")));
        }
    }
}

/// The manifest of the package beside this one, in a checkout.
fn sibling() -> Option<PathBuf> {
    let here = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let crates = here.parent().expect("a package lies in a directory");
    let manifest = crates.join("zmalloc-preload/Cargo.toml");
    if !manifest.exists() {
        return None;
    }
    let parts =
        ["zmalloc-preload", "zmalloc"].map(|package| ["Cargo.toml", "build.rs", "src"].map(|part| [package, part]));
    let files = parts.iter().flatten().map(|part| crates.join(part.join("/")));
    for file in files.chain([crates.join("../Cargo.toml"), crates.join("../Cargo.lock")]).filter(|file| file.exists()) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    Some(manifest)
}

/// The manifest of a package whose only purpose is to depend on the published preload, with this allocator inside.
fn stand_in(out: &Path, name: &str) -> PathBuf {
    let package = out.join(format!("preload-{name}"));
    let features = if name == "forward" { String::new() } else { format!("\"{name}\"") };
    let text = format!(
        "[package]\nname = \"stand-in\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         zmalloc-preload = {{ version = \"={}\", default-features = false, features = [{features}] }}\n",
        required("CARGO_PKG_VERSION")
    );
    fs::create_dir_all(package.join("src")).expect("OUT_DIR is writable");
    write_if_changed(&package.join("src/lib.rs"), "");
    write_if_changed(&package.join("Cargo.toml"), &text);
    package.join("Cargo.toml")
}

/// Builds one object and says where it is.
fn build(sibling: Option<&Path>, out: &Path, name: &str) -> PathBuf {
    let (target, host) = (required("TARGET"), required("HOST"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env_clear().envs(env::vars_os().filter(|(key, _)| is_for_nested_cargo(key)));
    // Flags for the whole build, like a static C runtime or a sanitizer, would make an object that cannot be preloaded.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    // Never the directory of the cargo that waits for us, nor its lock.
    let directory = out.join("preload-target");
    cargo.args(["build", "--package", "zmalloc-preload", "--profile", "preload"]);
    cargo.arg("--target-dir").arg(&directory).arg("--manifest-path");
    match sibling {
        Some(manifest) if name == "forward" => cargo.arg(manifest).arg("--no-default-features"),
        Some(manifest) => cargo.arg(manifest).args(["--no-default-features", "--features", name]),
        None => cargo.arg(stand_in(out, name)),
    };
    for setting in PROFILE {
        cargo.arg("--config").arg(format!("profile.preload.{setting}"));
    }
    let mut built = directory;
    if target != host {
        cargo.args(["--target", &target]);
        built.push(&target);
    }
    // Its progress is this script's, which cargo shows when it fails.
    match cargo.status() {
        Ok(status) if status.success() => built.join("preload/libzmalloc_preload.so"),
        Ok(status) => fail(&format!("building zmalloc-preload for `{name}` failed ({status}); see above for why")),
        Err(error) => fail(&format!("cargo cannot be started to build zmalloc-preload: {error}")),
    }
}

/// Whether a variable of this script's environment means the same to a cargo that it starts.
///
/// Cargo tells a script about the package that it builds in variables; some of them are settings to another cargo.
fn is_for_nested_cargo(key: &OsString) -> bool {
    let Some(key) = key.to_str() else { return true };
    const KEPT: [&str; 9] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_TERM_COLOR",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTRY_",
        "CARGO_REGISTRIES_",
        "CARGO_SOURCE_",
        // The linker and runner of a target: needed to build for another machine.
        "CARGO_TARGET_",
    ];
    match key {
        "CARGO_TARGET_DIR" | "CARGO_TARGET_TMPDIR" | "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC_WORKSPACE_WRAPPER" => false,
        "TARGET" | "HOST" | "OUT_DIR" | "PROFILE" | "OPT_LEVEL" | "DEBUG" | "NUM_JOBS" => false,
        _ if key.starts_with("CARGO_TARGET_") && key.ends_with("_RUSTFLAGS") => false,
        _ if key.starts_with("DEP_") => false,
        _ => !key.starts_with("CARGO_") || KEPT.iter().any(|kept| key.starts_with(kept)),
    }
}

fn feature_variable(name: &str) -> String {
    format!("CARGO_FEATURE_{}", name.to_uppercase())
}

fn required(key: &str) -> String {
    env::var(key).unwrap_or_else(|_| fail(&format!("cargo did not set {key}")))
}

fn copy(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        fail(&format!("{} cannot be copied: {error}", from.display()));
    }
}

fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).expect("OUT_DIR is writable");
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}
