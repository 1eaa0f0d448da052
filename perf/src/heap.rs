//! How much memory the process uses, and the allocation of its objects.

use std::alloc::{Layout, alloc, dealloc};

/// Returns the bytes that are allocated, with the allocator's headers, plus those that the shadow store has mapped itself; or the
/// resident bytes, if the allocator does not report this.
#[cfg(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc")))]
pub(crate) fn in_use() -> u64 {
    // SAFETY: the function has no preconditions, and returns its result by value.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd + shadow_vars::mapped_bytes()) as u64
}

/// Returns the resident bytes, because this allocator does not report what is allocated.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc"))))]
pub(crate) fn in_use() -> u64 {
    resident()
}

/// Returns the resident bytes of the process; 0 if the system does not report them.
pub(crate) fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    // SAFETY: the function has no preconditions, and returns a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0) * page.max(0) as u64
}

/// Returns the most resident bytes since [`reset_peak`]; 0 if the system does not report them.
pub(crate) fn peak_resident() -> u64 {
    kib_of("/proc/self/status", "VmHWM:") << 10
}

/// Resets the peak.
pub(crate) fn reset_peak() {
    // If this fails, the peak is that of the whole process: too large, never too small.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns the bytes that are available without swapping; 0 if the system does not report them.
pub(crate) fn available() -> u64 {
    kib_of("/proc/meminfo", "MemAvailable:") << 10
}

/// Returns the value of a line of such a file, in KiB.
fn kib_of(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0)
}

/// Returns the processor time that all threads of the process have used.
pub(crate) fn processor_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the argument is valid for writes.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0, "the process has a clock");
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the allocator's name, with its version if it reports one.
#[cfg(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc")))]
pub(crate) fn allocator() -> String {
    // SAFETY: the function returns a string that is never freed.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {} malloc", version.to_string_lossy())
}

/// Returns the allocator's name.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc"))))]
pub(crate) fn allocator() -> String {
    let name = if cfg!(feature = "mimalloc") {
        "mimalloc"
    } else {
        "system"
    };
    name.to_owned()
}

/// Allocates memory for an object from the global allocator, aligned as by `malloc`, and returns its address.
#[inline]
pub(crate) fn allocate(size: usize) -> usize {
    let layout = layout(size);
    // SAFETY: the size is not 0.
    let object = unsafe { alloc(layout) };
    assert!(!object.is_null(), "out of memory");
    object.expose_provenance()
}

/// Frees an object.
///
/// # Safety
///
/// The address came from [`allocate`] with this size, and is freed once.
#[inline]
pub(crate) unsafe fn deallocate(address: usize, size: usize) {
    // SAFETY: the caller guarantees that `allocate` returned the address for this size, and that it is freed once.
    unsafe { dealloc(std::ptr::with_exposed_provenance_mut(address), layout(size)) };
}

#[inline]
fn layout(size: usize) -> Layout {
    // The alignment of `malloc`.
    Layout::from_size_align(size.max(1), 16).expect("no object is as large as memory")
}

/// Returns free memory to the system, so that the resident bytes are those in use.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function releases free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
