//! What the container may take of memory and of CPUs, read from its control groups.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};
use remuda_supervisor::Tick;

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

/// Whose word on CPUs counts: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpusOf {
    /// Everything that the machine has.
    Machine,
    /// Those that this process may run on.
    Affinity,
    /// The group's quota, or that of an ancestor, rounded up.
    Group,
}

/// CPUs that this process can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// At least 1.
    pub count: u16,
    /// Where the number comes from.
    pub of: CpusOf,
}

/// Counts them.
#[must_use]
pub fn cpus() -> Cpus {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let quota = quota_under(Path::new("/sys/fs/cgroup"), &groups);
    least_cpus(machine_cpus(), allowed_cpus(), quota)
}

fn machine_cpus() -> u16 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    u16::try_from(online).unwrap_or(1)
}

/// 0 when the kernel does not say.
fn allowed_cpus() -> u16 {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 0 };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count() as u16
}

/// `quota` is in thousandths of a CPU.
fn least_cpus(machine: u16, allowed: u16, quota: Option<u64>) -> Cpus {
    let allowed = match allowed {
        0 => Cpus { count: machine.max(1), of: CpusOf::Machine },
        count if count < machine => Cpus { count, of: CpusOf::Affinity },
        count => Cpus { count, of: CpusOf::Machine },
    };
    // A share of a CPU still needs somebody who uses it.
    match quota.map(|quota| quota.div_ceil(1000).max(1)) {
        Some(quota) if quota < u64::from(allowed.count) => {
            Cpus { count: quota as u16, of: CpusOf::Group }
        }
        _ => allowed,
    }
}

/// The least quota of the groups and their ancestors, in thousandths of a CPU.
fn quota_under(mount: &Path, groups: &str) -> Option<u64> {
    let quotas = groups_of("cpu", mount, groups).filter_map(|(folder, is_v1)| {
        let mount = if is_v1 { mount.join("cpu") } else { mount.to_owned() };
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
        folders.filter_map(|folder| quota_of(folder, is_v1)).min()
    });
    quotas.min()
}

fn quota_of(folder: &Path, is_v1: bool) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let (quota, period) = if is_v1 {
        (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
    } else {
        let text = read("cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        (quota.to_owned(), period.to_owned())
    };
    // Without a quota it is `max`, or -1.
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    quota.checked_mul(1000).map(|quota| quota.div_ceil(period))
}

fn used_under(mount: &Path, groups: &str) -> Option<u64> {
    memory_groups(mount, groups).find_map(|(folder, is_v1)| {
        if is_v1 {
            let (most, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            used_in(&mount.join("memory"), folder, most, used, "total_inactive_file")
        } else {
            used_in(mount, folder, "memory.max", "memory.current", "inactive_file")
        }
    })
}

/// Of a group and its ancestors the first that sets the least limit.
fn used_in(
    mount: &Path,
    mut folder: PathBuf,
    most: &str,
    used: &str,
    inactive: &str,
) -> Option<u64> {
    let read = |folder: &Path, file: &str| {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()
    };
    let least = least_in(mount, folder.clone(), most)?;
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
    let least = memory_groups(mount, groups).filter_map(|(folder, is_v1)| {
        if is_v1 {
            least_in(&mount.join("memory"), folder, "memory.limit_in_bytes")
        } else {
            least_in(mount, folder, "memory.max")
        }
    });
    least.min().map_or(MemoryLimit::None, MemoryLimit::Bytes)
}

fn memory_groups<'a>(
    mount: &'a Path,
    groups: &'a str,
) -> impl Iterator<Item = (PathBuf, bool)> + 'a {
    groups_of("memory", mount, groups)
}

/// The folders of the groups that may have this controller, and whether they are of version 1.
fn groups_of<'a>(
    controller: &'a str,
    mount: &'a Path,
    groups: &'a str,
) -> impl Iterator<Item = (PathBuf, bool)> + 'a {
    groups.lines().filter_map(move |line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            Some((mount.join(group), false))
        } else if controllers.split(',').any(|name| name == controller) {
            Some((mount.join(controller).join(group), true))
        } else {
            None
        }
    })
}

/// The least number in `file` of a group and its ancestors. Inside a container the group's own
/// path is often not visible, and the mount itself is the group.
fn least_in(mount: &Path, mut folder: PathBuf, file: &str) -> Option<u64> {
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

/// How long after the kernel has counted a kill the exit may come.
const OOM_EXIT_WITHIN: Duration = Duration::from_secs(5);

/// Whether the kernel has lately killed somebody of this group for want of memory.
pub(crate) struct OomWatch {
    /// The group's counters: `memory.events` (v2) or `memory.oom_control` (v1).
    file: Option<PathBuf>,
    count: u64,
    struck_at: Option<Tick>,
}

impl OomWatch {
    pub(crate) fn new() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::under(Path::new("/sys/fs/cgroup"), &groups)
    }

    fn under(mount: &Path, groups: &str) -> Self {
        let file = memory_groups(mount, groups).find_map(|(folder, is_v1)| {
            let name = if is_v1 { "memory.oom_control" } else { "memory.events" };
            nearest(&folder, name, if is_v1 { mount.join("memory") } else { mount.to_owned() })
        });
        let count = file.as_deref().and_then(oom_kills).unwrap_or(0);
        Self { file, count, struck_at: None }
    }

    /// Looks at the counter; once a second is often enough.
    pub(crate) fn look(&mut self, now: Tick) {
        let Some(count) = self.file.as_deref().and_then(oom_kills) else { return };
        if count > self.count {
            self.struck_at = Some(now);
        }
        self.count = count;
    }

    /// Whether a KILL that nobody of us has sent is the kernel's.
    pub(crate) fn has_struck(&mut self, now: Tick) -> bool {
        self.look(now);
        self.struck_at.is_some_and(|at| now.since(at) <= OOM_EXIT_WITHIN)
    }
}

fn oom_kills(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The file in the group's folder, or in the nearest one above that is visible.
fn nearest(folder: &Path, name: &str, mount: PathBuf) -> Option<PathBuf> {
    let folders = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
    folders.map(|folder| folder.join(name)).find(|file| oom_kills(file).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_by_the_kernel_is_known_for_a_few_seconds() {
        let files = [("memory.events", "low 0\noom 4\noom_kill 3\n")];
        let mount = tree(&files);
        let mut watch = OomWatch::under(mount.path(), "0::/not/visible\n");
        let at = |seconds: u64| Tick(seconds * 1_000_000_000);
        assert!(!watch.has_struck(at(1)), "those before us do not count");
        fs::write(mount.path().join("memory.events"), "oom_kill 4\n").expect("file");
        assert!(watch.has_struck(at(2)));
        assert!(watch.has_struck(at(7)));
        assert!(!watch.has_struck(at(8)));
    }

    #[test]
    fn counters_of_both_versions_are_found() {
        let old = tree(&[("memory/a/memory.oom_control", "under_oom 0\noom_kill 7\n")]);
        assert_eq!(OomWatch::under(old.path(), "4:memory:/a/b\n0::/\n").count, 7);
        let none = tree(&[]);
        assert!(!OomWatch::under(none.path(), "0::/\n").has_struck(Tick(5)));
    }

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
    fn quotas_of_both_versions_and_of_ancestors_count() {
        let new = tree(&[
            ("a/cpu.max", "150000 100000\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/c/cpu.max", "25000 100000\n"),
            ("d/cpu.max", "nonsense\n"),
        ]);
        for (groups, quota) in [
            ("0::/a/b\n", Some(1500)),
            ("0::/a/c\n", Some(250)),
            ("0::/a/not/visible\n", Some(1500)),
            ("0::/d\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(quota_under(new.path(), groups), quota, "{groups}");
        }
        let old = tree(&[
            ("cpu/x/cpu.cfs_quota_us", "300000\n"),
            ("cpu/x/cpu.cfs_period_us", "100000\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(quota_under(old.path(), "4:cpu,cpuacct:/x/y\n0::/\n"), Some(3000));
        assert_eq!(quota_under(old.path(), "4:cpu,cpuacct:/\n"), None);
    }

    #[test]
    fn the_least_number_of_cpus_counts_and_is_one_at_least() {
        use CpusOf::{Affinity, Group, Machine};
        for (machine, allowed, quota, count, of) in [
            (8, 8, None, 8, Machine),
            (8, 0, None, 8, Machine),
            (8, 3, None, 3, Affinity),
            (8, 8, Some(2000), 2, Group),
            (8, 8, Some(2001), 3, Group),
            (8, 8, Some(100), 1, Group),
            (8, 2, Some(4000), 2, Affinity),
            (4, 4, Some(9000), 4, Machine),
            (0, 0, None, 1, Machine),
        ] {
            assert_eq!(least_cpus(machine, allowed, quota), Cpus { count, of });
        }
    }

    #[test]
    fn no_limit_is_none() {
        let mount = tree(&[("memory.max", "max\n")]);
        assert_eq!(limit_under(mount.path(), "0::/\nnonsense\n"), MemoryLimit::None);
        assert_eq!(MemoryLimit::None.to_string(), "none");
    }
}
