//! What a run needs of the real process.

use std::mem::MaybeUninit;

const FIXED: libc::c_ulong = libc::ADDR_NO_RANDOMIZE as libc::c_ulong;
const ASK: libc::c_ulong = 0xffff_ffff;

/// Whether memory lies at the same addresses in each run.
pub(crate) fn has_fixed_addresses() -> bool {
    // SAFETY: this value only asks.
    let personality = unsafe { libc::personality(ASK) };
    personality >= 0 && personality as libc::c_ulong & FIXED != 0
}

/// From the next program on that this process becomes.
pub(crate) fn fix_addresses() {
    // SAFETY: the flag is one that a program may set for itself. Where it may not, runs are only harder to repeat.
    unsafe { libc::personality(FIXED) };
}

/// Lets the process have as many files as its user may have: those of dead nodes stay open.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is the call's own to write, and then to read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Has a signal end the process although nodes wait for them, after `clean`. Threads that are started from now on do not
/// take signals.
pub(crate) fn end_on_signals(clean: impl FnOnce() + Send + 'static) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is made by the first call, and the others only read or fill it.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        set.assume_init()
    };
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both are this thread's own.
        if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
            clean();
            leave(128 + signal);
        }
    });
}

/// Ends the process at once, with all threads that wait in it.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: nothing is left to be done.
    unsafe { libc::_exit(code) }
}
