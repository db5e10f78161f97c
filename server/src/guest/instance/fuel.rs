//! What calls may take of the fuel of their store, and what they have taken.

use crate::fault::Fault;
use crate::guest::host::HostState;
use wasmtime::Store;

/// Enough for whatever the host itself calls: getters, growth.
const FUEL_OF_HOST_CALLS: u64 = u64::MAX / 2;

pub(super) struct Tank {
    /// Code that was made without fuel takes none, and its store refuses it.
    metered: bool,
    /// What the running call began with.
    given: u64,
    /// What calls that succeeded have taken.
    taken: u64,
}

impl Tank {
    pub(super) fn new(metered: bool) -> Tank {
        Tank { metered, given: 0, taken: 0 }
    }

    /// Before a call of the guest, which may take this much.
    pub(super) fn fill(&mut self, store: &mut Store<HostState>, fuel: u64) -> Result<(), Fault> {
        self.given = fuel;
        self.set(store, fuel)
    }

    /// Before a call of what the host added to the guest; it is not accounted for.
    pub(super) fn fill_for_host(&self, store: &mut Store<HostState>) -> Result<(), Fault> {
        self.set(store, FUEL_OF_HOST_CALLS)
    }

    /// After a call that succeeded.
    pub(super) fn settle(&mut self, store: &Store<HostState>) -> Result<(), Fault> {
        if self.metered {
            let left = store.get_fuel().map_err(|error| Fault::because("reading the fuel failed", error))?;
            self.taken = self.taken.saturating_add(self.given.saturating_sub(left));
        }
        Ok(())
    }

    pub(super) fn given(&self) -> u64 {
        self.given
    }

    pub(super) fn take_taken(&mut self) -> u64 {
        std::mem::take(&mut self.taken)
    }

    fn set(&self, store: &mut Store<HostState>, fuel: u64) -> Result<(), Fault> {
        match self.metered {
            true => store.set_fuel(fuel).map_err(|error| Fault::because("setting fuel failed", error)),
            false => Ok(()),
        }
    }
}
