//! What a library may leave behind, as far as the functions that it imports tell.

use object::elf::{SHN_UNDEF, SHT_DYNSYM};
use object::read::elf::{FileHeader, SectionTable, Sym};

/// Functions of the C library, and of C++'s, to which one passes a function or memory of one's own, to be used later.
const OF_C: [&str; 44] = [
    // At the end of a thread.
    "pthread_key_create",
    "tss_create",
    "__cxa_thread_atexit",
    "__cxa_thread_atexit_impl",
    // At the end of the process.
    "atexit",
    "__cxa_atexit",
    "on_exit",
    "at_quick_exit",
    "__cxa_at_quick_exit",
    // At signals, in whose frame it may even be interrupted.
    "signal",
    "bsd_signal",
    "__sysv_signal",
    "sysv_signal",
    "ssignal",
    "sigset",
    "sigvec",
    "sigaction",
    "__sigaction",
    // At forks.
    "pthread_atfork",
    "__register_atfork",
    // On threads of the C library's.
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
    // As something is printed.
    "register_printf_function",
    "register_printf_specifier",
    "register_printf_type",
    "register_printf_modifier",
    // Memory that is kept.
    "putenv",
    "openlog",
    "setvbuf",
    "setbuf",
    // As something goes wrong in C++.
    "_ZSt13set_terminatePFvvE",
    "_ZSt14set_unexpectedPFvvE",
    "_ZSt15set_new_handlerPFvvE",
    "__register_frame",
    "__register_frame_info",
];

/// Parts of the names of Rust's, whatever way they are mangled.
const OF_RUST: [(&str, &str); 5] = [
    ("9panicking8set_hook", "std::panic::set_hook"),
    ("9panicking11update_hook", "std::panic::update_hook"),
    ("5alloc20set_alloc_error_hook", "std::alloc::set_alloc_error_hook"),
    ("3log10set_logger", "log::set_logger"),
    ("12tracing_core8callsite", "tracing_core::callsite"),
];

/// A function that the library imports, and by which it can be called, or memory of it used, after it has gone.
pub(super) fn that_reach_back<'d, H: FileHeader>(
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
        if OF_C.contains(&name) {
            return Ok(Some(name.to_owned()));
        }
        if let Some((_, known)) = OF_RUST.iter().find(|(part, _)| name.contains(part)) {
            return Ok(Some((*known).to_owned()));
        }
    }
    Ok(None)
}
