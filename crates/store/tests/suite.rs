//! The contract of the event store, on the memory store.

use towpath_store::EventStore;
use towpath_store::memory::MemoryStore;
use towpath_store::suite::Fixture;

struct Memory(MemoryStore);

impl Fixture for Memory {
    fn open() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&self) -> &dyn EventStore {
        &self.0
    }

    fn reopen(&mut self) -> bool {
        false
    }
}

towpath_store::store_suite!(Memory);
