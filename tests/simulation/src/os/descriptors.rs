//! File descriptors of what is simulated, and the objects behind them. Each is a descriptor of the real system too, of
//! `/dev/null`, so that its number is taken there.

use super::network::{Listener, Side};
use super::poll::Epoll;
use super::scheduler::{HostId, On};
use super::{Os, current, enter, real};
use libc::c_int;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

pub(super) type ObjectId = usize;

#[derive(Debug)]
pub(super) enum Kind {
    Event {
        count: u64,
    },
    Epoll(Epoll),
    /// A socket that is neither connected nor listens.
    Socket {
        bound: Option<SocketAddrV4>,
    },
    Listener(Listener),
    Stream {
        connection: usize,
        side: Side,
    },
    /// What programs make but nothing ever comes out of.
    Inert,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) host: HostId,
    pub(super) nonblocking: bool,
    /// How long a call waits.
    pub(super) receive_timeout: Option<u64>,
    pub(super) send_timeout: Option<u64>,
    /// How long a connection may be silent.
    pub(super) user_timeout: Option<u64>,
    /// The epolls that watch it, and as what.
    pub(super) watchers: BTreeSet<(ObjectId, c_int)>,
    /// How many descriptors there are of it.
    descriptors: usize,
}

#[derive(Debug, Default)]
pub(super) struct Descriptors {
    numbers: BTreeMap<c_int, ObjectId>,
    objects: BTreeMap<ObjectId, Object>,
    objects_ever: usize,
}

impl Descriptors {
    pub(super) fn find(&self, fd: c_int) -> Option<ObjectId> {
        self.numbers.get(&fd).copied()
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(&id)
    }

    pub(super) fn insert(&mut self, kind: Kind, host: HostId) -> ObjectId {
        self.objects_ever += 1;
        let object = Object {
            kind,
            host,
            nonblocking: false,
            receive_timeout: None,
            send_timeout: None,
            user_timeout: None,
            watchers: BTreeSet::new(),
            descriptors: 0,
        };
        self.objects.insert(self.objects_ever, object);
        self.objects_ever
    }

    /// Objects of a host, for when its process ends.
    pub(super) fn of(&self, host: HostId) -> Vec<ObjectId> {
        self.objects.iter().filter(|(_, object)| object.host == host).map(|(id, _)| *id).collect()
    }

    pub(super) fn remove(&mut self, id: ObjectId) -> Option<Object> {
        self.numbers.retain(|_, object| *object != id);
        self.objects.remove(&id)
    }
}

impl Os {
    /// A descriptor of an object, `like` an open one or a new one.
    pub(super) fn open_descriptor(&mut self, id: ObjectId, nonblocking: bool) -> c_int {
        // SAFETY: the path is a C string.
        let fd = unsafe { real::open64(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC, 0) };
        assert!(fd >= 0, "the real system has descriptors for the simulation's");
        self.descriptors.numbers.insert(fd, id);
        if let Some(object) = self.descriptors.get_mut(id) {
            object.descriptors += 1;
            object.nonblocking |= nonblocking;
        }
        fd
    }

    /// An object of the running process.
    pub(super) fn make(&mut self, kind: Kind) -> ObjectId {
        let here = self.here();
        self.descriptors.insert(kind, here)
    }

    /// Something has become ready.
    pub(super) fn notify(&mut self, id: ObjectId) {
        let Some(object) = self.descriptors.get(id) else { return };
        for (epoll, fd) in object.watchers.clone() {
            self.note_ready(epoll, fd);
        }
        self.scheduler.wake(On::Object(id), usize::MAX);
    }

    fn close_descriptor(&mut self, fd: c_int) {
        let Some(id) = self.descriptors.numbers.remove(&fd) else { return };
        let Some(object) = self.descriptors.get_mut(id) else { return };
        object.descriptors -= 1;
        if object.descriptors == 0 {
            let Some(object) = self.descriptors.remove(id) else { return };
            self.forget_watched(&object, id);
            self.close_object(&object);
        }
    }

    /// What the other side of a closed object learns.
    fn close_object(&mut self, object: &Object) {
        match &object.kind {
            Kind::Listener(listener) => self.close_listener(object.host, listener),
            Kind::Stream { connection, side } => self.close_stream(*connection, *side),
            _ => {}
        }
    }
}

/// Whether `fd` is a descriptor of something simulated.
pub(super) fn is_ours(fd: c_int) -> bool {
    current().is_some() && enter(|os| os.descriptors.find(fd).is_some())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if current().is_some() {
        enter(|os| {
            os.close_descriptor(fd);
            os.disks.close(fd);
        });
    }
    // SAFETY: the caller's contract.
    unsafe { real::close(fd) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { duplicate(fd, real::dup(fd)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
    if is_ours(fd) {
        match command {
            libc::F_GETFL => {
                let nonblocking = enter(|os| {
                    os.descriptors
                        .find(fd)
                        .and_then(|id| os.descriptors.get(id))
                        .is_some_and(|object| object.nonblocking)
                });
                return libc::O_RDWR | if nonblocking { libc::O_NONBLOCK } else { 0 };
            }
            libc::F_SETFL => {
                set_nonblocking(fd, arg as c_int & libc::O_NONBLOCK != 0);
                return 0;
            }
            _ => {}
        }
    }
    // SAFETY: the caller's contract.
    let result = unsafe { real::fcntl(fd, command, arg) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicate(fd, result),
        _ => result,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, arg: usize) -> c_int {
    if is_ours(fd) && request == libc::FIONBIO {
        // SAFETY: the argument of this request is a pointer to a number.
        set_nonblocking(fd, unsafe { *(arg as *const c_int) } != 0);
        return 0;
    }
    // SAFETY: the caller's contract.
    unsafe { real::ioctl(fd, request, arg) }
}

fn set_nonblocking(fd: c_int, nonblocking: bool) {
    enter(|os| {
        if let Some(object) = os.descriptors.find(fd).and_then(|id| os.descriptors.get_mut(id)) {
            object.nonblocking = nonblocking;
        }
    });
}

/// The new descriptor `copy` stands for what `fd` stands for.
fn duplicate(fd: c_int, copy: c_int) -> c_int {
    if copy >= 0 && current().is_some() {
        enter(|os| {
            os.disks.duplicate(fd, copy);
            if let Some(id) = os.descriptors.find(fd) {
                os.descriptors.numbers.insert(copy, id);
                if let Some(object) = os.descriptors.get_mut(id) {
                    object.descriptors += 1;
                }
            }
        });
    }
    copy
}
