//! Files as the C library shows them: real ones, of which the disk beside them keeps account.

use super::descriptors::is_ours;
use super::disk::{Operation, Verdict};
use super::threads::{point, switch};
use super::{Crash, current, enter, real, sockets};
use libc::{c_char, c_int, c_uint, c_void, iovec, mode_t, off64_t, ssize_t};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Lets a fault happen, or time pass. Returns whether the operation shall go on, or how it fails.
fn allow(verdict: Verdict) -> Result<(), c_int> {
    match verdict {
        Verdict::Go => Ok(()),
        Verdict::Fail(errno) => Err(errno),
        Verdict::Take(ns) => {
            super::sleep(ns);
            Ok(())
        }
        Verdict::PowerFails => {
            switch(|os| {
                let host = os.here();
                os.say(host, "the power fails while a file is written");
                os.crash(host, Crash::Power);
            });
            unreachable!("a dead thread does not run again")
        }
    }
}

fn is_file(fd: c_int) -> bool {
    current().is_some() && enter(|os| os.disks.is_file(fd))
}

/// The file of a simulated thread's call, if it may go on.
fn before(fd: c_int, operation: Operation, what: &'static str, number: u64) -> Result<(), c_int> {
    point();
    let verdict = enter(|os| {
        os.event(what, [number, 0]);
        os.disks.before(fd, operation)
    });
    allow(verdict)
}

unsafe fn path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller's contract: the path is a C string.
    let path = unsafe { CStr::from_ptr(path) };
    Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))
}

/// An operation on a name: what the real system does, and what the disk notes if that succeeds.
unsafe fn on_name(
    name: *const c_char,
    real: impl FnOnce() -> c_int,
    note: impl FnOnce(&mut super::disk::Disks),
) -> c_int {
    if current().is_none() {
        return real();
    }
    // SAFETY: the caller's contract.
    let name = unsafe { path(name) };
    point();
    let verdict = enter(|os| os.disks.before_name(name));
    if let Err(errno) = allow(verdict) {
        return real::fail(errno);
    }
    let result = real();
    if result == 0 {
        enter(|os| {
            os.event("name", [0, 0]);
            note(&mut os.disks);
        });
    }
    result
}

unsafe fn open(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::open64(name, flags, mode) };
    }
    // SAFETY: the caller's contract.
    let path = unsafe { path(name) };
    if flags & libc::O_CREAT != 0 && !path.exists() {
        let verdict = enter(|os| os.disks.before_name(path));
        if let Err(errno) = allow(verdict) {
            return real::fail(errno);
        }
    }
    // SAFETY: the caller's contract.
    let fd = unsafe { real::open64(name, flags, mode) };
    if fd >= 0 {
        let is_directory = path.is_dir();
        enter(|os| os.disks.opened(fd, path, flags & libc::O_TRUNC != 0, is_directory));
    }
    fd
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { open(name, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's contract, for all of it.
    unsafe { on_name(to, || real::rename(from, to), |disks| disks.renamed(path(from), path(to))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller's contract, for all of it.
    unsafe { on_name(name, || real::unlink(name), |disks| disks.removed(path(name))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(name: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's contract, for all of it.
    unsafe { on_name(name, || real::mkdir(name, mode), |disks| disks.made_directory(path(name))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, len: off64_t) -> c_int {
    if is_file(fd)
        && let Err(errno) = before(fd, Operation::Write, "resize", len as u64)
    {
        return real::fail(errno);
    }
    // SAFETY: the caller's contract.
    let result = unsafe { real::ftruncate64(fd, len) };
    if result == 0 && is_file(fd) {
        enter(|os| os.disks.resized(fd, len as usize));
    }
    result
}

fn sync(fd: c_int) -> c_int {
    match before(fd, Operation::Sync, "sync", 0) {
        Ok(()) => {
            // The real file needs no sync: it is gone when the simulation ends.
            enter(|os| os.disks.synced(fd));
            0
        }
        Err(errno) => {
            enter(|os| os.disks.sync_failed(fd));
            real::fail(errno)
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    match is_file(fd) {
        true => sync(fd),
        // SAFETY: the caller's contract.
        false => unsafe { real::fsync(fd) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    match is_file(fd) {
        true => sync(fd),
        // SAFETY: the caller's contract.
        false => unsafe { real::fdatasync(fd) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, into: *mut c_void, len: usize) -> ssize_t {
    if is_ours(fd) {
        // SAFETY: the caller's contract.
        return sockets::receive(fd, unsafe { sockets::room(into, len) }, 0);
    }
    if is_file(fd)
        && let Err(errno) = before(fd, Operation::Read, "read", len as u64)
    {
        return real::fail(errno);
    }
    // SAFETY: the caller's contract.
    unsafe { real::read(fd, into, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if is_ours(fd) {
        // SAFETY: the caller's contract.
        let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
        let Some(part) = parts.iter().find(|part| part.iov_len > 0) else { return 0 };
        // SAFETY: as above. To read less than there is room for is allowed.
        return sockets::receive(fd, unsafe { sockets::room(part.iov_base, part.iov_len) }, 0);
    }
    // SAFETY: the caller's contract.
    unsafe { real::readv(fd, parts, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, into: *mut c_void, len: usize, at: off64_t) -> ssize_t {
    if is_file(fd)
        && let Err(errno) = before(fd, Operation::Read, "read at", at as u64)
    {
        return real::fail(errno);
    }
    // SAFETY: the caller's contract.
    unsafe { real::pread64(fd, into, len, at) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, from: *const c_void, len: usize) -> ssize_t {
    if is_ours(fd) {
        // SAFETY: the caller's contract.
        return sockets::transmit(fd, unsafe { sockets::bytes(from, len) }, 0);
    }
    if !is_file(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::write(fd, from, len) };
    }
    if let Err(errno) = before(fd, Operation::Write, "write", len as u64) {
        return real::fail(errno);
    }
    // SAFETY: the caller's contract.
    let written = unsafe { real::write(fd, from, len) };
    if written > 0 {
        // SAFETY: it asks where the descriptor is, which is behind what was written.
        let end = unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) };
        // SAFETY: the caller's contract.
        let bytes = unsafe { sockets::bytes(from, written as usize) };
        enter(|os| os.disks.wrote(fd, (end - written as i64) as usize, bytes));
    }
    written
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if !is_ours(fd) && !is_file(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::writev(fd, parts, count) };
    }
    // SAFETY: the caller's contract.
    let bytes = unsafe { sockets::gathered(parts, count) };
    // SAFETY: the bytes are there.
    unsafe { write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, from: *const c_void, len: usize, at: off64_t) -> ssize_t {
    if !is_file(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::pwrite64(fd, from, len, at) };
    }
    if let Err(errno) = before(fd, Operation::Write, "write at", at as u64) {
        return real::fail(errno);
    }
    // SAFETY: the caller's contract.
    let written = unsafe { real::pwrite64(fd, from, len, at) };
    if written > 0 {
        // SAFETY: the caller's contract.
        let bytes = unsafe { sockets::bytes(from, written as usize) };
        enter(|os| os.disks.wrote(fd, at as usize, bytes));
    }
    written
}

/// A system may be without it, and programs then read and write.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_at: *mut off64_t,
    to: c_int,
    to_at: *mut off64_t,
    len: usize,
    flags: c_uint,
) -> ssize_t {
    match current() {
        Some(_) => real::fail(libc::ENOSYS),
        // SAFETY: the caller's contract.
        None => unsafe { real::copy_file_range(from, from_at, to, to_at, len, flags) },
    }
}

/// As `copy_file_range`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: usize) -> ssize_t {
    match current() {
        Some(_) => real::fail(libc::ENOSYS),
        // SAFETY: the caller's contract.
        None => unsafe { real::sendfile64(to, from, at, len) },
    }
}
