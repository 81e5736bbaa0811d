//! Memory use of this process, and its limit by configuration, control group and machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Divisor of the memory limit for requests in flight; the rest is for points, logs and the write path.
const SHARE: usize = 3;

/// Memory budget of requests: `wanted`, at most a third of the process's limit, in bytes.
#[must_use]
pub fn for_requests(wanted: usize, configured: Option<u64>) -> usize {
    let most = most(configured).and_then(|most| usize::try_from(most).ok());
    most.map_or(wanted, |most| wanted.min(most / SHARE))
}

/// Anonymous memory of the process and its limit, in bytes; `None` where the system does not report them.
#[must_use]
pub fn measure(configured: Option<u64>) -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some((kilobytes(&status, "RssAnon:")?, most(configured)?))
}

/// Smallest of the configured limit, the limits of the process's control groups, and the machine's memory. Read anew
/// each time, because the limit of a running container can change.
fn most(configured: Option<u64>) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?));
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    limits.chain(machine).chain(configured).min()
}

/// Files with memory limits of the process's control group and its ancestors, for versions 2 and 1. `groups` has lines
/// `number:controllers:path`; version 2 has number 0 and no controllers.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let files = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join(names), "memory.limit_in_bytes"),
            _ => return None,
        };
        Some(Path::new(path).ancestors().map(move |group| root.join(group).join(file)).collect::<Vec<_>>())
    });
    files.flatten().collect()
}

/// Parses a limit; `max` is `None`.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Value in bytes of the line that begins with `name`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        assert_eq!((limit("536870912\n"), limit("max\n")), (Some(512 << 20), None));
        assert_eq!(kilobytes("MemTotal:       24576000 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(24_576_000 * 1024));
        let files = limit_files("12:cpu:/x\n4:memory:/c\n0::/a/b\n");
        let root = Path::new("/sys/fs/cgroup");
        let expected = ["memory/c/memory.limit_in_bytes", "memory/memory.limit_in_bytes"];
        assert_eq!(files[..2], expected.map(|file| root.join(file)));
        let expected = ["a/b/memory.max", "a/memory.max", "memory.max"];
        assert_eq!(files[2..], expected.map(|file| root.join(file)));
        assert!(limit_files("").is_empty() && limit_files("0::\nx\n").is_empty());
    }

    #[test]
    fn requests_get_at_most_a_third() {
        assert_eq!(for_requests(1, None), 1);
        assert!(for_requests(usize::MAX, None) < usize::MAX / SHARE, "every machine has a limit");
        assert_eq!(for_requests(usize::MAX, Some(3_000_000)), 1_000_000);
    }

    #[test]
    fn what_the_process_uses_is_below_what_it_may_use() {
        let (used, limit) = measure(None).unwrap();
        assert!(0 < used && used < limit, "{used} of {limit}");
        assert_eq!(measure(Some(1 << 20)).unwrap().1, 1 << 20);
    }
}
