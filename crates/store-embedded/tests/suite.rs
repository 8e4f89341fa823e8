//! The store contract on the embedded store: as it comes, and in a configuration that compacts at every opportunity.

use tempfile::TempDir;
use towpath_store::EventStore;
use towpath_store::suite::Fixture;
use towpath_store_embedded::{Config, EmbeddedStore, check};

/// A store in a folder of its own. What is left in the end must pass a check.
struct Embedded<const SEGMENT_BYTES: u32> {
    dir: TempDir,
    store: Option<EmbeddedStore>,
}

impl<const SEGMENT_BYTES: u32> Embedded<SEGMENT_BYTES> {
    fn config(&self) -> Config {
        Config {
            segment_bytes: SEGMENT_BYTES,
            index_bytes_max: 1 << 30,
            sync: false,
            free_bytes_min: 0,
            erase_after_s: 0,
            dead_percent_max: 1,
            ..Config::at(self.dir.path())
        }
    }
}

impl<const SEGMENT_BYTES: u32> Fixture for Embedded<SEGMENT_BYTES> {
    fn open() -> Self {
        let mut fixture = Self { dir: tempfile::tempdir().expect("a folder"), store: None };
        fixture.store = Some(EmbeddedStore::open(fixture.config()).expect("it opens"));
        fixture
    }

    fn store(&self) -> &dyn EventStore {
        self.store.as_ref().expect("it is open")
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(EmbeddedStore::open(self.config()).expect("it opens again"));
        true
    }
}

impl<const SEGMENT_BYTES: u32> Drop for Embedded<SEGMENT_BYTES> {
    fn drop(&mut self) {
        self.store = None;
        if !std::thread::panicking() {
            let report = check(self.config(), &mut |_, _| {}).expect("it can be checked");
            assert!(report.problems.is_empty(), "{report}: {:#?}", report.problems);
        }
    }
}

mod large_files {
    towpath_store::store_suite!(crate::Embedded<{ 1 << 20 }>);
}

mod small_files_always_compacting {
    towpath_store::store_suite!(crate::Embedded<4096>);
}
