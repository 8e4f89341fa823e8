//! The store contract on the embedded store: as it comes, in a configuration that compacts at every opportunity, and where few events go
//! at once of who vanishes, so that most are hidden and go in steps.

use tempfile::TempDir;
use towpath_store::EventStore;
use towpath_store::suite::Fixture;
use towpath_store_embedded::{AtOnce, Config, EmbeddedStore, check};

/// A store in a folder of its own. What is left in the end must pass a check.
struct Embedded<const COMPACTING: bool, const IN_STEPS: bool> {
    dir: TempDir,
    store: Option<EmbeddedStore>,
}

impl<const COMPACTING: bool, const IN_STEPS: bool> Embedded<COMPACTING, IN_STEPS> {
    fn config(&self) -> Config {
        // Small, because every file is written full of zeroes first.
        let mut config = Config { sync: false, segment_bytes: 1 << 20, ..Config::at(self.dir.path()) };
        if COMPACTING {
            config = Config { segment_bytes: 4096, erase_after_s: 0, dead_percent_max: 1, ..config };
        }
        if IN_STEPS {
            config.at_once = AtOnce { events: 3, bytes: 1_000, keys: 10 };
        }
        config
    }
}

impl<const COMPACTING: bool, const IN_STEPS: bool> Fixture for Embedded<COMPACTING, IN_STEPS> {
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

impl<const COMPACTING: bool, const IN_STEPS: bool> Drop for Embedded<COMPACTING, IN_STEPS> {
    fn drop(&mut self) {
        self.store = None;
        if !std::thread::panicking() {
            let report = check(self.config(), &mut |_, _| {}).expect("it can be checked");
            assert!(report.problems.is_empty(), "{report}: {:#?}", report.problems);
        }
    }
}

mod as_it_comes {
    towpath_store::store_suite!(crate::Embedded<false, false>);
}

mod always_compacting {
    towpath_store::store_suite!(crate::Embedded<true, false>);
}

mod vanishing_in_steps {
    use towpath_store::suite::{audit, differential, vanish};

    use crate::Embedded;

    #[test]
    fn random_histories_agree_with_the_memory_store() {
        differential::random_histories_agree_with_the_memory_store::<Embedded<false, true>>();
        differential::random_histories_agree_with_the_memory_store::<Embedded<true, true>>();
    }

    #[test]
    fn everything_up_to_the_request_goes_and_the_tree_outlives_it() {
        vanish::everything_up_to_the_request_goes::<Embedded<true, true>>();
        audit::the_tree_outlives_whoever_vanishes::<Embedded<true, true>>();
    }
}
