//! The store contract on the embedded store: as it comes, and in a configuration that compacts at every opportunity.

use tempfile::TempDir;
use towpath_store::EventStore;
use towpath_store::suite::Fixture;
use towpath_store_embedded::{Config, EmbeddedStore, check};

/// A store in a folder of its own. What is left in the end must pass a check.
struct Embedded<const COMPACTING: bool> {
    dir: TempDir,
    store: Option<EmbeddedStore>,
}

impl<const COMPACTING: bool> Embedded<COMPACTING> {
    fn config(&self) -> Config {
        // Small, because every file is written full of zeroes first.
        let default = Config { sync: false, segment_bytes: 1 << 20, ..Config::at(self.dir.path()) };
        if COMPACTING {
            Config { segment_bytes: 4096, erase_after_s: 0, dead_percent_max: 1, ..default }
        } else {
            default
        }
    }
}

impl<const COMPACTING: bool> Fixture for Embedded<COMPACTING> {
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

impl<const COMPACTING: bool> Drop for Embedded<COMPACTING> {
    fn drop(&mut self) {
        self.store = None;
        if !std::thread::panicking() {
            let report = check(self.config(), &mut |_, _| {}).expect("it can be checked");
            assert!(report.problems.is_empty(), "{report}: {:#?}", report.problems);
        }
    }
}

mod as_it_comes {
    towpath_store::store_suite!(crate::Embedded<false>);
}

mod always_compacting {
    towpath_store::store_suite!(crate::Embedded<true>);
}
