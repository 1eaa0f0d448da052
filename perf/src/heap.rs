//! How much memory the process has in use, and where its objects come from.

use std::alloc::{Layout, alloc, dealloc};

/// Bytes that the allocator has handed out and not got back, its headers included, and those that the shadow store has from
/// the system itself. What is resident where the allocator does not say.
#[cfg(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc")))]
pub(crate) fn in_use() -> u64 {
    // SAFETY: it only fills in its result.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd + shadow_vars::mapped_bytes()) as u64
}

/// Bytes that are resident, as this allocator does not say what it has handed out.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc"))))]
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

/// The most bytes of the process that were in memory since [`reset_peak`]; 0 where the system does not say.
pub(crate) fn peak_resident() -> u64 {
    kib_of("/proc/self/status", "VmHWM:") << 10
}

/// Begins to watch for a peak anew.
pub(crate) fn reset_peak() {
    // Where it cannot be done, the peak is that of the whole process, and too large: never too small.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that could be had without swapping; 0 where the system does not say.
pub(crate) fn available() -> u64 {
    kib_of("/proc/meminfo", "MemAvailable:") << 10
}

/// A line of such a file, in KiB.
fn kib_of(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0)
}

/// The processor time that all threads of the process have used.
pub(crate) fn processor_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it fills in its argument, which is valid.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(done, 0, "the process has a clock");
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The allocator's name, with its version where it says it.
#[cfg(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc")))]
pub(crate) fn allocator() -> String {
    // SAFETY: it returns a string that is never freed.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {} malloc", version.to_string_lossy())
}

/// The allocator's name, with its version where it says it.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(feature = "mimalloc"))))]
pub(crate) fn allocator() -> String {
    let name = if cfg!(feature = "mimalloc") {
        "mimalloc"
    } else {
        "system"
    };
    name.to_owned()
}

/// Memory for an object, by its address: as `malloc` gives it, of the program's allocator.
#[inline]
pub(crate) fn allocate(size: usize) -> usize {
    let layout = layout(size);
    // SAFETY: the size is not 0.
    let object = unsafe { alloc(layout) };
    assert!(!object.is_null(), "out of memory");
    object.expose_provenance()
}

/// Gives an object back.
///
/// # Safety
///
/// The address came from [`allocate`] with this size, and is given back once.
#[inline]
pub(crate) unsafe fn deallocate(address: usize, size: usize) {
    // SAFETY: the caller's.
    unsafe { dealloc(std::ptr::with_exposed_provenance_mut(address), layout(size)) };
}

#[inline]
fn layout(size: usize) -> Layout {
    // As `malloc` aligns.
    Layout::from_size_align(size.max(1), 16).expect("no object is as large as memory")
}

/// Gives free memory back to the system, so that what is resident is what is in use.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
