//! Memory of this process, as the system counts it.

use serde::Serialize;

/// Resident memory by kind. All 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Resident {
    /// In memory now.
    pub rss_bytes: u64,
    /// Of that, private to the process: heap and stacks.
    pub rss_anon_bytes: u64,
    /// Of that, pages of files, which the system may take back at any time.
    pub rss_file_bytes: u64,
    /// Most that was ever resident.
    pub rss_peak_bytes: u64,
}

/// Reads `/proc/self/status`.
pub fn resident() -> Resident {
    std::fs::read_to_string("/proc/self/status").map(|text| parse(&text)).unwrap_or_default()
}

fn parse(status: &str) -> Resident {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map_or(0, |kib| kib * 1024)
    };
    Resident {
        rss_bytes: bytes("VmRSS"),
        rss_anon_bytes: bytes("RssAnon"),
        rss_file_bytes: bytes("RssFile"),
        rss_peak_bytes: bytes("VmHWM"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_understood() {
        let text = "Name:\tvdb\nVmHWM:\t 2048 kB\nVmRSS:\t 1024 kB\nRssAnon:\t 24 kB\nRssFile:\t 1000 kB\n";
        let seen = parse(text);
        assert_eq!((seen.rss_peak_bytes, seen.rss_bytes), (2 << 20, 1 << 20));
        assert_eq!((seen.rss_anon_bytes, seen.rss_file_bytes), (24 << 10, 1000 << 10));
        assert_eq!(parse("").rss_bytes, 0);
    }
}
