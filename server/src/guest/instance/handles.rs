//! The table of WASI handles of one instance made like that of another.

use super::Instance;
use crate::fault::Fault;
use crate::guest::handles::{Handles, Held};
use crate::guest::instrument::Resource;
use wasmtime::component;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

impl Instance {
    /// Makes the table what `wanted` says. False if more indices than that have been given already: only a fresh
    /// instance can do it then.
    pub(super) fn set_handles(&mut self, wanted: &Handles) -> Result<bool, Fault> {
        if self.handles() == wanted {
            return Ok(true);
        }
        if !wanted.is_sound() {
            return Err(Fault::new("the state image has a table of WASI handles that there cannot be"));
        }
        if self.handles().highest() > wanted.highest() {
            return Ok(false);
        }
        for (index, held) in self.handles().live() {
            self.drop_handle(index, held)?;
        }
        // All are in use for a moment, so that they can be dropped in the order that makes the rest come in turn.
        let filler = self.filler()?;
        while !self.is_full(wanted) {
            let held = wanted.at(self.handles().next()).unwrap_or(filler);
            self.adopt(held)?;
        }
        for index in wanted.free() {
            self.drop_handle(*index, filler)?;
        }
        match self.handles() == wanted {
            true => Ok(true),
            false => Err(Fault::new("the table of WASI handles could not be made again")),
        }
    }

    pub(super) fn handles(&self) -> &Handles {
        self.store.data().ledger.handles()
    }

    /// A handle that is open and could not be made again.
    pub(super) fn unkeepable(&self) -> Option<Held> {
        self.handles().live().into_iter().map(|(_, held)| held).find(|held| !self.can_adopt(*held))
    }

    fn can_adopt(&self, held: Held) -> bool {
        held.resource().is_some_and(|resource| self.exports.handles.contains_key(&resource))
    }

    fn is_full(&self, wanted: &Handles) -> bool {
        self.handles().highest() == wanted.highest() && self.handles().free().is_empty()
    }

    /// What a free index can be taken up by.
    fn filler(&self) -> Result<Held, Fault> {
        let filler = [Held::Pollable, Held::Stdout, Held::Stdin].into_iter().find(|held| self.can_adopt(*held));
        filler.ok_or_else(|| Fault::new("the state image has WASI handles, and the module cannot have any"))
    }

    /// Gives the guest a handle, under the index that is next.
    fn adopt(&mut self, held: Held) -> Result<(), Fault> {
        let (resource, adopt) = self.of_kind(held)?;
        self.refuel_for_host()?;
        let failed = |error| Fault::because("making a WASI handle again failed", error);
        let expected = self.handles().next();
        let data = self.store.data_mut();
        let (index,) = match resource {
            Resource::InputStream => {
                let handle = data.open_input().map_err(failed)?;
                let adopt = adopt.0.typed::<(component::Resource<DynInputStream>,), (u32,)>(&self.store);
                adopt.and_then(|adopt| adopt.call(&mut self.store, (handle,)))
            }
            Resource::OutputStream => {
                let handle = data.open_output(held).map_err(failed)?;
                let adopt = adopt.0.typed::<(component::Resource<DynOutputStream>,), (u32,)>(&self.store);
                adopt.and_then(|adopt| adopt.call(&mut self.store, (handle,)))
            }
            Resource::Pollable => {
                let handle = data.open_pollable().map_err(failed)?;
                let adopt = adopt.0.typed::<(component::Resource<DynPollable>,), (u32,)>(&self.store);
                adopt.and_then(|adopt| adopt.call(&mut self.store, (handle,)))
            }
        }
        .map_err(failed)?;
        match index == expected {
            true => Ok(()),
            false => Err(Fault::new(format!("a WASI handle came to be {index} and not {expected}"))),
        }
    }

    fn drop_handle(&mut self, index: u32, held: Held) -> Result<(), Fault> {
        let (_, (_, drop)) = self.of_kind(held)?;
        self.refuel_for_host()?;
        let drop = drop.typed::<(u32,), ()>(&self.store);
        let dropped = drop.and_then(|drop| drop.call(&mut self.store, (index,)));
        dropped.map_err(|error| Fault::because("dropping a WASI handle failed", error))
    }

    fn of_kind(&self, held: Held) -> Result<(Resource, (component::Func, component::Func)), Fault> {
        let known = |resource: Resource| self.exports.handles.get(&resource).map(|functions| (resource, *functions));
        let found = held.resource().and_then(known);
        found.ok_or_else(|| Fault::new(format!("a handle of {} cannot be made in this module", held.name())))
    }
}
