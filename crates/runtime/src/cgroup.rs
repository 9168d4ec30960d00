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
    fn no_limit_is_none() {
        let mount = tree(&[("memory.max", "max\n")]);
        assert_eq!(limit_under(mount.path(), "0::/\nnonsense\n"), MemoryLimit::None);
        assert_eq!(MemoryLimit::None.to_string(), "none");
    }
}
