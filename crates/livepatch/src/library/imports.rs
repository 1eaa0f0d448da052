//! Imports through which a library could be used after it is unloaded.

use object::elf::{SHN_UNDEF, SHT_DYNSYM};
use object::read::elf::{FileHeader, SectionTable, Sym};

/// Functions of the C and C++ libraries that retain a function or memory passed to them, for later use.
const C_FUNCTIONS: [&str; 44] = [
    // Called at the end of a thread.
    "pthread_key_create",
    "tss_create",
    "__cxa_thread_atexit",
    "__cxa_thread_atexit_impl",
    // Called at the end of the process.
    "atexit",
    "__cxa_atexit",
    "on_exit",
    "at_quick_exit",
    "__cxa_at_quick_exit",
    // Called at signals, which may even interrupt the library.
    "signal",
    "bsd_signal",
    "__sysv_signal",
    "sysv_signal",
    "ssignal",
    "sigset",
    "sigvec",
    "sigaction",
    "__sigaction",
    // Called at forks.
    "pthread_atfork",
    "__register_atfork",
    // Called on threads of the C library.
    "timer_create",
    "mq_notify",
    "getaddrinfo_a",
    "aio_read",
    "aio_read64",
    "aio_write",
    "aio_write64",
    "aio_fsync",
    "aio_fsync64",
    "lio_listio",
    "lio_listio64",
    // Called when something is printed.
    "register_printf_function",
    "register_printf_specifier",
    "register_printf_type",
    "register_printf_modifier",
    // Memory that is retained.
    "putenv",
    "openlog",
    "setvbuf",
    "setbuf",
    // Called on failures in C++.
    "_ZSt13set_terminatePFvvE",
    "_ZSt14set_unexpectedPFvvE",
    "_ZSt15set_new_handlerPFvvE",
    "__register_frame",
    "__register_frame_info",
];

/// Parts of the names of Rust functions that are the same in every mangling scheme.
const RUST_FUNCTIONS: [(&str, &str); 5] = [
    ("9panicking8set_hook", "std::panic::set_hook"),
    ("9panicking11update_hook", "std::panic::update_hook"),
    ("5alloc20set_alloc_error_hook", "std::alloc::set_alloc_error_hook"),
    ("3log10set_logger", "log::set_logger"),
    ("12tracing_core8callsite", "tracing_core::callsite"),
];

/// Returns a function that the library imports, and through which it could be called, or its memory used, after it is
/// unloaded.
pub(super) fn find_reaching_back<'d, H: FileHeader>(
    endian: H::Endian,
    data: &'d [u8],
    sections: &SectionTable<'d, H>,
) -> Result<Option<String>, object::read::Error> {
    let symbols = sections.symbols(endian, data, SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        if symbol.st_shndx(endian) != SHN_UNDEF {
            continue;
        }
        let name = symbols.strings().get(symbol.st_name(endian));
        let Ok(name) = std::str::from_utf8(name.unwrap_or_default()) else {
            continue;
        };
        if C_FUNCTIONS.contains(&name) {
            return Ok(Some(name.to_owned()));
        }
        if let Some((_, known)) = RUST_FUNCTIONS.iter().find(|(part, _)| name.contains(part)) {
            return Ok(Some((*known).to_owned()));
        }
    }
    Ok(None)
}
