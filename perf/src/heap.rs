//! How much memory the process has in use.

/// Bytes that the allocator has handed out and not got back, its headers included, and those that the shadow store has from
/// the system itself; 0 where the allocator does not say.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn in_use() -> u64 {
    // SAFETY: it only fills in its result.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd + shadow_vars::mapped_bytes()) as u64
}

/// Bytes that the allocator has handed out and not got back, its headers included; 0 where it does not say.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn in_use() -> u64 {
    resident()
}

/// Bytes of the process that are in memory; 0 where the system does not say.
pub(crate) fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    // SAFETY: it only returns a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0) * page.max(0) as u64
}

/// The allocator's name, with its version where it says it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn allocator() -> String {
    // SAFETY: it returns a string that is never freed.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {} malloc", version.to_string_lossy())
}

/// The allocator's name, with its version where it says it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn allocator() -> String {
    "system".to_owned()
}

/// Gives free memory back to the system, so that what is resident is what is in use.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
