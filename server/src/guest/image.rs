//! `Image`: all state of one instance, without the guest's help.

use super::handles::Handles;
use super::pages::Pages;
use super::tracking::{Buffers, Tracking};
use crate::fault::Fault;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Copying less than this, or making its digest, is done at once; it takes about a millisecond.
const AT_ONCE_BYTES: usize = 4 << 20;

/// Globals, memories and WASI handles of one instance at rest. The same on every replica.
///
/// Clones share the memories' content, which follows the instance from image to image: while anybody else holds an
/// image, the next one has to be a copy of the whole.
#[derive(Clone, Default)]
pub struct Image {
    /// The captured globals, as the accessor lays them out.
    pub globals: Vec<u8>,
    /// In the order of their creation.
    pub memories: Vec<Arc<Pages>>,
    pub handles: Handles,
    copying: Option<Arc<Copying>>,
}

/// The work that makes the memories what they were when the image was captured.
struct Copying {
    trackings: Vec<Arc<Tracking>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Image {
    /// An image that is whole, as from a snapshot, without handles.
    pub fn new(globals: Vec<u8>, memories: Vec<Arc<Pages>>) -> Image {
        Image { globals, memories, handles: Handles::NONE, copying: None }
    }

    /// An image whose memories have just been marked; much of them is copied by a thread of its own.
    pub(super) fn copied(
        globals: Vec<u8>,
        memories: Vec<Arc<Pages>>,
        trackings: Vec<Arc<Tracking>>,
        pending_bytes: usize,
    ) -> Image {
        let copy = {
            let trackings = trackings.clone();
            move || {
                let mut buffers = Buffers::default();
                trackings.iter().for_each(|tracking| tracking.reattach());
                trackings.iter().for_each(|tracking| tracking.copy_pending(&mut buffers));
            }
        };
        let thread = match pending_bytes <= AT_ONCE_BYTES {
            true => None,
            false => std::thread::Builder::new().name("image".to_owned()).spawn(copy.clone()).ok(),
        };
        if thread.is_none() {
            copy();
        }
        let copying = Arc::new(Copying { trackings, thread: Mutex::new(thread) });
        Image { copying: Some(copying), ..Image::new(globals, memories) }
    }

    /// Waits until the memories are what they were when the image was captured; before, they must not be looked at.
    pub fn settle(&self) -> Result<(), Fault> {
        let Some(copying) = &self.copying else { return Ok(()) };
        let mut thread = copying.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            return Err(Fault::new("copying the guest's memory panicked"));
        }
        let failed = |error| Fault::because("copying the guest's memory failed", error);
        copying.trackings.iter().try_for_each(|tracking| tracking.check()).map_err(failed)
    }

    /// Whether it is whole, and little of it has changed since its digest was asked for last.
    pub fn is_quickly_digested(&self) -> bool {
        self.is_copied()
            && self.memories.iter().map(|pages| pages.unhashed_bytes()).sum::<u64>() <= AT_ONCE_BYTES as u64
    }

    fn is_copied(&self) -> bool {
        self.copying.as_ref().is_none_or(|copying| {
            let thread = copying.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.as_ref().is_none_or(JoinHandle::is_finished)
        })
    }

    /// Whether the next image can be made without copying the whole: nobody else has a share in this one, and it is there.
    pub fn is_free(&self) -> bool {
        // The instance's tracking has the other.
        self.is_copied() && self.memories.iter().all(|pages| Arc::strong_count(pages) <= 2)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u64> = self.memories.iter().map(|pages| pages.bytes()).collect();
        write!(f, "Image(memories of {bytes:?} bytes)")
    }
}

/// Compares every byte, for tests and targets.
#[cfg(any(test, feature = "fuzzing"))]
impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        let runs = |image: &Image| {
            image.settle().expect("the image is whole");
            let mut all = Vec::new();
            for pages in &image.memories {
                let mut runs = Vec::new();
                let visit = |offset, run: &[u8]| -> Result<(), rustix::io::Errno> {
                    runs.push((offset, run.to_vec()));
                    Ok(())
                };
                pages.each_run(visit).expect("the image can be read");
                all.push((pages.bytes(), runs));
            }
            all
        };
        self.globals == other.globals && self.handles == other.handles && runs(self) == runs(other)
    }
}
