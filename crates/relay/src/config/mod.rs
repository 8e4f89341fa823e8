//! The configuration: every key in one TOML file, by environment, the common ones by flag.
//!
//! One table of settings (`sections`) reads, documents, shows and compares every key. `Sources`
//! collects what the operator wrote (`source`), `resolve` turns it into typed values (`codec`) and
//! checks what depends on two of them (`checks`). All problems are reported together, each with its
//! place. Knows no component of the relay: each takes its own section.

mod checks;
mod codec;
mod document;
mod given;
mod place;
#[expect(missing_docs, reason = "the row of each setting says what it is")]
mod sections;
mod setting;
mod source;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use place::{Place, Problem, Problems};
pub use sections::{
    Audit, Auth, ClassRates, Cluster, Format, Level, Limits, Log, Postgres, Protocol, Queues, Rate, Rates, Relay,
    Server, Store,
};
pub use setting::{Reload, Section, Setting};
pub use source::Sources;

use source::Assignment;

/// The typed configuration. The default is what an empty file gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// What the relay tells about itself.
    pub relay: Relay,
    /// Listening and connections.
    pub server: Server,
    /// Where events are kept.
    pub store: Store,
    /// How the database is used.
    pub postgres: Postgres,
    /// Other pods.
    pub cluster: Cluster,
    /// What can be proved.
    pub audit: Audit,
    /// Who has to authenticate.
    pub auth: Auth,
    /// The largest of everything.
    pub limits: Limits,
    /// How fast clients may go.
    pub rates: Rates,
    /// How much may wait.
    pub queues: Queues,
    /// What is switched on.
    pub protocol: Protocol,
    /// What is logged.
    pub log: Log,
}

/// A configuration, and who set what.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The typed values.
    pub config: Config,
    places: HashMap<String, Place>,
}

impl Resolved {
    /// Where the value of `section.key` comes from.
    pub fn place(&self, path: &str) -> Place {
        self.places.get(path).cloned().unwrap_or(Place::Default)
    }

    /// A problem for each file that it names and that cannot be read.
    pub(crate) fn unreadable_files(&self) -> Vec<Problem> {
        checks::unreadable_files(self)
    }
}

/// What a reload would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Changed keys that a running relay takes.
    pub(crate) live: Vec<String>,
    /// Changed keys that wait for the next start.
    pub(crate) restart: Vec<String>,
}

impl Config {
    /// Every key with its value, in the order of the documented file.
    pub fn sections() -> &'static [Section] {
        sections::SECTIONS
    }

    /// The documented file: every key with its default and the reason for it.
    pub fn example() -> String {
        document::example()
    }

    /// Which keys differ between a running configuration and one just read.
    pub(crate) fn reloadable_difference(old: &Self, new: &Self) -> Difference {
        let mut difference = Difference::default();
        for setting in settings().filter(|setting| setting.value(old) != setting.value(new)) {
            match setting.reload {
                Reload::Live => difference.live.push(setting.path()),
                Reload::Restart => difference.restart.push(setting.path()),
            }
        }
        difference
    }

    /// This configuration with the live keys of `new`: what a reload may put in force, unless it contradicts what stays.
    pub(crate) fn with_live_values_of(&self, new: &Self) -> Result<Self, String> {
        let mut merged = new.clone();
        for setting in settings().filter(|setting| setting.reload == Reload::Restart) {
            (setting.copy)(&mut merged, self);
        }
        checks::contradiction(&merged).map_or(Ok(merged), Err)
    }
}

/// Turns what the operator wrote into typed values, or into everything that is wrong with it.
pub fn resolve(sources: &Sources) -> Result<Resolved, Problems> {
    let (assignments, mut problems) = sources.assignments();
    let mut resolved = Resolved::default();
    for assignment in assignments {
        if let Err(problem) = assign(&mut resolved, assignment) {
            problems.push(problem);
        }
    }
    // A refused value leaves its default behind, which would be compared with the operator's others.
    if problems.is_empty() {
        problems = checks::problems(&resolved);
    }
    if problems.is_empty() {
        return Ok(resolved);
    }
    problems.sort();
    problems.dedup();
    Err(Problems(problems))
}

fn assign(resolved: &mut Resolved, assignment: Assignment) -> Result<(), Problem> {
    let Assignment { setting, given, place } = assignment;
    match (setting.set)(&mut resolved.config, &given) {
        Ok(()) => {
            resolved.places.insert(setting.path(), place);
            Ok(())
        }
        Err(message) => Err(Problem { place, key: Some(setting.path()), message }),
    }
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    sections::SECTIONS.iter().flat_map(|section| section.settings)
}
