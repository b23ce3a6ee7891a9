//! Which allocator the program gets, and what is preloaded for it.

use crate::inspect;
use crate::search;
use std::fmt;
use std::path::PathBuf;

/// An allocator that can be had here.
#[derive(Debug)]
pub struct Backend {
    /// As on the command line.
    pub name: &'static str,
    /// The preloaded object's bytes.
    pub object: &'static [u8],
    /// A library of the system, preloaded behind the object.
    pub library: Option<PathBuf>,
    /// What `ZMALLOC_BACKEND` shall be.
    pub variable: Option<&'static str>,
}

/// What zm knows of an allocator, wherever it may come from.
struct Known {
    name: &'static str,
    about: &'static str,
    /// The object with the allocator inside; `forward`'s for those that need none.
    object: Option<&'static [u8]>,
    variable: Option<&'static str>,
    /// File names of the system's library, the preferred first.
    libraries: &'static [&'static str],
    remedy: &'static str,
}

const FORWARD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/forward.so"));

macro_rules! built_in {
    ($feature:literal) => {{
        #[cfg(feature = $feature)]
        const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/", $feature, ".so")));
        #[cfg(not(feature = $feature))]
        const OBJECT: Option<&[u8]> = None;
        OBJECT
    }};
}

const KNOWN: [Known; 6] = [
    Known {
        name: "forward",
        about: "the allocator that the program uses anyway",
        object: Some(FORWARD),
        variable: None,
        libraries: &[],
        remedy: "",
    },
    Known {
        name: "libc",
        about: "the C library's",
        object: Some(FORWARD),
        variable: Some("libc"),
        libraries: &[],
        remedy: "",
    },
    Known {
        name: "mimalloc",
        about: "Microsoft's",
        object: built_in!("mimalloc"),
        variable: None,
        libraries: &["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"],
        remedy: "install it (Debian: libmimalloc2.0), or build zm with `--features mimalloc`",
    },
    Known {
        name: "jemalloc",
        about: "Meta's",
        object: built_in!("jemalloc"),
        variable: None,
        libraries: &["libjemalloc.so.2"],
        remedy: "install it (Debian: libjemalloc2), or build zm with `--features jemalloc` (a few minutes)",
    },
    Known {
        name: "tcmalloc",
        about: "Google's, of gperftools",
        object: None,
        variable: None,
        libraries: &["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"],
        remedy: "install it (Debian: libtcmalloc-minimal4)",
    },
    Known {
        name: "snmalloc",
        about: "Microsoft's, for messages between threads",
        object: built_in!("snmalloc"),
        variable: None,
        libraries: &[],
        remedy: "build zm with `--features snmalloc` (needs a C++20 compiler)",
    },
];

impl Known {
    fn find(&self) -> Option<Backend> {
        if let Some(object) = self.object {
            return Some(Backend { name: self.name, object, library: None, variable: self.variable });
        }
        let library = self.libraries.iter().find_map(|name| search::library(name, inspect::is_loadable_here))?;
        Some(Backend { name: self.name, object: FORWARD, library: Some(library), variable: None })
    }
}

impl Backend {
    /// The allocator `name`, built in or else of the system.
    pub fn find(name: &str) -> Result<Backend, Unavailable> {
        let known = KNOWN.iter().find(|known| known.name == name);
        known.and_then(Known::find).ok_or_else(|| Unavailable { name: name.to_owned() })
    }

    /// Every allocator that can be had here.
    pub fn all_here() -> Vec<Backend> {
        KNOWN.iter().filter_map(Known::find).collect()
    }

    /// Whether the allocator is inside the preloaded object.
    pub fn is_built_in(&self) -> bool {
        self.source() == "built in"
    }

    /// The system's library of the allocator, whichever is used here; and how to get it.
    pub fn system_library(&self) -> (Option<PathBuf>, &'static str) {
        let known = KNOWN.iter().find(|known| known.name == self.name);
        let known = known.expect("a backend is one that is known");
        (known.libraries.iter().find_map(|name| search::library(name, inspect::is_loadable_here)), known.remedy)
    }

    /// The allocator whose library has this file name.
    pub fn of_library(file_name: &str) -> Option<&'static str> {
        let stem = |name: &str| name.split(".so").next().unwrap_or_default().to_owned();
        let is_its = |known: &&Known| known.libraries.iter().any(|library| stem(library) == stem(file_name));
        KNOWN.iter().find(is_its).map(|known| known.name)
    }

    /// Where the allocator comes from: `program`, `built in`, or the library's path.
    pub fn source(&self) -> String {
        match (&self.library, self.name) {
            (Some(library), _) => library.display().to_string(),
            (None, "forward" | "libc") => "program".to_owned(),
            (None, _) => "built in".to_owned(),
        }
    }
}

/// An allocator that zm does not know, or that is not here. Says which are, and how to get the others.
#[derive(Debug)]
pub struct Unavailable {
    name: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|known| known.name == self.name) {
            Some(known) => write!(f, "the backend `{}` is not available here: {}", self.name, known.remedy)?,
            None => write!(f, "there is no backend `{}`", self.name)?,
        }
        let found: Vec<(&Known, Option<Backend>)> = KNOWN.iter().map(|known| (known, known.find())).collect();
        f.write_str("\navailable here:")?;
        for (known, backend) in &found {
            if let Some(backend) = backend {
                write!(f, "\n  {:<9} {} ({})", known.name, known.about, backend.source())?;
            }
        }
        if found.iter().any(|(_, backend)| backend.is_none()) {
            f.write_str("\nnot available:")?;
        }
        for (known, _) in found.iter().filter(|(_, backend)| backend.is_none()) {
            write!(f, "\n  {:<9} {}", known.name, known.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_there_is_found_and_the_unknown_is_explained() {
        for name in ["forward", "libc"] {
            assert_eq!(Backend::find(name).unwrap().name, name);
        }
        let text = Backend::find("nomalloc").unwrap_err().to_string();
        assert!(
            text.starts_with("there is no backend `nomalloc`\navailable here:\n  forward   the allocator"),
            "{text}"
        );
        for known in &KNOWN {
            assert!(text.contains(known.name), "{text}");
        }
    }
}
