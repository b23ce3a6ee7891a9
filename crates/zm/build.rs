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
        let manifest = manifest(&out);
        for name in names {
            let built = build(&manifest, &out, name);
            copy(&built, &out.join(format!("{name}.so")));
        }
    }
}

/// The manifest to build: the sibling's, or one that pulls the published package in.
fn manifest(out: &Path) -> PathBuf {
    let here = PathBuf::from(required("CARGO_MANIFEST_DIR"));
    let crates = here.parent().expect("a package lies in a directory");
    let sibling = crates.join("zmalloc-preload/Cargo.toml");
    if sibling.exists() {
        for package in ["zmalloc-preload", "zmalloc"] {
            for part in ["Cargo.toml", "build.rs", "src"] {
                let path = crates.join(package).join(part);
                if path.exists() {
                    println!("cargo::rerun-if-changed={}", path.display());
                }
            }
        }
        if let Some(root) = crates.parent() {
            for part in ["Cargo.toml", "Cargo.lock"] {
                println!("cargo::rerun-if-changed={}", root.join(part).display());
            }
        }
        return sibling;
    }

    let package = out.join("preload");
    let features: String = ALLOCATORS.iter().map(|name| format!("{name} = [\"zmalloc-preload/{name}\"]\n")).collect();
    let text = format!(
        "[package]\nname = \"preload\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [features]\n{features}\n[dependencies]\n\
         zmalloc-preload = {{ version = \"={}\", default-features = false }}\n",
        required("CARGO_PKG_VERSION")
    );
    fs::create_dir_all(package.join("src")).expect("OUT_DIR is writable");
    fs::write(package.join("src/lib.rs"), "").expect("OUT_DIR is writable");
    write_if_changed(&package.join("Cargo.toml"), &text);
    package.join("Cargo.toml")
}

/// Builds one object and says where it is.
fn build(manifest: &Path, out: &Path, name: &str) -> PathBuf {
    let (target, host) = (required("TARGET"), required("HOST"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env_clear().envs(env::vars_os().filter(|(key, _)| is_for_nested_cargo(key)));
    // Flags for the whole build, like a static C runtime or a sanitizer, would make an object that cannot be preloaded.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    // Never the directory of the cargo that waits for us, nor its lock.
    let directory = out.join("preload-target");
    cargo.args(["build", "--package", "zmalloc-preload", "--profile", "preload", "--no-default-features"]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&directory);
    for setting in PROFILE {
        cargo.arg("--config").arg(format!("profile.preload.{setting}"));
    }
    if name != "forward" {
        cargo.args(["--features", name]);
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
