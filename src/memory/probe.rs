//! What the machine, and the control groups around this process, leave us: memory and CPUs.
//!
//! A limit of a container binds as hard as the machine's own memory: going over it ends the host. Groups
//! nest, of version 1 or 2, both at once on some systems, and the limit of any level binds those below;
//! so every level from our own group up to the mount is read, and the least wins. Pages of files that
//! nobody used lately count as free, as they do in `MemAvailable`.
//!
//! Reads `/proc` and `/sys/fs/cgroup`, the only files outside `vfs` that the library opens. What
//! cannot be read does not bind, nor does what there is no memory to read. All texts are parsed by functions of
//! a reader, which tests replace.
#![allow(clippy::disallowed_types, reason = "the system's own tables, not the user's files")]

use super::fallible::{try_push, try_reserve, try_text};
use std::fs::File;
use std::io::{ErrorKind, Read as _};

/// Bytes that this process could still take before machine or control group run out; `u64::MAX` if
/// the system does not say.
pub fn available_bytes() -> u64 {
    available(&read)
}

/// CPUs that this process may use: those it may be scheduled on, or the quota of its control group if
/// that is less, rounded up; at least 1.
pub fn allowed_cpus() -> usize {
    let system = || std::thread::available_parallelism().map_or(1, usize::from);
    scheduled_cpus(&read).unwrap_or_else(system).min(quota_cpus(&read)).max(1)
}

/// A file's text; `None` if it cannot be read.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

fn read(path: &str) -> Option<String> {
    /// Read at a time; few of these files are longer.
    const PIECE: usize = 4 << 10;
    // Piece by piece, since `read_to_string` ends the process where it is refused its memory.
    let (mut file, mut bytes) = (File::open(path).ok()?, Vec::new());
    loop {
        let before = bytes.len();
        try_reserve(&mut bytes, PIECE).ok()?;
        bytes.resize(before + PIECE, 0);
        let read = match file.read(&mut bytes[before..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            read => Some(read.ok()?),
        };
        bytes.truncate(before + read.unwrap_or(0));
        if read == Some(0) {
            return String::from_utf8(bytes).ok();
        }
    }
}

fn available(read: Read) -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| field_kib(&text, "MemAvailable:"));
    let mut least = machine.unwrap_or(u64::MAX);
    for group in groups(read, "memory") {
        let (limits, used, inactive) = match group.version {
            Version::V1 => (&["memory.limit_in_bytes"][..], "memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => (&["memory.max", "memory.high"][..], "memory.current", "inactive_file"),
        };
        let limit = limits.iter().filter_map(|name| number(&group.read(read, name)?)).min();
        let (Some(limit), Some(used)) = (limit, group.read(read, used).and_then(|text| number(&text))) else {
            continue;
        };
        let stat = group.read(read, "memory.stat").unwrap_or_default();
        let used = used.saturating_sub(field(&stat, inactive).unwrap_or(0));
        least = least.min(limit.saturating_sub(used));
    }
    least
}

/// Size of the set of CPUs that the calling thread may run on.
fn scheduled_cpus(read: Read) -> Option<usize> {
    let status = read("/proc/thread-self/status").or_else(|| read("/proc/self/status"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cpus = 0usize;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cpus = cpus.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(cpus)
}

/// CPUs that the quotas of the control groups amount to, rounded up; `usize::MAX` without a quota.
fn quota_cpus(read: Read) -> usize {
    let quotas = groups(read, "cpu").into_iter().filter_map(|group| {
        let (quota, period) = match group.version {
            Version::V1 => {
                let of = |file| number(&group.read(read, file)?);
                (of("cpu.cfs_quota_us")?, of("cpu.cfs_period_us")?)
            }
            Version::V2 => {
                let text = group.read(read, "cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (number(quota)?, number(period)?)
            }
        };
        // "max" and -1, no quota, are no numbers, and end above.
        usize::try_from(quota.div_ceil(period.max(1))).ok()
    });
    quotas.min().unwrap_or(usize::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// One control group that this process is in.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    directory: String,
}

impl Group {
    fn read(&self, read: Read, file: &str) -> Option<String> {
        read(&try_text(format_args!("{}/{file}", self.directory)).ok()?)
    }
}

/// The groups that rule `controller` for this process, of both versions, innermost first.
fn groups(read: Read, controller: &str) -> Vec<Group> {
    let (Some(memberships), Some(mounts)) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo")) else {
        return Vec::new();
    };
    let mut groups = Vec::new();
    for membership in memberships.lines() {
        // hierarchy number ":" controllers ":" path; no controllers in version 2
        let mut fields = membership.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
        if version == Version::V1 && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let Some((root, mount)) = mounts.lines().find_map(|line| mount_of(line, version, controller)) else {
            continue;
        };
        // What is mounted may be a part of the hierarchy, seen from a container: paths begin below it.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        let mut below = if below.starts_with('/') && !below.contains("/..") { below } else { "" };
        loop {
            below = below.trim_end_matches('/');
            let group =
                try_text(format_args!("{mount}{below}")).map(|directory| Group { version, directory });
            if group.and_then(|group| try_push(&mut groups, group)).is_err() {
                return groups;
            }
            match below.rfind('/') {
                Some(slash) => below = &below[..slash],
                None => break,
            }
        }
    }
    groups
}

/// Root and mount point in a line of `mountinfo`, if it is the mount of this hierarchy.
fn mount_of<'a>(line: &'a str, version: Version, controller: &str) -> Option<(&'a str, &'a str)> {
    // number parent device root mount-point options [more ...] - type source super-options
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let found = match version {
        Version::V2 => kind.next()? == "cgroup2",
        Version::V1 => kind.next()? == "cgroup" && kind.nth(1)?.split(',').any(|name| name == controller),
    };
    let mut place = place.split(' ').skip(3);
    found.then_some((place.next()?, place.next()?))
}

/// A text that is one unsigned number; `None` for "max".
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    })
}

/// As [`field`], for lines in units of 1,024 bytes.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MEMINFO: &str = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n";

    /// A reader of these files alone.
    fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    const V2: [(&str, &str); 2] = [
        ("/proc/self/cgroup", "0::/user.slice/app.scope\n"),
        (
            "/proc/self/mountinfo",
            "23 1 0:22 / /proc rw - proc proc rw\n\
             31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        ),
    ];

    /// Both versions at once; memory and CPUs are still ruled by version 1.
    const HYBRID: [(&str, &str); 2] = [
        ("/proc/self/cgroup", "4:memory:/outer/inner\n3:cpuset:/\n2:cpu,cpuacct:/outer\n0::/\n"),
        (
            "/proc/self/mountinfo",
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        ),
    ];

    #[test]
    fn without_groups_the_machine_decides() {
        assert_eq!(available(&files(&[("/proc/meminfo", MEMINFO)])), 8 * GIB);
        assert_eq!(available(&files(&[])), u64::MAX);
        assert_eq!(quota_cpus(&files(&[])), usize::MAX);
    }

    #[test]
    fn the_tightest_level_of_version_2_binds() {
        let mut tree = V2.to_vec();
        tree.push(("/proc/meminfo", MEMINFO));
        tree.push(("/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n"));
        tree.push(("/sys/fs/cgroup/user.slice/app.scope/memory.current", "1000\n"));
        assert_eq!(available(&files(&tree)), 8 * GIB);
        // The outer group: 2 GiB, of which 1 GiB is used, half of it by files nobody used lately.
        tree.push(("/sys/fs/cgroup/user.slice/memory.max", "2147483648\n"));
        tree.push(("/sys/fs/cgroup/user.slice/memory.current", "1073741824\n"));
        tree.push(("/sys/fs/cgroup/user.slice/memory.stat", "anon 5\ninactive_file 536870912\nfile 7\n"));
        assert_eq!(available(&files(&tree)), 2 * GIB - GIB / 2);
        tree.push(("/sys/fs/cgroup/user.slice/memory.high", "1073741824\n"));
        assert_eq!(available(&files(&tree)), GIB / 2);
    }

    #[test]
    fn version_1_binds_too_and_a_full_group_leaves_nothing() {
        let mut tree = HYBRID.to_vec();
        tree.push(("/proc/meminfo", MEMINFO));
        tree.push(("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"));
        tree.push(("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"));
        assert_eq!(available(&files(&tree)), 8 * GIB);
        tree.push(("/sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", "3221225472\n"));
        tree.push(("/sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", "2147483648\n"));
        tree.push(("/sys/fs/cgroup/memory/outer/inner/memory.stat", "total_inactive_file 1073741824\n"));
        assert_eq!(available(&files(&tree)), 2 * GIB);
        tree.push(("/sys/fs/cgroup/memory/outer/memory.limit_in_bytes", "1000\n"));
        tree.push(("/sys/fs/cgroup/memory/outer/memory.usage_in_bytes", "4000\n"));
        assert_eq!(available(&files(&tree)), 0);
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        // The path is the machine's, the mount begins at the container's own group.
        let tree = [
            ("/proc/self/cgroup", "5:memory:/docker/abc/worker\n"),
            (
                "/proc/self/mountinfo",
                "9 8 0:3 /docker/abc /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n",
            ),
        ];
        let found: Vec<String> = groups(&files(&tree), "memory").into_iter().map(|g| g.directory).collect();
        assert_eq!(found, ["/sys/fs/cgroup/memory/worker", "/sys/fs/cgroup/memory"]);
        // Outside of what is mounted, the mount is all there is to ask.
        for path in
            ["5:memory:/elsewhere", "5:memory:/docker/abcd", "5:memory:/docker/abc/../x", "5:memory:/"]
        {
            let tree = [("/proc/self/cgroup", path), tree[1]];
            let found: Vec<String> =
                groups(&files(&tree), "memory").into_iter().map(|g| g.directory).collect();
            assert_eq!(found, ["/sys/fs/cgroup/memory"], "{path}");
        }
    }

    #[test]
    fn quotas_are_rounded_up_and_the_least_binds() {
        let mut tree = V2.to_vec();
        tree.push(("/sys/fs/cgroup/user.slice/app.scope/cpu.max", "max 100000\n"));
        assert_eq!(quota_cpus(&files(&tree)), usize::MAX);
        tree.push(("/sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n"));
        assert_eq!(quota_cpus(&files(&tree)), 3);
        tree.push(("/sys/fs/cgroup/cpu.max", "150000 100000\n"));
        assert_eq!(quota_cpus(&files(&tree)), 2);

        let mut tree = HYBRID.to_vec();
        tree.push(("/sys/fs/cgroup/cpu,cpuacct/outer/cpu.cfs_quota_us", "-1\n"));
        tree.push(("/sys/fs/cgroup/cpu,cpuacct/outer/cpu.cfs_period_us", "100000\n"));
        assert_eq!(quota_cpus(&files(&tree)), usize::MAX);
        tree.push(("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"));
        tree.push(("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"));
        assert_eq!(quota_cpus(&files(&tree)), 1);
    }

    #[test]
    fn lists_of_cpus_are_counted() {
        let count = |list: &str| {
            let text = format!("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
            scheduled_cpus(&|path| (path == "/proc/self/status").then(|| text.clone()))
        };
        assert_eq!(count("0-1"), Some(2));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        for bad in ["", "x", "3-1", "0-18446744073709551615", "1-"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }

    #[test]
    fn foreign_texts_do_not_bind_and_do_not_panic() {
        for junk in ["", "\n", ":", "::", "0::", "-", " - ", "a - cgroup2", "\0", "0::/../..", "1:memory:x"] {
            let tree = [
                ("/proc/self/cgroup", junk),
                ("/proc/self/mountinfo", junk),
                ("/proc/meminfo", junk),
                ("/proc/self/status", junk),
            ];
            assert_eq!(available(&files(&tree)), u64::MAX);
            assert_eq!(quota_cpus(&files(&tree)), usize::MAX);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_answers() {
        assert!(available_bytes() > 1 << 20 && available_bytes() < u64::MAX);
        assert!((1..=1 << 20).contains(&allowed_cpus()));
        assert!(allowed_cpus() <= std::thread::available_parallelism().unwrap().get() + 1);
    }
}
