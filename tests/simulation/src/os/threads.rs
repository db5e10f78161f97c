//! Threads as the C library shows them: created, joined, waiting for futexes and for time.

use super::scheduler::{HostId, On};
use super::{CURRENT, current, enter, real};
use libc::{c_int, c_long, c_void, pthread_attr_t, pthread_t};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Its destructor is the last that a thread does: those of Rust's thread locals come before.
static END: OnceLock<libc::pthread_key_t> = OnceLock::new();

thread_local! {
    /// Where the next thread that this one makes shall run, if not here.
    static SPAWN_ON: Cell<Option<HostId>> = const { Cell::new(None) };
}

pub(super) fn begin() {
    END.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is written before it is read.
        let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(end)) };
        assert_eq!(failed, 0, "a key for the ends of threads");
        key
    });
}

/// Whether the calling thread is simulated.
pub(crate) fn is_simulated() -> bool {
    current().is_some()
}

/// Runs a program on a host. It is never joined: it ends or dies.
pub(crate) fn spawn_on(host: HostId, name: &str, program: impl FnOnce() + Send + 'static) {
    SPAWN_ON.set(Some(host));
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(program);
    thread.expect("the system has threads for the simulation");
    SPAWN_ON.set(None);
}

/// Sleeps in simulated time that no clock's drift changes.
pub(crate) fn sleep(for_ns: u64) {
    let until = enter(|os| os.scheduler.now() + for_ns);
    block(On::Time, Some(until));
}

/// Waits. Returns whether it was woken before the deadline.
pub(super) fn block(on: On, deadline: Option<u64>) -> bool {
    switch(|os| os.scheduler.wait(on, deadline));
    enter(|os| os.scheduler.woken(os.scheduler.running()))
}

/// Where another thread may go on instead.
pub(super) fn point() {
    let preempts = enter(|os| {
        os.scheduler.call();
        os.scheduler.preempts()
    });
    if preempts {
        switch(|os| os.scheduler.give_way());
    }
}

/// Hands the baton on; returns when it is back.
pub(super) fn switch(leave: impl FnOnce(&mut super::Os)) {
    let (mine, next) = enter(|os| {
        let me = os.scheduler.running();
        leave(os);
        let next = os.next();
        (os.scheduler.threads[me].gate, (next != me).then(|| os.scheduler.threads[next].gate))
    });
    if let Some(next) = next {
        // SAFETY: the location is the calling thread's own.
        let errno = unsafe { *libc::__errno_location() };
        open(next);
        pass(mine);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
}

fn open(gate: &AtomicU32) {
    gate.store(1, Ordering::Release);
    real::futex_wake(gate);
}

fn pass(gate: &AtomicU32) {
    while gate.swap(0, Ordering::Acquire) == 0 {
        real::futex_wait(gate, 0);
    }
}

struct Begin {
    id: usize,
    gate: &'static AtomicU32,
    start: real::Start,
    arg: *mut c_void,
}

extern "C" fn first(begin: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` below made the box for this thread alone.
    let begin = unsafe { Box::from_raw(begin.cast::<Begin>()) };
    // SAFETY: the key exists since the simulation began.
    unsafe {
        libc::pthread_setspecific(*END.get().expect("made when the simulation began"), (begin.id + 1) as *const c_void)
    };
    pass(begin.gate);
    CURRENT.set(Some(begin.id));
    (begin.start)(begin.arg)
}

extern "C" fn end(_: *mut c_void) {
    let next = enter(|os| {
        os.scheduler.end(os.scheduler.running());
        let next = os.next();
        os.scheduler.threads[next].gate
    });
    CURRENT.set(None);
    open(next);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: real::Start,
    arg: *mut c_void,
) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::pthread_create(thread, attr, start, arg) };
    }
    let host = SPAWN_ON.get();
    let begin = enter(|os| {
        let id = os.scheduler.add(host.unwrap_or(os.here()));
        os.event("thread", [id as u64, 0]);
        Box::new(Begin { id, gate: os.scheduler.threads[id].gate, start, arg })
    });
    let id = begin.id;
    // SAFETY: the caller's contract; the box is taken by the new thread.
    let failed = unsafe { real::pthread_create(thread, attr, first, Box::into_raw(begin).cast()) };
    assert_eq!(failed, 0, "the system has threads for the simulation");
    // SAFETY: the call has succeeded and has written it.
    let handle = unsafe { *thread };
    enter(|os| os.scheduler.threads[id].handle = handle);
    point();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    if current().is_some() {
        let id = enter(|os| os.scheduler.threads.iter().rposition(|known| known.handle == thread));
        if let Some(id) = id {
            while !enter(|os| os.scheduler.has_ended(id)) {
                block(On::End(id), None);
            }
        }
    }
    // SAFETY: the caller's contract. The thread has ended but for what the C library does then.
    unsafe { real::pthread_join(thread, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    if current().is_none() {
        // SAFETY: it has no contract.
        return unsafe { real::sched_yield() };
    }
    switch(|os| {
        os.scheduler.call();
        os.scheduler.give_way();
    });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const libc::timespec, left: *mut libc::timespec) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::nanosleep(time, left) };
    }
    // SAFETY: the caller's contract.
    let time = nanos(unsafe { &*time });
    let deadline = enter(|os| os.deadline_in(time));
    block(On::Time, Some(deadline));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    time: *const libc::timespec,
    left: *mut libc::timespec,
) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::clock_nanosleep(clock, flags, time, left) };
    }
    // SAFETY: the caller's contract.
    let time = nanos(unsafe { &*time });
    let deadline = enter(|os| match flags & libc::TIMER_ABSTIME {
        0 => os.deadline_in(time),
        _ => os.deadline_at(time),
    });
    block(On::Time, Some(deadline));
    0
}

/// A node that ends its process ends only its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn exit(code: c_int) -> ! {
    let is_node = current().is_some() && enter(|os| os.here() != super::WORLD);
    if is_node {
        switch(|os| {
            let host = os.here();
            os.say(host, &format!("exits with {code}"));
            os.crash(host, super::Crash::Process);
        });
    }
    // SAFETY: no thread of the simulation runs on.
    unsafe { real::exit(code) };
    unreachable!("a process does not return from its exit")
}

/// `syscall` has any number of arguments, which are words in registers.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if current().is_some() && number == libc::SYS_futex {
        // SAFETY: the caller's contract is that of the system call.
        return unsafe { futex(a, b as c_int, c as u32, d as *const libc::timespec) };
    }
    if current().is_some() && number == libc::SYS_getrandom {
        // SAFETY: as above.
        return unsafe { super::entropy::getrandom(a as *mut c_void, b, c as u32) as c_long };
    }
    // SAFETY: as above.
    unsafe { real::syscall(number, a, b, c, d, e, f) }
}

unsafe fn futex(word: usize, op: c_int, value: u32, timeout: *const libc::timespec) -> c_long {
    // SAFETY: a futex is an aligned word that lives during the call.
    let now_has = || unsafe { (*(word as *const AtomicU32)).load(Ordering::SeqCst) };
    match op & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) {
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let woken = enter(|os| os.scheduler.wake(On::Futex(word), value as usize));
            if woken > 0 {
                point();
            }
            woken as c_long
        }
        wait @ (libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) => {
            if now_has() != value {
                return real::fail(libc::EAGAIN);
            }
            // SAFETY: a timeout, if there is one, is valid during the call.
            let timeout = unsafe { timeout.as_ref() }.map(nanos);
            let deadline = enter(|os| {
                os.scheduler.call();
                timeout.map(|time| match wait {
                    libc::FUTEX_WAIT => os.deadline_in(time),
                    _ => os.deadline_at(time),
                })
            });
            match block(On::Futex(word), deadline) {
                true => 0,
                false => real::fail(libc::ETIMEDOUT),
            }
        }
        other => panic!("a futex operation that is not simulated: {other}"),
    }
}

pub(super) fn nanos(time: &libc::timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
