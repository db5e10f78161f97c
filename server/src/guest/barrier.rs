//! The write barrier: the first write to a protected part of a memory becomes a call of who watches it.
//!
//! The kernel reports such a write as SIGSEGV, whether the guest's code or the host's wrote. The handler here finds the
//! memory by its address and has the part opened; the write is then repeated. Every other SIGSEGV goes on to whoever
//! handled them before: wasmtime, for guests that leave their memory, and Rust's own for stacks that overflow.
//!
//! Everything that the handler calls is safe in one: atomics, `mprotect`, `pread` and `pwrite`.
#![expect(unsafe_code, reason = "signal handlers are installed and called by pointer; nothing outside handles them")]

use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Memories with a barrier at the same time: a few for each machine of the process.
const SLOTS: usize = 256;

/// Who is asked when something protected is written to.
pub(super) trait Watched {
    /// Where it may be.
    fn addresses(&self) -> Range<usize>;

    /// Lets the guest write at this address, which is among them; false if nothing here kept it from that. It is called
    /// by a signal handler, on the thread that runs the guest.
    fn open_at(&self, address: usize) -> bool;
}

struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    watched: AtomicPtr<()>,
    /// An `OpenAt` for what `watched` points to.
    open_at: AtomicPtr<()>,
}

type OpenAt = unsafe fn(*const (), usize) -> bool;

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        watched: AtomicPtr::new(std::ptr::null_mut()),
        open_at: AtomicPtr::new(std::ptr::null_mut()),
    }
}; SLOTS];

/// Who handled SIGSEGV before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// As long as it lives, writes to what is protected are reported.
pub(super) struct Barrier<T> {
    slot: &'static Slot,
    watched: Arc<T>,
}

impl<T: Watched> Barrier<T> {
    /// `None` if the system or the table has no room for it.
    pub(super) fn new(watched: Arc<T>) -> Option<Barrier<T>> {
        if !install() {
            return None;
        }
        let pointer = Arc::as_ptr(&watched).cast_mut().cast();
        let free = |slot: &&'static Slot| {
            let (old, new) = (std::ptr::null_mut(), pointer);
            slot.watched.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = TABLE.iter().find(free)?;
        let open_at: OpenAt = open_at::<T>;
        slot.open_at.store(open_at as *mut (), Ordering::Relaxed);
        let Range { start, end } = watched.addresses();
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(end, Ordering::Release);
        Some(Barrier { slot, watched })
    }
}

impl<T> Barrier<T> {
    pub(super) fn watched(&self) -> &Arc<T> {
        &self.watched
    }
}

/// # Safety
/// `watched` points to a `T` that lives.
unsafe fn open_at<T: Watched>(watched: *const (), address: usize) -> bool {
    // SAFETY: by the contract above.
    let watched = unsafe { &*watched.cast::<T>() };
    // The table may have been read while it changed.
    watched.addresses().contains(&address) && watched.open_at(address)
}

impl<T> Drop for Barrier<T> {
    fn drop(&mut self) {
        self.slot.end.store(0, Ordering::Relaxed);
        self.slot.watched.store(std::ptr::null_mut(), Ordering::Release);
    }
}

/// Puts the handler in front of the others, once; whether it is there.
fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: both structures are plain data that the calls fill or read, and `handle` has the type that SA_SIGINFO
        // asks for. SA_ONSTACK keeps it off a guest's stack, as wasmtime has given each thread that runs one another.
        unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut previous) != 0 {
                return false;
            }
            // A fault may come before the call below returns.
            let _ = PREVIOUS.set(previous);
            let mut own: libc::sigaction = std::mem::zeroed();
            own.sa_sigaction = handle as *const () as usize;
            own.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigemptyset(&raw mut own.sa_mask);
            libc::sigaction(libc::SIGSEGV, &raw const own, std::ptr::null_mut()) == 0
        }
    })
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `info`, whose address is set for SIGSEGV.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &TABLE {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        if !(start..end).contains(&address) {
            continue;
        }
        let (watched, open_at) = (slot.watched.load(Ordering::Acquire), slot.open_at.load(Ordering::Relaxed));
        if watched.is_null() || open_at.is_null() {
            continue;
        }
        // SAFETY: `new` stored an `OpenAt`. Only the thread that owns the memory writes to it, and it is here and not in
        // `Barrier::drop`, so what is watched lives.
        if unsafe { std::mem::transmute::<*mut (), OpenAt>(open_at)(watched, address) } {
            return;
        }
    }
    pass_on(signal, info, context);
}

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the faulting instruction runs again when this returns, and then ends the process as it would have.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        action if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with this flag the action is a function of three arguments, installed by whoever came before.
            let action: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(action) };
            action(signal, info, context);
        }
        action => {
            // SAFETY: without it, it is a function of the signal's number.
            let action: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(action) };
            action(signal);
        }
    }
}
