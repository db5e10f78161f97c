//! Disks that forget: what was written and not synced may be gone after a power failure, in whole or in part.
//!
//! Files are real, so that programs read them as they are. Beside them stands what would still be there if the power
//! failed now, and what was changed since: data is safe once its file was synced, a name once its directory was.

use super::scheduler::HostId;
use crate::rng::Rng;
use libc::c_int;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: usize = 512;

type FileId = usize;

/// What names stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File(FileId),
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, Entry),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

#[derive(Debug, Default)]
struct Content {
    safe: Vec<u8>,
    unsynced: Vec<Change>,
}

/// What befalls a disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) is_full: bool,
    /// Syncs and reads that fail from now on.
    pub(crate) syncs_fail: u32,
    pub(crate) reads_fail: u32,
    /// How long a sync takes.
    pub(crate) sync_ns: (u64, u64),
    /// The power fails at this one of the writes and syncs to come.
    pub(crate) power_fails_in: Option<u64>,
}

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<PathBuf, Entry>,
    safe_names: BTreeMap<PathBuf, Entry>,
    unsynced_names: Vec<NameChange>,
    faults: Faults,
}

/// What a descriptor was opened on.
#[derive(Clone, Debug)]
struct Opened {
    host: HostId,
    path: PathBuf,
    entry: Entry,
}

#[derive(Debug)]
pub(crate) struct Disks {
    rng: Rng,
    disks: BTreeMap<HostId, Disk>,
    opened: BTreeMap<c_int, Opened>,
    files_ever: FileId,
    /// Disks that lie, to see that it is noticed.
    pub(crate) ignores_file_syncs: bool,
    pub(crate) ignores_directory_syncs: bool,
    pub(crate) lost_writes: u64,
    pub(crate) torn_writes: u64,
    pub(crate) lost_names: u64,
    pub(crate) failed: BTreeMap<&'static str, u64>,
}

/// What is done to a file, and may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Sync,
}

/// What comes of an operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    Take(u64),
    Fail(c_int),
    PowerFails,
}

/// How much of what was not synced is still there after a power failure.
#[derive(Clone, Copy, Debug)]
enum Survives {
    Nothing,
    Everything,
    First,
    Some,
}

impl Content {
    fn apply(data: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write { at, bytes } => {
                let end = at + bytes.len();
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[*at..end].copy_from_slice(bytes);
            }
            Change::Resize(len) => data.resize(*len, 0),
        }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            Content::apply(&mut self.safe, &change);
        }
    }

    fn current(&self) -> Vec<u8> {
        let mut data = self.safe.clone();
        self.unsynced.iter().for_each(|change| Content::apply(&mut data, change));
        data
    }
}

impl Disk {
    fn new(root: PathBuf, faults: Faults) -> Disk {
        let names = BTreeMap::from([(PathBuf::new(), Entry::Directory)]);
        Disk { root, files: BTreeMap::new(), safe_names: names.clone(), names, unsynced_names: Vec::new(), faults }
    }

    fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &NameChange) {
        match change {
            NameChange::Put(path, entry) => drop(names.insert(path.clone(), *entry)),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to) => {
                if let Some(entry) = names.remove(from) {
                    names.insert(to.clone(), entry);
                }
            }
        }
    }

    fn change_name(&mut self, change: NameChange) {
        Disk::apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn sync_names(&mut self, directory: &Path) {
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.unsynced_names) {
            match change.directory() == directory {
                true => Disk::apply(&mut self.safe_names, &change),
                false => left.push(change),
            }
        }
        self.unsynced_names = left;
    }
}

impl NameChange {
    fn directory(&self) -> &Path {
        let (NameChange::Put(path, _) | NameChange::Rename(_, path) | NameChange::Remove(path)) = self;
        path.parent().unwrap_or(Path::new(""))
    }
}

impl Disks {
    pub(super) fn new(seed: u64) -> Disks {
        Disks {
            rng: Rng::new(seed, "disks"),
            disks: BTreeMap::new(),
            opened: BTreeMap::new(),
            files_ever: 0,
            ignores_file_syncs: false,
            ignores_directory_syncs: false,
            lost_writes: 0,
            torn_writes: 0,
            lost_names: 0,
            failed: BTreeMap::new(),
        }
    }

    /// Gives a host an empty disk, which is the directory `root`.
    pub(crate) fn add(&mut self, host: HostId, root: PathBuf, sync_ns: (u64, u64)) {
        fs::create_dir_all(&root).expect("the simulation's directory can be written");
        self.disks.insert(host, Disk::new(root, Faults { sync_ns, ..Faults::default() }));
    }

    pub(crate) fn root(&self, host: HostId) -> PathBuf {
        self.disks.get(&host).expect("the host has a disk").root.clone()
    }

    pub(crate) fn faults(&mut self, host: HostId) -> &mut Faults {
        &mut self.disks.get_mut(&host).expect("the host has a disk").faults
    }

    /// The host whose disk has `path`, and the path there.
    fn locate(&self, path: &Path) -> Option<(HostId, PathBuf)> {
        self.disks.iter().find_map(|(host, disk)| Some((*host, path.strip_prefix(&disk.root).ok()?.to_owned())))
    }

    pub(super) fn before(&mut self, fd: c_int, operation: Operation) -> Verdict {
        match self.opened.get(&fd) {
            Some(opened) => self.judge(opened.host, operation),
            None => Verdict::Go,
        }
    }

    /// As `before`, for an operation on a name.
    pub(super) fn before_name(&mut self, path: &Path) -> Verdict {
        match self.locate(path) {
            Some((host, _)) => self.judge(host, Operation::Write),
            None => Verdict::Go,
        }
    }

    fn judge(&mut self, host: HostId, operation: Operation) -> Verdict {
        let disk = self.disks.get_mut(&host).expect("only hosts with disks have files");
        let faults = &mut disk.faults;
        if operation != Operation::Read
            && let Some(left) = &mut faults.power_fails_in
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                faults.power_fails_in = None;
                return Verdict::PowerFails;
            }
        }
        let (failure, errno) = match operation {
            Operation::Write if faults.is_full => ("disk full", libc::ENOSPC),
            Operation::Sync if faults.syncs_fail > 0 => {
                faults.syncs_fail -= 1;
                ("sync fails", libc::EIO)
            }
            Operation::Read if faults.reads_fail > 0 => {
                faults.reads_fail -= 1;
                ("read fails", libc::EIO)
            }
            Operation::Sync => return Verdict::Take(self.rng.between(faults.sync_ns.0, faults.sync_ns.1)),
            _ => return Verdict::Go,
        };
        *self.failed.entry(failure).or_default() += 1;
        Verdict::Fail(errno)
    }

    pub(super) fn opened(&mut self, fd: c_int, path: &Path, truncates: bool, is_directory: bool) {
        let Some((host, path)) = self.locate(path) else { return };
        let disk = self.disks.get_mut(&host).expect("located there");
        let entry = match disk.names.get(&path) {
            Some(entry) => *entry,
            // What was there before the simulation began, as compiled code, is no concern of the disk's.
            None if is_directory || path.starts_with("cache") => return,
            None => {
                self.files_ever += 1;
                disk.files.insert(self.files_ever, Content::default());
                let entry = Entry::File(self.files_ever);
                disk.change_name(NameChange::Put(path.clone(), entry));
                entry
            }
        };
        if let (Entry::File(id), true) = (entry, truncates) {
            disk.files.entry(id).or_default().unsynced.push(Change::Resize(0));
        }
        self.opened.insert(fd, Opened { host, path, entry });
    }

    pub(super) fn is_file(&self, fd: c_int) -> bool {
        self.opened.contains_key(&fd)
    }

    pub(super) fn close(&mut self, fd: c_int) {
        self.opened.remove(&fd);
    }

    pub(super) fn duplicate(&mut self, fd: c_int, copy: c_int) {
        if let Some(opened) = self.opened.get(&fd).cloned() {
            self.opened.insert(copy, opened);
        }
    }

    fn content(&mut self, fd: c_int) -> Option<&mut Content> {
        let opened = self.opened.get(&fd)?;
        let Entry::File(id) = opened.entry else { return None };
        self.disks.get_mut(&opened.host)?.files.get_mut(&id)
    }

    pub(super) fn wrote(&mut self, fd: c_int, at: usize, bytes: &[u8]) {
        if let Some(content) = self.content(fd) {
            content.unsynced.push(Change::Write { at, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn resized(&mut self, fd: c_int, len: usize) {
        if let Some(content) = self.content(fd) {
            content.unsynced.push(Change::Resize(len));
        }
    }

    pub(super) fn synced(&mut self, fd: c_int) {
        match self.opened.get(&fd).cloned() {
            Some(Opened { entry: Entry::Directory, .. }) if self.ignores_directory_syncs => {}
            Some(Opened { entry: Entry::File(_), .. }) if self.ignores_file_syncs => {}
            Some(Opened { host, path, entry: Entry::Directory }) => {
                self.disks.get_mut(&host).expect("only hosts with disks have files").sync_names(&path);
            }
            _ => {
                if let Some(content) = self.content(fd) {
                    content.sync();
                }
            }
        }
    }

    /// After a sync that failed, Linux takes what was not written for clean: no later sync writes it.
    pub(super) fn sync_failed(&mut self, fd: c_int) {
        if let Some(content) = self.content(fd) {
            content.unsynced.clear();
        }
    }

    pub(super) fn made_directory(&mut self, path: &Path) {
        if let Some((host, path)) = self.locate(path) {
            self.change(host, NameChange::Put(path, Entry::Directory));
        }
    }

    pub(super) fn renamed(&mut self, from: &Path, to: &Path) {
        if let (Some((host, from)), Some((_, to))) = (self.locate(from), self.locate(to)) {
            self.change(host, NameChange::Rename(from, to));
        }
    }

    pub(super) fn removed(&mut self, path: &Path) {
        if let Some((host, path)) = self.locate(path) {
            self.change(host, NameChange::Remove(path));
        }
    }

    fn change(&mut self, host: HostId, change: NameChange) {
        self.disks.get_mut(&host).expect("located there").change_name(change);
    }

    /// Flips bits of a file on a disk that nobody uses, one that is not tiny; returns its name.
    pub(crate) fn rot(&mut self, host: HostId, bits: u64) -> Option<PathBuf> {
        let disk = self.disks.get_mut(&host)?;
        let in_use = |(path, entry): (&PathBuf, &Entry)| match entry {
            Entry::File(id) if disk.files[id].current().len() >= SECTOR_BYTES => Some((path.clone(), *id)),
            _ => None,
        };
        let files: Vec<(PathBuf, FileId)> = disk.names.iter().filter_map(in_use).collect();
        if files.is_empty() {
            return None;
        }
        let (path, id) = self.rng.pick(&files).clone();
        let content = disk.files.get_mut(&id)?;
        content.sync();
        for _ in 0..bits {
            // What was never written is not likely to be read.
            let mut places = (0..8).map(|_| self.rng.below(content.safe.len() as u64) as usize);
            let written = places.find(|at| content.safe[*at] != 0);
            let at = written.unwrap_or_else(|| self.rng.below(content.safe.len() as u64) as usize);
            content.safe[at] ^= 1 << self.rng.below(8);
        }
        fs::write(disk.root.join(&path), &content.safe).expect("the simulation's directory can be written");
        Some(path)
    }

    /// The process has ended, or the whole computer: what is left is put into the directory `root`.
    pub(super) fn crash(&mut self, host: HostId, root: PathBuf, loses_power: bool) {
        let Some(mut disk) = self.disks.remove(&host) else { return };
        if loses_power {
            let survives = [Survives::Nothing, Survives::Everything, Survives::First, Survives::Some];
            let survives = *self.rng.pick(&survives);
            self.lose_names(&mut disk);
            for content in disk.files.values_mut() {
                self.lose_data(content, survives);
            }
        }
        disk.root = root;
        disk.faults = Faults { sync_ns: disk.faults.sync_ns, ..Faults::default() };
        fs::create_dir_all(&disk.root).expect("the simulation's directory can be written");
        for (path, entry) in &disk.names {
            let path = disk.root.join(path);
            match entry {
                Entry::Directory => fs::create_dir_all(&path).expect("the simulation's directory can be written"),
                Entry::File(id) => fs::write(&path, disk.files[id].current()).expect("the parent was made before"),
            }
        }
        self.disks.insert(host, disk);
    }

    /// Of each directory's changes, some first ones are kept: file systems have a journal of them.
    fn lose_names(&mut self, disk: &mut Disk) {
        let mut kept: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in &disk.unsynced_names {
            *kept.entry(change.directory().to_owned()).or_default() += 1;
        }
        for count in kept.values_mut() {
            *count = self.rng.between(0, *count);
        }
        for change in std::mem::take(&mut disk.unsynced_names) {
            match kept.get_mut(change.directory()) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    Disk::apply(&mut disk.safe_names, &change);
                }
                _ => self.lost_names += 1,
            }
        }
        // What is in a directory that is gone is gone; a parent is in order before its children.
        let mut names = BTreeMap::new();
        for (path, entry) in &disk.safe_names {
            let parent = path.parent().unwrap_or(Path::new(""));
            if path.as_os_str().is_empty() || names.get(parent) == Some(&Entry::Directory) {
                names.insert(path.clone(), *entry);
            }
        }
        disk.safe_names = names.clone();
        disk.names = names;
    }

    fn lose_data(&mut self, content: &mut Content, survives: Survives) {
        let changes = std::mem::take(&mut content.unsynced);
        let kept = match survives {
            Survives::Nothing => 0,
            Survives::First => self.rng.between(0, changes.len() as u64) as usize,
            Survives::Everything | Survives::Some => changes.len(),
        };
        self.lost_writes += (changes.len() - kept) as u64;
        let last = kept.checked_sub(1);
        for (position, change) in changes.into_iter().enumerate().take(kept) {
            let is_torn = match survives {
                Survives::Some => true,
                Survives::First => Some(position) == last,
                _ => false,
            };
            match change {
                Change::Write { at, bytes } if is_torn => self.tear(&mut content.safe, at, &bytes),
                Change::Resize(_) if is_torn && self.rng.one_in(2) => self.lost_writes += 1,
                change => Content::apply(&mut content.safe, &change),
            }
        }
    }

    /// Some sectors of a write are on the disk, others have what they had before.
    fn tear(&mut self, data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
        let mut lost = 0;
        let mut from = 0;
        while from < bytes.len() {
            let to = ((at + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
            let to = to.min(bytes.len());
            if self.rng.one_in(2) {
                Content::apply(data, &Change::Write { at: at + from, bytes: bytes[from..to].to_vec() });
            } else {
                lost += 1;
            }
            from = to;
        }
        self.torn_writes += u64::from(lost > 0);
    }
}
