//! The calls of the C library that this program's own definitions hide: looked up behind them.

use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off64_t, pthread_attr_t, pthread_t, size_t, ssize_t};
use std::sync::atomic::{AtomicPtr, Ordering};

macro_rules! real {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        pub(super) unsafe fn $name($($arg: $kind),*) -> $result {
            static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            let mut found = FOUND.load(Ordering::Relaxed);
            if found.is_null() {
                // SAFETY: the name is a C string.
                found = unsafe { libc::dlsym(libc::RTLD_NEXT, concat!(stringify!($name), "\0").as_ptr().cast()) };
                assert!(!found.is_null(), concat!("the C library has no ", stringify!($name)));
                FOUND.store(found, Ordering::Relaxed);
            }
            // SAFETY: the C library's function of this name has this signature.
            let function: unsafe extern "C" fn($($kind),*) -> $result = unsafe { std::mem::transmute(found) };
            // SAFETY: the caller keeps the function's contract.
            unsafe { function($($arg),*) }
        }
    )*};
}

pub(super) type Start = extern "C" fn(*mut c_void) -> *mut c_void;

real! {
    clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int;
    getrandom(bytes: *mut c_void, len: size_t, flags: c_uint) -> ssize_t;
    getpid() -> c_int;
    adjtimex(timex: *mut libc::timex) -> c_int;
    exit(code: c_int) -> ();
    pthread_create(thread: *mut pthread_t, attr: *const pthread_attr_t, start: Start, arg: *mut c_void) -> c_int;
    pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    sched_yield() -> c_int;
    nanosleep(time: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    clock_nanosleep(clock: c_int, flags: c_int, time: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;

    epoll_create1(flags: c_int) -> c_int;
    epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int;
    epoll_wait(epoll: c_int, events: *mut libc::epoll_event, max: c_int, timeout: c_int) -> c_int;
    eventfd(value: c_uint, flags: c_int) -> c_int;
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int;
    bind(fd: c_int, address: *const libc::sockaddr, len: libc::socklen_t) -> c_int;
    listen(fd: c_int, backlog: c_int) -> c_int;
    connect(fd: c_int, address: *const libc::sockaddr, len: libc::socklen_t) -> c_int;
    accept4(fd: c_int, address: *mut libc::sockaddr, len: *mut libc::socklen_t, flags: c_int) -> c_int;
    getsockname(fd: c_int, address: *mut libc::sockaddr, len: *mut libc::socklen_t) -> c_int;
    getpeername(fd: c_int, address: *mut libc::sockaddr, len: *mut libc::socklen_t) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut libc::socklen_t) -> c_int;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: libc::socklen_t) -> c_int;
    shutdown(fd: c_int, how: c_int) -> c_int;
    send(fd: c_int, bytes: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    recv(fd: c_int, bytes: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    ioctl(fd: c_int, request: libc::c_ulong, arg: usize) -> c_int;
    fcntl(fd: c_int, command: c_int, arg: usize) -> c_int;
    dup(fd: c_int) -> c_int;
    close(fd: c_int) -> c_int;

    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    read(fd: c_int, bytes: *mut c_void, len: size_t) -> ssize_t;
    readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    pread64(fd: c_int, bytes: *mut c_void, len: size_t, at: off64_t) -> ssize_t;
    write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t;
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    pwrite64(fd: c_int, bytes: *const c_void, len: size_t, at: off64_t) -> ssize_t;
    ftruncate64(fd: c_int, len: off64_t) -> c_int;
    fsync(fd: c_int) -> c_int;
    fdatasync(fd: c_int) -> c_int;
    rename(from: *const c_char, to: *const c_char) -> c_int;
    unlink(path: *const c_char) -> c_int;
    mkdir(path: *const c_char, mode: mode_t) -> c_int;
    copy_file_range(
        from: c_int, from_at: *mut off64_t, to: c_int, to_at: *mut off64_t, len: size_t, flags: c_uint
    ) -> ssize_t;
    sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: size_t) -> ssize_t;
}

/// Sleeps until `*word` is no longer `value`, or for no reason.
pub(super) fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32) {
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word outlives the call, which only reads it.
    unsafe { syscall(libc::SYS_futex, word.as_ptr() as usize, op, value as usize, 0, 0, 0) };
}

pub(super) fn futex_wake(word: &std::sync::atomic::AtomicU32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word is only an address to the call.
    unsafe { syscall(libc::SYS_futex, word.as_ptr() as usize, op, 1, 0, 0, 0) };
}

/// Fails a call the way the C library does.
pub(super) fn fail<T: From<i8>>(errno: c_int) -> T {
    // SAFETY: the location is the calling thread's own.
    unsafe { *libc::__errno_location() = errno };
    T::from(-1)
}
