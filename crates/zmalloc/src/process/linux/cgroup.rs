//! The memory limit of a process's cgroup: the lowest on the way up.
//!
//! Where a group lies is put together from two texts, since in a container the hierarchy is mounted elsewhere or from
//! a deeper root: the process's path in the hierarchy, and which part of the hierarchy is mounted where.

use super::file::read_start;
use super::lines;
use super::parse::{self, words};
use super::path::Path;
use crate::process::CgroupMemory;

/// The lowest memory limit in bytes, of both versions, since a system may have either or the two side by side.
///
/// `root` is put before every path: empty, or in tests the place of a made-up tree.
pub(super) fn limit(root: &[u8]) -> Option<usize> {
    lowest([Version::One, Version::Two].map(|version| version.limit(root)))
}

/// The file of the process's group, in version 2, that tells how long its tasks wait for memory.
pub(super) fn pressure(root: &[u8]) -> Option<Path> {
    let group = Version::Two.group(root)?;
    let (directory, _) = Version::Two.directory(root, group.as_bytes())?;
    Path::of(&[directory.as_bytes(), b"/memory.pressure"])
}

/// What the process's own group holds, and how many of its processes were killed for want of memory. `root` as above.
pub(super) fn memory(root: &[u8]) -> CgroupMemory {
    let found = [Version::Two, Version::One].map(|version| version.memory(root).unwrap_or_default());
    let [two, one] = found;
    CgroupMemory { used: two.used.or(one.used), oom_kills: two.oom_kills.or(one.oom_kills) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit(self, root: &[u8]) -> Option<usize> {
        let group = self.group(root)?;
        let (mut directory, top) = self.directory(root, group.as_bytes())?;
        match self {
            Version::One => {
                let own = limit_in(&directory, b"/memory.limit_in_bytes");
                // Here the kernel tells what the groups above allow, those included that are not mounted.
                if let Some(above) = hierarchical(&directory) {
                    return lowest([own, above]);
                }
                climb(&mut directory, top, &[b"/memory.limit_in_bytes"])
            }
            Version::Two => climb(&mut directory, top, &[b"/memory.max", b"/memory.high"]),
        }
    }

    fn memory(self, root: &[u8]) -> Option<CgroupMemory> {
        let group = self.group(root)?;
        let (directory, _) = self.directory(root, group.as_bytes())?;
        let (used, events): (&[u8], &[u8]) = match self {
            Version::One => (b"/memory.usage_in_bytes", b"/memory.oom_control"),
            Version::Two => (b"/memory.current", b"/memory.events"),
        };
        Some(CgroupMemory { used: limit_in(&directory, used), oom_kills: oom_kills(&directory, events) })
    }

    /// The process's path in the hierarchy.
    fn group(self, root: &[u8]) -> Option<Path> {
        let mut lines = lines(&Path::of(&[root, b"/proc/self/cgroup"])?)?;
        while let Some(line) = lines.next() {
            if let Some(group) = group_in(self, line) {
                return Path::of(&[group]);
            }
        }
        None
    }

    /// The directory of `group`, and how many of its bytes are the mount point. Of several mounts, the one that shows
    /// most of the way up; if none shows the group, what is mounted counts as the group: a container sees its own so.
    fn directory(self, root: &[u8], group: &[u8]) -> Option<(Path, usize)> {
        let mut lines = lines(&Path::of(&[root, b"/proc/self/mountinfo"])?)?;
        let mut found: Option<(Path, usize)> = None;
        let mut longest = None;
        while let Some(line) = lines.next() {
            let Some(mount) = mount_in(self, line) else { continue };
            let below = below(group, mount.root);
            if found.is_none() || below.map(<[u8]>::len) > longest {
                let mut directory = Path::of(&[root])?;
                directory.push(unescaped(mount.point))?;
                let top = directory.as_bytes().len();
                directory.push(below.unwrap_or_default().iter().copied())?;
                found = Some((directory, top));
                longest = below.map(<[u8]>::len);
            }
        }
        found
    }
}

/// The lowest limit in `files`, over the directory and those above it up to the first `top` bytes.
fn climb(directory: &mut Path, top: usize, files: &[&[u8]]) -> Option<usize> {
    let mut limit = None;
    loop {
        for file in files {
            limit = lowest([limit, limit_in(directory, file)]);
        }
        if !directory.ascend(top) {
            return limit;
        }
    }
}

fn limit_in(directory: &Path, file: &[u8]) -> Option<usize> {
    let mut buffer = [0; 64];
    parse::limit(read_start(&Path::of(&[directory.as_bytes(), file])?, &mut buffer)?)
}

/// The count in a line `oom_kill COUNT`.
fn oom_kills(directory: &Path, file: &[u8]) -> Option<u64> {
    let mut lines = lines(&Path::of(&[directory.as_bytes(), file])?)?;
    while let Some(line) = lines.next() {
        if let Some(count) = line.strip_prefix(b"oom_kill ") {
            return core::str::from_utf8(count).ok()?.trim().parse().ok();
        }
    }
    None
}

/// What version 1's statistics say of the limits from here upwards; the outer `None` if they do not.
fn hierarchical(directory: &Path) -> Option<Option<usize>> {
    let mut lines = lines(&Path::of(&[directory.as_bytes(), b"/memory.stat"])?)?;
    while let Some(line) = lines.next() {
        if let Some(value) = line.strip_prefix(b"hierarchical_memory_limit ") {
            return Some(parse::limit(value));
        }
    }
    None
}

fn lowest<const N: usize>(limits: [Option<usize>; N]) -> Option<usize> {
    limits.into_iter().flatten().min()
}

/// The path in a line `ID:CONTROLLERS:PATH`, if it is of the hierarchy that bounds memory in this version.
fn group_in(version: Version, line: &[u8]) -> Option<&[u8]> {
    let mut parts = line.splitn(3, |&byte| byte == b':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = match version {
        Version::One => has_memory(controllers),
        Version::Two => controllers.is_empty(),
    };
    ours.then_some(path)
}

struct Mount<'a> {
    /// What of the hierarchy is mounted, escaped.
    root: &'a [u8],
    /// Where it is mounted, escaped.
    point: &'a [u8],
}

/// The mount in a line of mountinfo, if it is of that hierarchy: `ID PARENT DEVICE ROOT POINT OPTIONS TAG... - TYPE
/// SOURCE OPTIONS`.
fn mount_in(version: Version, line: &[u8]) -> Option<Mount<'_>> {
    let mut words = words(line);
    let (root, point) = (words.nth(3)?, words.next()?);
    words.find(|&word| word == b"-")?;
    let kind = words.next()?;
    let ours = match version {
        Version::One => kind == b"cgroup" && has_memory(words.nth(1)?),
        Version::Two => kind == b"cgroup2",
    };
    ours.then_some(Mount { root, point })
}

fn has_memory(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|name| name == b"memory")
}

/// The part of `group` below the escaped `root`, empty or with a slash before each name; `None` if it is not below.
fn below<'g>(group: &'g [u8], root: &[u8]) -> Option<&'g [u8]> {
    let mut rest = group;
    if root != b"/" {
        for byte in unescaped(root) {
            rest = rest.strip_prefix(&[byte])?;
        }
    }
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    // A group beside the namespace's root is shown by climbing out of it, but the mount ends there.
    let outside = rest.split(|&byte| byte == b'/').any(|name| name == b"..");
    (rest.is_empty() || (rest[0] == b'/' && !outside)).then_some(rest)
}

/// Blanks, ends of lines and backslashes come as three octal digits.
fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    core::iter::from_fn(move || {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = *rest {
            rest = &rest[4..];
            return Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
        }
        let (&first, others) = rest.split_first()?;
        rest = others;
        Some(first)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::PathBuf;

    /// A made-up tree of files, gone when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Tree {
            let root = std::env::temp_dir().join(format!("zmalloc-cgroup-{}-{name}", std::process::id()));
            let tree = Tree(root);
            for (path, text) in files {
                let path = tree.0.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            tree
        }

        fn limit(&self) -> Option<usize> {
            limit(self.0.to_str().unwrap().as_bytes())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_group_holds_and_lost_is_read_in_both_versions() {
        let memory = |tree: &Tree| memory(tree.0.to_str().unwrap().as_bytes());
        let tree = Tree::new(
            "memory-v2",
            &[
                ("proc/self/cgroup", "0::/app\n"),
                ("proc/self/mountinfo", V2),
                ("sys/fs/cgroup/app/memory.current", "12345\n"),
                ("sys/fs/cgroup/app/memory.events", "low 0\noom 9\noom_kill 3\noom_group_kill 1\n"),
            ],
        );
        assert_eq!(memory(&tree), CgroupMemory { used: Some(12_345), oom_kills: Some(3) });
        let tree = Tree::new(
            "memory-v1",
            &[
                ("proc/self/cgroup", "4:memory:/app\n0::/\n"),
                ("proc/self/mountinfo", V1),
                ("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "777\n"),
                ("sys/fs/cgroup/memory/app/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ],
        );
        assert_eq!(memory(&tree), CgroupMemory { used: Some(777), oom_kills: Some(2) });
        assert_eq!(memory(&Tree::new("memory-none", &[])), CgroupMemory::default());
    }

    const ROOT_MOUNT: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";
    const NO_LIMIT: &str = "9223372036854771712\n";

    #[test]
    fn version_2_takes_the_lowest_on_the_way_up() {
        let tree = Tree::new(
            "v2",
            &[
                ("proc/self/cgroup", "0::/pods/pod-1/app\n"),
                ("proc/self/mountinfo", &(ROOT_MOUNT.to_owned() + V2)),
                ("sys/fs/cgroup/pods/pod-1/app/memory.max", "max\n"),
                ("sys/fs/cgroup/pods/pod-1/app/memory.high", "900000\n"),
                ("sys/fs/cgroup/pods/pod-1/memory.max", "800000\n"),
                ("sys/fs/cgroup/pods/memory.max", "850000\n"),
                // Not a group on the way.
                ("sys/fs/cgroup/other/memory.max", "1\n"),
                ("sys/fs/memory.max", "2\n"),
            ],
        );
        assert_eq!(tree.limit(), Some(800_000));
        fs::write(tree.0.join("sys/fs/cgroup/pods/pod-1/memory.high"), "700000\n").unwrap();
        assert_eq!(tree.limit(), Some(700_000), "the threshold counts");
        fs::write(tree.0.join("sys/fs/cgroup/pods/memory.max"), "600000\n").unwrap();
        assert_eq!(tree.limit(), Some(600_000), "the group above counts");
    }

    #[test]
    fn no_limit_is_none() {
        let v2 = [("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2)];
        assert_eq!(Tree::new("none-root", &v2).limit(), None);
        assert_eq!(Tree::new("none-empty", &[]).limit(), None);
        let v1 = [
            ("proc/self/cgroup", "4:memory:/a\n0::/\n"),
            ("proc/self/mountinfo", V1),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", NO_LIMIT),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT),
        ];
        assert_eq!(Tree::new("none-v1", &v1).limit(), None);
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount_point() {
        // With a namespace: the group is the root of what it sees.
        let own = [("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2), ("sys/fs/cgroup/memory.max", "5000\n")];
        assert_eq!(Tree::new("namespace", &own).limit(), Some(5000));
        // Without one: the path is the host's, and the mount begins at it.
        let host = [
            ("proc/self/cgroup", "0::/docker/4f\n"),
            ("proc/self/mountinfo", "30 23 0:26 /docker/4f /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
            ("sys/fs/cgroup/memory.max", "6000\n"),
        ];
        assert_eq!(Tree::new("host-path", &host).limit(), Some(6000));
        // The mount shows neither the group nor what is above it.
        let elsewhere = [
            ("proc/self/cgroup", "0::/../docker/4f\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
            ("sys/fs/cgroup/memory.max", "7000\n"),
            ("sys/fs/docker/4f/memory.max", "1\n"),
        ];
        assert_eq!(Tree::new("elsewhere", &elsewhere).limit(), Some(7000));
    }

    #[test]
    fn the_mount_that_shows_most_is_taken() {
        let tree = Tree::new(
            "mounts",
            &[
                ("proc/self/cgroup", "0::/pods/app\n"),
                (
                    "proc/self/mountinfo",
                    "30 1 0:26 /other /x rw - cgroup2 none rw\n31 1 0:26 /pods /y rw - cgroup2 none rw\n\
                     32 1 0:26 / /with\\040blank rw - cgroup2 none rw\n",
                ),
                ("x/memory.max", "1\n"),
                ("y/app/memory.max", "2\n"),
                ("with blank/pods/memory.max", "8000\n"),
            ],
        );
        assert_eq!(tree.limit(), Some(8000));
    }

    #[test]
    fn version_1_asks_the_kernel_or_climbs() {
        let files = [
            ("proc/self/cgroup", "5:devices:/\n4:cpu,memory:/pod/app\n1:name=systemd:/\n0::/\n"),
            ("proc/self/mountinfo", &(ROOT_MOUNT.to_owned() + V1 + &V2.replace("/sys/fs/cgroup", "/unified"))),
            ("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", NO_LIMIT),
            ("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "300000\n"),
        ];
        let tree = Tree::new("v1", &files);
        assert_eq!(tree.limit(), Some(300_000));
        let stat = tree.0.join("sys/fs/cgroup/memory/pod/app/memory.stat");
        fs::write(&stat, "cache 1\nhierarchical_memory_limit 200000\nhierarchical_memsw_limit 1\n").unwrap();
        assert_eq!(tree.limit(), Some(200_000), "the statistics know groups that are not mounted");
        fs::write(&stat, "cache 1\nhierarchical_memory_limit 9223372036854771712\n").unwrap();
        assert_eq!(tree.limit(), None, "a group above that does not bound those below is not asked");
        fs::create_dir(tree.0.join("unified")).unwrap();
        fs::write(tree.0.join("unified/memory.max"), "100000\n").unwrap();
        assert_eq!(tree.limit(), Some(100_000), "side by side, both count");
    }

    #[test]
    fn pressure_is_that_of_the_processs_own_group_of_version_2() {
        let of = |tree: &Tree| {
            let path = pressure(tree.0.to_str().unwrap().as_bytes())?;
            let mut buffer = [0; 256];
            parse::pressure(read_start(&path, &mut buffer)?)
        };
        let text = "some avg10=12.50 avg60=3.00 avg300=1.00 total=9\nfull avg10=4.25 avg60=1.00 avg300=0.00 total=5\n";
        let files = [
            ("proc/self/cgroup", "4:memory:/old\n0::/pods/app\n"),
            ("proc/self/mountinfo", &(ROOT_MOUNT.to_owned() + V1 + &V2.replace("/sys/fs/cgroup", "/unified"))),
            ("unified/pods/app/memory.pressure", text),
            // Those of others: pressure is not a limit, which the groups above share.
            ("unified/pods/memory.pressure", "some avg10=99.00 avg60=0 avg300=0 total=0\n"),
            ("sys/fs/cgroup/memory/old/memory.pressure", "some avg10=98.00 avg60=0 avg300=0 total=0\n"),
        ];
        let tree = Tree::new("pressure", &files);
        let pressure = of(&tree).unwrap();
        assert_eq!((pressure.some, pressure.full), (12.5, 4.25));
        fs::write(tree.0.join("unified/pods/app/memory.pressure"), "some avg10=0.00 avg60=0.00 total=0\n").unwrap();
        assert_eq!(of(&tree).map(|pressure| (pressure.some, pressure.full)), Some((0.0, 0.0)), "no line of all tasks");
        fs::remove_file(tree.0.join("unified/pods/app/memory.pressure")).unwrap();
        assert!(of(&tree).is_none(), "a kernel that does not tell");
        assert!(of(&Tree::new("pressure-v1", &files[..1])).is_none(), "nothing is mounted");
    }

    #[test]
    fn a_group_is_below_a_root_by_whole_names() {
        assert_eq!(below(b"/", b"/"), Some(&b""[..]));
        assert_eq!(below(b"/a/b", b"/"), Some(&b"/a/b"[..]));
        assert_eq!(below(b"/a/b", b"/a"), Some(&b"/b"[..]));
        assert_eq!(below(b"/a b/c", b"/a\\040b"), Some(&b"/c"[..]));
        assert_eq!(below(b"/a", b"/a"), Some(&b""[..]));
        assert_eq!(below(b"/ab", b"/a"), None);
        assert_eq!(below(b"/", b"/a"), None);
        assert_eq!(below(b"/../b", b"/"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            line in proptest::collection::vec(
                prop_oneof![Just(b' '), Just(b':'), Just(b'/'), Just(b'\\'), Just(b'-'), b'0'..=b'9', any::<u8>()],
                0..120,
            ),
            root in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'\\'), any::<u8>()], 0..20),
        ) {
            for version in [Version::One, Version::Two] {
                let _ = group_in(version, &line);
                let _ = mount_in(version, &line).map(|mount| below(&line, mount.root));
            }
            let _ = below(&line, &root);
            prop_assert!(unescaped(&line).count() <= line.len());
        }
    }
}
