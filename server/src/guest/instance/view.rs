//! An instance as a private view of another one, for reads.

use super::Instance;
use crate::fault::Fault;

impl Instance {
    /// Makes this instance a private view of `writer` as it stands. False when it has grown past the writer, or has had
    /// more handles, and a fresh one is needed.
    pub fn view(&mut self, writer: &mut Instance) -> Result<bool, Fault> {
        self.shown_globals = writer.save_globals()?;
        self.view_again(writer)
    }

    /// The same for a writer that has not changed since then.
    pub fn view_again(&mut self, writer: &Instance) -> Result<bool, Fault> {
        if !self.set_handles(writer.handles())? {
            return Ok(false);
        }
        for index in 0..self.memories.len() {
            let (own, others) = (self.memories[index].bytes(), writer.memories[index].bytes());
            if own > others {
                return Ok(false);
            }
            let is_view = own == others && self.memories[index].is_whole_view();
            self.grow_to(index, others as u64)?;
            let memory = &self.memories[index];
            let writers = &writer.memories[index];
            let shown = if is_view { memory.refresh(writers) } else { memory.become_view_of(writers) };
            shown.map_err(|error| Fault::because("mapping the machine's memory for reads failed", error))?;
        }
        let globals = std::mem::take(&mut self.shown_globals);
        self.load_globals(&globals)?;
        self.shown_globals = globals;
        let source = writer.source.lock().for_reads();
        *self.source.lock() = source;
        Ok(true)
    }

    /// How many bytes of the first memory show another's pages.
    #[cfg(test)]
    pub(in crate::guest) fn shown(&self) -> Option<usize> {
        self.memories.first().filter(|memory| memory.is_whole_view()).map(|memory| memory.bytes())
    }
}
