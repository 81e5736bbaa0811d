//! How much memory this process may use, by its control group and the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Of the memory that the process may use, what requests in flight may: the rest is for points, logs and what a write
/// needs on its way through the log.
const SHARE: usize = 3;

/// `configured`, but at most a third of what the process may use.
#[must_use]
pub fn for_requests(configured: usize) -> usize {
    most().map_or(configured, |most| configured.min(most / SHARE))
}

/// The least limit of the control groups that the process is in, and of the machine's memory.
fn most() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?));
    limits.chain(machine(&fs::read_to_string("/proc/meminfo").unwrap_or_default())).min()
}

/// The files that may hold a limit: of the group of version 2 and those above it, and of version 1.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut files = vec![root.join("memory/memory.limit_in_bytes")];
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    files.extend(Path::new(group).ancestors().map(|group| root.join(group).join("memory.max")));
    files
}

/// A limit as the kernel prints it; `max` is none.
fn limit(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

fn machine(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        assert_eq!((limit("536870912\n"), limit("max\n")), (Some(512 << 20), None));
        assert_eq!(machine("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(24_576_000 * 1024));
        let files = limit_files("12:cpu:/x\n0::/a/b\n");
        let v2 = ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"];
        assert_eq!(files[1..], v2.map(PathBuf::from));
        assert_eq!(limit_files("")[1..], [PathBuf::from("/sys/fs/cgroup/memory.max")]);
    }

    #[test]
    fn requests_get_at_most_a_third() {
        assert_eq!(for_requests(1), 1);
        assert!(for_requests(usize::MAX) < usize::MAX / SHARE, "every machine has a limit");
    }
}
