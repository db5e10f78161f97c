//! What programs take for chance: the seed's.

use super::{current, enter, real};
use libc::{c_int, c_uint, c_void, size_t, ssize_t};

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getrandom(bytes: *mut c_void, len: size_t, flags: c_uint) -> ssize_t {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::getrandom(bytes, len, flags) };
    }
    if len > 0 {
        // SAFETY: the caller's contract: so many bytes can be written there.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.cast::<u8>(), len) };
        enter(|os| {
            let here = os.here();
            os.hosts[here].entropy.fill(bytes);
            os.event("entropy", [len as u64, 0]);
        });
    }
    len as ssize_t
}

/// Lock files have it in their text.
#[unsafe(no_mangle)]
unsafe extern "C" fn getpid() -> c_int {
    match current() {
        Some(_) => 1_000 + enter(|os| os.here()) as c_int,
        // SAFETY: it has no contract.
        None => unsafe { real::getpid() },
    }
}
