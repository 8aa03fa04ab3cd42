//! How much memory this process used at most.

/// The process's largest resident memory so far, in bytes; `None` where the operating system does not say.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Starts the count of [`peak`] anew, where the operating system can.
pub fn forget_peak() {
    // 5 resets the high-water mark; without the right to write it, the larger number simply stays.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
