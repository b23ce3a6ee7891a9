//! What a program is, as far as it decides whether its heap can be counted: read from its file, before it runs.

use crate::search;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::{Endianness, ReadCache, ReadRef};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a program's heap is not counted, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It has no dynamic loader, so nothing can be preloaded.
    Static,
    /// It gains rights when it starts, so the loader preloads nothing into it.
    Privileged,
    /// It is for another C library.
    OtherLibc,
    /// It is for another kind of processor, or 32-bit.
    OtherMachine,
    /// It defines `malloc` itself.
    OwnMalloc,
    /// Its heap is that of the Go runtime.
    Go,
    /// No ledger appeared, for no reason that is known.
    NotLoaded,
    /// Its process exited without its ledger being told.
    Replaced,
}

/// What was found about a program.
#[derive(Debug)]
pub struct Inspection {
    /// The file that is executed in the end: for a script, its interpreter.
    pub file: PathBuf,
    /// Why it is not counted. Empty if it will be, as far as its file tells.
    pub reasons: Vec<Reason>,
}

impl Reason {
    /// The name in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Static => "static",
            Reason::Privileged => "privileged",
            Reason::OtherLibc => "other_libc",
            Reason::OtherMachine => "other_machine",
            Reason::OwnMalloc => "own_malloc",
            Reason::Go => "go",
            Reason::NotLoaded => "not_loaded",
            Reason::Replaced => "replaced",
        }
    }

    /// What the reader should know, put behind the program's name.
    pub fn explanation(self) -> &'static str {
        match self {
            Reason::Static => {
                "is statically linked: nothing can be preloaded into it, so it is not counted; \
                 dynamically linked programs that it starts are"
            }
            Reason::Privileged => {
                "gains rights when it starts (setuid, setgid or file capabilities): \
                 the loader preloads nothing into it, so it is not counted"
            }
            Reason::OtherLibc => {
                "is for another C library (its loader is not this system's): it runs without the ledger, not counted"
            }
            Reason::OtherMachine => "is for another machine or 32-bit: it runs without the ledger, not counted",
            Reason::OwnMalloc => {
                "defines malloc itself: calls of it and its libraries go there, and are not counted; \
                 mappings and peak RSS are"
            }
            Reason::Go => "is a Go program: the Go runtime's own heap is not counted, only what C code in it allocates",
            Reason::NotLoaded => {
                "left no ledger: it ended before it could, changed its user or its view of files, \
                 or removed LD_PRELOAD from the environment"
            }
            Reason::Replaced => {
                "became a program that is not counted (static, setuid, or without LD_PRELOAD), \
                 or ended by a raw system call: its figures end there"
            }
        }
    }

    /// Whether preloading would only make the program's own loader fail or complain.
    fn forbids_preload(self) -> bool {
        matches!(self, Reason::OtherLibc | Reason::OtherMachine)
    }
}

impl Inspection {
    /// Looks at what executing `program` would run. Finds nothing in a file that cannot be read.
    pub fn of(program: &OsStr) -> Option<Inspection> {
        let mut file = search::program(program)?;
        let mut reasons: Vec<Reason> = privileges(&file).into_iter().collect();
        // As deep as the kernel goes.
        for _ in 0..4 {
            let Some(interpreter) = interpreter_of_script(&file) else { break };
            file = interpreter;
        }
        reasons.extend(reasons_in_file(&file));
        Some(Inspection { file, reasons })
    }

    /// Whether to preload. Where it would only be noise or worse, the program runs bare.
    pub fn allows_preload(&self) -> bool {
        !self.reasons.iter().any(|reason| reason.forbids_preload())
    }
}

/// Whether a library's file is for the same machine as zm.
pub fn is_loadable_here(library: &Path) -> bool {
    read_start(library).is_some_and(|start| is_elf(&start) && is_same_machine(&start))
}

/// Whether an executable's file defines `malloc`; `None` if it cannot be read.
pub fn defines_malloc(file: &Path) -> Option<bool> {
    is_elf(&read_start(file)?).then(|| reasons_in_file(file).contains(&Reason::OwnMalloc))
}

/// The allocator that an executable has linked in under names of its own, as its symbols tell. None of a stripped one.
pub fn linked_allocator(file: &Path) -> Option<&'static str> {
    if !is_elf(&read_start(file)?) {
        return None;
    }
    allocator_in_elf(&ReadCache::new(File::open(file).ok()?)).ok()?
}

fn allocator_in_elf<'data>(data: impl ReadRef<'data>) -> object::Result<Option<&'static str>> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        let symbols = sections.symbols(endian, data, kind)?;
        for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
            match symbol.name(endian, symbols.strings()) {
                Ok(b"_rjem_malloc" | b"_rjem_mallocx" | b"je_malloc") => return Ok(Some("jemalloc")),
                Ok(b"mi_malloc") => return Ok(Some("mimalloc")),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// The interpreter that a script's first line names; behind `env`, the program that it will find.
fn interpreter_of_script(file: &Path) -> Option<PathBuf> {
    let start = read_start(file)?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return Some(interpreter);
    }
    let is_option = |word: &&[u8]| word.starts_with(b"-") || word.contains(&b'=');
    words.find(|word| !is_option(word)).and_then(|word| search::program(OsStr::from_bytes(word))).or(Some(interpreter))
}

/// Rights by setuid, setgid or capabilities that this user would gain, which is when the loader turns careful.
fn privileges(file: &Path) -> Option<Reason> {
    let status = std::fs::metadata(file).ok()?;
    // SAFETY: these always succeed.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    let setuid = status.mode() & libc::S_ISUID != 0 && status.uid() != user;
    let group_bits = libc::S_ISGID | libc::S_IXGRP;
    let setgid = status.mode() & group_bits == group_bits && status.gid() != group;
    let capable = || user != 0 && has_capabilities(file);
    (setuid || setgid || capable()).then_some(Reason::Privileged)
}

fn has_capabilities(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return false };
    // SAFETY: strings that end; no space for an answer, so only its length is told.
    unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

fn read_start(file: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file).ok()?.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

fn is_elf(start: &[u8]) -> bool {
    start.starts_with(&elf::ELFMAG)
}

/// Whether class, byte order and machine are those that this zm is compiled for.
fn is_same_machine(start: &[u8]) -> bool {
    let class = if cfg!(target_pointer_width = "64") { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
    let order = if cfg!(target_endian = "little") { elf::ELFDATA2LSB } else { elf::ELFDATA2MSB };
    let machine = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "x86" => elf::EM_386,
        "aarch64" => elf::EM_AARCH64,
        "arm" => elf::EM_ARM,
        "riscv64" => elf::EM_RISCV,
        "powerpc64" => elf::EM_PPC64,
        "s390x" => elf::EM_S390,
        "loongarch64" => elf::EM_LOONGARCH,
        // Unknown to us: class and byte order have to do.
        _ => return start.get(4..6) == Some(&[class, order][..]),
    };
    start.get(4..6) == Some(&[class, order][..]) && start.get(18..20) == Some(&machine.to_ne_bytes()[..])
}

/// Reasons in an executable's headers. Nothing, if it is no executable that can be read.
fn reasons_in_file(file: &Path) -> Vec<Reason> {
    match read_start(file) {
        Some(start) if is_elf(&start) => {
            if !is_same_machine(&start) {
                return vec![Reason::OtherMachine];
            }
        }
        _ => return Vec::new(),
    }
    let Ok(opened) = File::open(file) else { return Vec::new() };
    reasons_in_elf(&ReadCache::new(opened)).unwrap_or_default()
}

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<Endianness>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<Endianness>;

fn reasons_in_elf<'data>(data: impl ReadRef<'data>) -> object::Result<Vec<Reason>> {
    let mut reasons = Vec::new();
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let interpreter = segments.iter().find_map(|segment| segment.interpreter(endian, data).ok().flatten());
    match interpreter {
        None => reasons.push(Reason::Static),
        Some(interpreter) if is_other_libc(interpreter) => reasons.push(Reason::OtherLibc),
        Some(_) => {}
    }

    let sections = header.sections(endian, data)?;
    let has_section = |name: &[u8]| {
        sections.iter().any(|section| sections.section_name(endian, section).is_ok_and(|found| found == name))
    };
    if has_section(b".go.buildinfo") || has_section(b".note.go.buildid") {
        reasons.push(Reason::Go);
    }
    if interpreter.is_some() {
        let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
        let defines_malloc = symbols.iter().any(|symbol| {
            !symbol.is_undefined(endian) && symbol.name(endian, symbols.strings()).is_ok_and(|name| name == b"malloc")
        });
        if defines_malloc {
            reasons.push(Reason::OwnMalloc);
        }
    }
    Ok(reasons)
}

/// musl's loader, or one that is not there: then the program will not start at all, and that is for it to say.
fn is_other_libc(interpreter: &[u8]) -> bool {
    let own_is_musl = cfg!(target_env = "musl");
    let is_musl = interpreter.windows(7).any(|part| part == b"ld-musl");
    is_musl != own_is_musl
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(bytes: &[u8]) -> Vec<Reason> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("zm-inspect-{}-{number}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let reasons = reasons_in_file(&path);
        std::fs::remove_file(path).unwrap();
        reasons
    }

    fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes.to_vec();
        let at: Vec<usize> =
            bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
        assert!(!at.is_empty());
        at.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    }

    #[test]
    fn an_ordinary_program_has_no_reason() {
        let inspection = Inspection::of("sh".as_ref()).unwrap();
        assert_eq!((inspection.reasons.as_slice(), inspection.allows_preload()), (&[][..], true));
    }

    #[test]
    fn copies_with_one_trait_each_are_told_apart() {
        let plain = std::fs::read(search::program("cat".as_ref()).unwrap()).unwrap();
        assert_eq!(inspect(&plain), []);
        let loader = b"ld-linux-x86-64.so.2";
        if plain.windows(loader.len()).any(|part| part == loader) {
            assert_eq!(inspect(&replace(&plain, loader, b"ld-musl-x86_64.so.1\0")), [Reason::OtherLibc]);
        }
        assert_eq!(inspect(&replace(&plain, b".note.ABI-tag\0", b".go.buildinfo\0")), [Reason::Go]);
        let mut other = plain.clone();
        other[4] = elf::ELFCLASS32;
        assert_eq!(inspect(&other), [Reason::OtherMachine]);
        let mut other = plain.clone();
        other[18] ^= 0x55;
        assert_eq!(inspect(&other), [Reason::OtherMachine]);
        let header = Header::parse(&*plain).unwrap();
        let endian = header.endian().unwrap();
        // PT_INTERP becomes PT_NULL: the program is static.
        let table = header.e_phoff(endian) as usize;
        let mut bare = plain.clone();
        for index in 0..header.e_phnum(endian) as usize {
            let at = table + index * size_of::<elf::ProgramHeader64<Endianness>>();
            if bare[at] == elf::PT_INTERP as u8 {
                bare[at] = 0;
            }
        }
        assert_eq!(inspect(&bare), [Reason::Static]);
    }

    #[test]
    fn damaged_files_are_survived() {
        let plain = std::fs::read(search::program("cat".as_ref()).unwrap()).unwrap();
        for length in (0..plain.len()).step_by(plain.len() / 50) {
            inspect(&plain[..length]);
        }
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..100 {
            let mut damaged = plain.clone();
            for _ in 0..16 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                damaged[6 + (random >> 33) as usize % 1200] = random as u8;
            }
            inspect(&damaged);
        }
    }

    #[test]
    fn a_script_is_its_interpreter() {
        let path = std::env::temp_dir().join(format!("zm-script-{}", std::process::id()));
        for (line, interpreter) in [
            ("#!/bin/sh\n", Some(PathBuf::from("/bin/sh"))),
            ("#! /bin/sh -e\n", Some("/bin/sh".into())),
            ("#!/usr/bin/env -S A=1 sh -e\n", search::program("sh".as_ref())),
            ("#!\n", None),
            ("echo\n", None),
        ] {
            std::fs::write(&path, line).unwrap();
            assert_eq!(interpreter_of_script(&path), interpreter, "{line}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
