//! `Image`: all state of one instance, without the guest's help.

use super::memory::Memory;
use rustix::io::Errno;

/// Globals, memory sizes and non-zero pages of one instance at rest. The same bytes on every replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The captured globals, as the accessor lays them out.
    pub globals: Vec<u8>,
    /// In the order of their creation.
    pub memories: Vec<MemoryImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryImage {
    /// Size of the memory; whatever no extent covers is zero.
    pub bytes: u64,
    /// In rising order, without overlap.
    pub extents: Vec<Extent>,
}

/// A run of pages that are not all zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Image {
    /// Bytes that the image holds, without the zero pages.
    pub fn bytes(&self) -> u64 {
        let extents = self.memories.iter().flat_map(|memory| &memory.extents);
        self.globals.len() as u64 + extents.map(|extent| extent.bytes.len() as u64).sum::<u64>()
    }
}

impl MemoryImage {
    pub(super) fn of(memory: &Memory) -> Result<MemoryImage, Errno> {
        let mut extents = Vec::new();
        memory.each_extent(|offset, bytes| extents.push(Extent { offset, bytes: bytes.to_vec() }))?;
        Ok(MemoryImage { bytes: memory.bytes() as u64, extents })
    }

    /// Whether every extent lies inside the memory; an image from a file need not be what it says.
    pub(super) fn is_sound(&self) -> bool {
        self.extents
            .iter()
            .all(|extent| extent.offset.checked_add(extent.bytes.len() as u64).is_some_and(|end| end <= self.bytes))
    }

    /// Makes `memory`, which has this size already, hold what the image holds.
    pub(super) fn write_to(&self, memory: &Memory) -> Result<(), Errno> {
        memory.clear()?;
        for extent in &self.extents {
            memory.write(extent.offset as usize, &extent.bytes);
        }
        Ok(())
    }
}
