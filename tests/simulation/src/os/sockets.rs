//! TCP sockets as the C library shows them.

use super::descriptors::{Kind, ObjectId, is_ours};
use super::scheduler::On;
use super::threads::{block, point};
use super::{Os, current, enter, real};
use libc::{c_int, c_void, iovec, sockaddr, sockaddr_in, socklen_t, ssize_t};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Runs `attempt` until it has a result; a socket that does not block has one at once.
fn until<T>(
    fd: c_int,
    is_receiving: bool,
    nonblocking: bool,
    mut attempt: impl FnMut(&mut Os, ObjectId) -> Result<Option<T>, c_int>,
) -> Result<T, c_int> {
    point();
    let (id, waits, timeout) = enter(|os| {
        let id = os.descriptors.find(fd).ok_or(libc::EBADF)?;
        let object = os.descriptors.get(id).ok_or(libc::EBADF)?;
        let timeout = if is_receiving { object.receive_timeout } else { object.send_timeout };
        Ok::<_, c_int>((id, !object.nonblocking && !nonblocking, timeout))
    })?;
    let deadline = timeout.map(|timeout| enter(|os| os.deadline_in(timeout)));
    loop {
        match enter(|os| attempt(os, id))? {
            Some(result) => return Ok(result),
            None if waits && block(On::Object(id), deadline) => {}
            None => return Err(libc::EAGAIN),
        }
    }
}

fn stream(os: &Os, id: ObjectId) -> Result<(usize, usize), c_int> {
    match os.descriptors.get(id).map(|object| &object.kind) {
        Some(Kind::Stream { connection, side }) => Ok((*connection, *side)),
        Some(Kind::Inert) => Err(libc::EAGAIN),
        _ => Err(libc::ENOTCONN),
    }
}

/// What `recv` and `read` of a descriptor of ours do.
pub(super) fn receive(fd: c_int, into: &mut [u8], flags: c_int) -> ssize_t {
    let received = until(fd, true, flags & libc::MSG_DONTWAIT != 0, |os, id| {
        if let Some(Kind::Event { .. }) = os.descriptors.get(id).map(|object| &object.kind) {
            let count = os.count_out(id);
            return Ok(count.map(|count| {
                into[..8].copy_from_slice(&count.to_ne_bytes());
                8
            }));
        }
        let (connection, side) = stream(os, id)?;
        os.receive(connection, side, into, flags & libc::MSG_PEEK != 0)
    });
    received.map_or_else(real::fail, |bytes| bytes as ssize_t)
}

/// What `send` and `write` of a descriptor of ours do.
pub(super) fn transmit(fd: c_int, bytes: &[u8], flags: c_int) -> ssize_t {
    let sent = until(fd, false, flags & libc::MSG_DONTWAIT != 0, |os, id| {
        if let Some(Kind::Event { .. }) = os.descriptors.get(id).map(|object| &object.kind) {
            let count = bytes.first_chunk().map_or(0, |count| u64::from_ne_bytes(*count));
            os.count_up(id, count);
            return Ok(Some(8));
        }
        let (connection, side) = stream(os, id)?;
        os.send(connection, side, bytes)
    });
    sent.map_or_else(real::fail, |bytes| bytes as ssize_t)
}

/// The bytes of several parts in one piece.
///
/// # Safety
/// As `writev`.
pub(super) unsafe fn gathered(parts: *const iovec, count: c_int) -> Vec<u8> {
    // SAFETY: the caller's contract.
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    // SAFETY: as above.
    parts.iter().flat_map(|part| unsafe { bytes(part.iov_base, part.iov_len) }).copied().collect()
}

/// # Safety
/// There are so many bytes, or none.
pub(super) unsafe fn bytes<'a>(from: *const c_void, len: usize) -> &'a [u8] {
    match len {
        0 => &[],
        // SAFETY: the caller's contract.
        _ => unsafe { std::slice::from_raw_parts(from.cast(), len) },
    }
}

/// # Safety
/// There is room for so many bytes, or for none.
pub(super) unsafe fn room<'a>(at: *mut c_void, len: usize) -> &'a mut [u8] {
    match len {
        0 => &mut [],
        // SAFETY: the caller's contract.
        _ => unsafe { std::slice::from_raw_parts_mut(at.cast(), len) },
    }
}

unsafe fn read_address(address: *const sockaddr) -> Option<SocketAddrV4> {
    // SAFETY: every address begins with its family.
    if c_int::from(unsafe { (*address).sa_family }) != libc::AF_INET {
        return None;
    }
    // SAFETY: an address of this family is this structure.
    let address = unsafe { *address.cast::<sockaddr_in>() };
    Some(SocketAddrV4::new(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)), u16::from_be(address.sin_port)))
}

unsafe fn write_address(into: *mut sockaddr, len: *mut socklen_t, address: SocketAddrV4) {
    if into.is_null() {
        return;
    }
    let written = sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: the caller's contract: there is room for an address of the socket's family.
    unsafe {
        *into.cast::<sockaddr_in>() = written;
        *len = size_of::<sockaddr_in>() as socklen_t;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    if current().is_none() {
        // SAFETY: it has no contract.
        return unsafe { real::socket(domain, kind, protocol) };
    }
    if domain != libc::AF_INET {
        return real::fail(libc::EAFNOSUPPORT);
    }
    let is_stream = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) == libc::SOCK_STREAM;
    let made = if is_stream { Kind::Socket { bound: None } } else { Kind::Inert };
    enter(|os| {
        let id = os.make(made);
        os.open_descriptor(id, kind & libc::SOCK_NONBLOCK != 0)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::socketpair(domain, kind, protocol, pair) };
    }
    for position in 0..2 {
        let fd = enter(|os| {
            // tokio makes one pair for all its runtimes, which so is that of all nodes: none takes it along.
            let id = os.descriptors.insert(Kind::Inert, super::WORLD);
            os.open_descriptor(id, kind & libc::SOCK_NONBLOCK != 0)
        });
        // SAFETY: the caller's contract: there is room for two.
        unsafe { *pair.add(position) = fd };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::bind(fd, address, len) };
    }
    // SAFETY: the caller's contract.
    let Some(address) = (unsafe { read_address(address) }) else { return real::fail(libc::EAFNOSUPPORT) };
    let result = enter(|os| {
        if os.network.is_bound(address) {
            return Err(libc::EADDRINUSE);
        }
        match os.descriptors.find(fd).and_then(|id| os.descriptors.get_mut(id)).map(|object| &mut object.kind) {
            Some(Kind::Socket { bound }) => *bound = Some(address),
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    });
    result.map_or_else(real::fail, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::listen(fd, backlog) };
    }
    let result = enter(|os| {
        let id = os.descriptors.find(fd).ok_or(libc::EBADF)?;
        match os.descriptors.get(id).map(|object| &object.kind) {
            Some(Kind::Socket { bound: Some(address) }) => {
                let address = *address;
                os.listen(id, address);
                Ok(())
            }
            _ => Err(libc::EINVAL),
        }
    });
    result.map_or_else(real::fail, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::accept4(fd, address, len, flags) };
    }
    let accepted = until(fd, true, false, |os, id| {
        let Some(object) = os.accept(id) else { return Ok(None) };
        let (connection, side) = stream(os, object)?;
        let peer = os.network.addresses(connection, side).ok_or(libc::ECONNABORTED)?.1;
        Ok(Some((os.open_descriptor(object, flags & libc::SOCK_NONBLOCK != 0), peer)))
    });
    match accepted {
        Ok((accepted, peer)) => {
            // SAFETY: the caller's contract.
            unsafe { write_address(address, len, peer) };
            accepted
        }
        Err(errno) => real::fail(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::connect(fd, address, len) };
    }
    // SAFETY: the caller's contract.
    let Some(address) = (unsafe { read_address(address) }) else { return real::fail(libc::EAFNOSUPPORT) };
    let begun = enter(|os| {
        let id = os.descriptors.find(fd).ok_or(libc::EBADF)?;
        os.connect(id, address)
    });
    if let Err(errno) = begun {
        return real::fail(errno);
    }
    let done = until(fd, false, false, |os, id| {
        let (connection, side) = stream(os, id)?;
        match (os.network.take_error(connection, side), os.network.is_open(connection, side)) {
            (0, is_open) => Ok(is_open.then_some(())),
            (errno, _) => Err(errno),
        }
    });
    match done {
        Ok(()) => 0,
        Err(libc::EAGAIN) => real::fail(libc::EINPROGRESS),
        Err(errno) => real::fail(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::getsockname(fd, address, len) };
    }
    let local = enter(|os| {
        let id = os.descriptors.find(fd)?;
        match os.descriptors.get(id).map(|object| &object.kind) {
            Some(Kind::Socket { bound }) => *bound,
            Some(Kind::Stream { connection, side }) => os.network.addresses(*connection, *side).map(|both| both.0),
            Some(Kind::Listener(listener)) => Some(listener.address()),
            _ => None,
        }
    });
    // SAFETY: the caller's contract.
    unsafe { write_address(address, len, local.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::getpeername(fd, address, len) };
    }
    let peer = enter(|os| {
        let id = os.descriptors.find(fd)?;
        let (connection, side) = stream(os, id).ok()?;
        os.network.is_open(connection, side).then(|| os.network.addresses(connection, side)).flatten()
    });
    match peer {
        Some((_, peer)) => {
            // SAFETY: the caller's contract.
            unsafe { write_address(address, len, peer) };
            0
        }
        None => real::fail(libc::ENOTCONN),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::getsockopt(fd, level, name, value, len) };
    }
    let error = enter(|os| {
        let id = os.descriptors.find(fd)?;
        let (connection, side) = stream(os, id).ok()?;
        Some(os.network.take_error(connection, side))
    });
    let asks_error = (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: the caller's contract: the options that are asked for are numbers.
    unsafe { *value.cast::<c_int>() = if asks_error { error.unwrap_or(0) } else { 0 } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::setsockopt(fd, level, name, value, len) };
    }
    let timeout = || {
        // SAFETY: the value of a timeout is this structure.
        let time = unsafe { *value.cast::<libc::timeval>() };
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000).filter(|ns| *ns > 0)
    };
    enter(|os| {
        let Some(id) = os.descriptors.find(fd) else { return };
        let open = stream(os, id);
        let Some(object) = os.descriptors.get_mut(id) else { return };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => object.receive_timeout = timeout(),
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => object.send_timeout = timeout(),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                // SAFETY: the value of this option is a number of milliseconds.
                object.user_timeout = Some(u64::from(unsafe { *value.cast::<u32>() }) * 1_000_000);
                if let Ok((connection, side)) = open {
                    os.watch_silence(connection, side);
                }
            }
            // The others make a connection faster or a port free sooner, which is not simulated.
            _ => {}
        }
    });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the caller's contract.
        return unsafe { real::shutdown(fd, how) };
    }
    point();
    enter(|os| {
        if how != libc::SHUT_RD
            && let Some(id) = os.descriptors.find(fd)
            && let Ok((connection, side)) = stream(os, id)
        {
            os.finish(connection, side);
        }
    });
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, into: *mut c_void, len: usize, flags: c_int) -> ssize_t {
    match is_ours(fd) {
        // SAFETY: the caller's contract.
        true => receive(fd, unsafe { room(into, len) }, flags),
        // SAFETY: the caller's contract.
        false => unsafe { real::recv(fd, into, len, flags) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    into: *mut c_void,
    len: usize,
    flags: c_int,
    _: *mut sockaddr,
    _: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's contract; connections have no other sender.
    unsafe { recv(fd, into, len, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, from: *const c_void, len: usize, flags: c_int) -> ssize_t {
    match is_ours(fd) {
        // SAFETY: the caller's contract.
        true => transmit(fd, unsafe { bytes(from, len) }, flags),
        // SAFETY: the caller's contract.
        false => unsafe { real::send(fd, from, len, flags) },
    }
}
