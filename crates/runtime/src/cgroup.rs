//! The memory limit of the container, read from its control groups.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The memory limit that applies to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The least limit of the group and its ancestors, in bytes.
    Bytes(u64),
    /// No group sets one.
    None,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} MiB", bytes / (1 << 20)),
            Self::None => f.write_str("none"),
        }
    }
}

/// A v1 group without a limit shows a number near 2^63.
const V1_UNLIMITED: u64 = 1 << 60;

/// Reads the limit; hosts may have v1, v2 or both, so each is looked at.
#[must_use]
pub fn memory_limit() -> MemoryLimit {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_under(Path::new("/sys/fs/cgroup"), &groups)
}

/// What the group is charged, in bytes, without pages of files that nobody has used lately; of the
/// outermost group that sets a limit, since that is where the kernel ends processes.
#[must_use]
pub(crate) fn memory_used() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    used_under(Path::new("/sys/fs/cgroup"), &groups)
}

/// Memory of the machine, in bytes.
#[must_use]
pub fn machine_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn used_under(mount: &Path, groups: &str) -> Option<u64> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        if controllers.is_empty() {
            used_in(mount, group, "memory.max", "memory.current", "inactive_file")
        } else if controllers.split(',').any(|name| name == "memory") {
            let mount = mount.join("memory");
            let (most, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            used_in(&mount, group, most, used, "total_inactive_file")
        } else {
            None
        }
    })
}

/// Of a group and its ancestors the first that sets the least limit.
fn used_in(mount: &Path, group: &str, most: &str, used: &str, inactive: &str) -> Option<u64> {
    let read = |folder: &Path, file: &str| {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()
    };
    let least = least_in(mount, group, most)?;
    let mut folder: PathBuf = mount.join(group.trim_start_matches('/'));
    while read(&folder, most) != Some(least) {
        if folder == mount || !folder.pop() {
            return None;
        }
    }
    let charged = read(&folder, used)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == inactive { value.trim().parse::<u64>().ok() } else { None }
    });
    Some(charged.saturating_sub(cache.unwrap_or(0)))
}

fn limit_under(mount: &Path, groups: &str) -> MemoryLimit {
    let least = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        if controllers.is_empty() {
            least_in(mount, group, "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            least_in(&mount.join("memory"), group, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    least.min().map_or(MemoryLimit::None, MemoryLimit::Bytes)
}

/// The least number in `file` of a group and its ancestors. Inside a container the group's own
/// path is often not visible, and the mount itself is the group.
fn least_in(mount: &Path, group: &str, file: &str) -> Option<u64> {
    let mut folder: PathBuf = mount.join(group.trim_start_matches('/'));
    let mut least: Option<u64> = None;
    loop {
        let limit = fs::read_to_string(folder.join(file)).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        if let Some(limit) = limit.filter(|limit| *limit < V1_UNLIMITED) {
            least = Some(least.map_or(limit, |least| least.min(limit)));
        }
        if folder == mount || !folder.pop() {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().expect("folder");
        for (path, text) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folders");
            fs::write(path, text).expect("file");
        }
        mount
    }

    #[test]
    fn an_ancestors_smaller_limit_counts() {
        let mount = tree(&[("a/memory.max", "1073741824\n"), ("a/b/memory.max", "max\n")]);
        let limit = limit_under(mount.path(), "0::/a/b\n");
        assert_eq!(limit, MemoryLimit::Bytes(1 << 30));
        assert_eq!(limit.to_string(), "1024 MiB");
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let mount = tree(&[("memory.max", "536870912\n")]);
        assert_eq!(limit_under(mount.path(), "0::/not/visible\n"), MemoryLimit::Bytes(1 << 29));
    }

    #[test]
    fn a_hybrid_host_is_read_in_both_hierarchies() {
        let mount = tree(&[
            ("memory/x/memory.limit_in_bytes", "268435456\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let groups = "5:cpu,memory:/x\n0::/\n";
        assert_eq!(limit_under(mount.path(), groups), MemoryLimit::Bytes(1 << 28));
    }

    #[test]
    fn what_is_used_is_read_where_the_limit_is_set() {
        let mount = tree(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "900\n"),
            ("a/memory.stat", "anon 500\ninactive_file 300\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "1\n"),
        ]);
        assert_eq!(used_under(mount.path(), "0::/a/b\n"), Some(600));
        assert_eq!(used_under(mount.path(), "0::/\n"), None);
        let mount = tree(&[
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "700\n"),
            ("memory/memory.stat", "total_inactive_file 100\n"),
        ]);
        assert_eq!(used_under(mount.path(), "4:memory:/\n0::/\n"), Some(600));
    }

    #[test]
    fn no_limit_is_none() {
        let mount = tree(&[("memory.max", "max\n")]);
        assert_eq!(limit_under(mount.path(), "0::/\nnonsense\n"), MemoryLimit::None);
        assert_eq!(MemoryLimit::None.to_string(), "none");
    }
}
