//! What the operator wrote: a file, the environment, flags. Later sources win over earlier ones.
//!
//! Finds which setting each value is for; what the value means is the setting's business.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::given::Given;
use super::place::{Place, Problem};
use super::sections::SECTIONS;
use super::setting::{Section, Setting};
use super::{settings, suggest};

/// The variable that names the configuration file; it is no key.
const CONFIG_VARIABLE: &str = "TOWPATH_CONFIG";

/// Everything that may set a key. Nothing is read from the process: two relays in one process can
/// have two environments.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<File>,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String, String)>,
}

#[derive(Clone, Debug)]
struct File {
    path: String,
    /// The text, or why it could not be read: a problem like any other, reported with them.
    text: Result<String, String>,
}

/// One value for one setting.
pub(super) struct Assignment {
    pub(super) setting: &'static Setting,
    pub(super) given: Given,
    pub(super) place: Place,
}

type Found = Result<Assignment, Problem>;

impl Sources {
    /// Reads the file at `path`.
    #[must_use]
    pub fn file(self, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"));
        let path = path.display().to_string();
        Self { file: Some(File { path, text }), ..self }
    }

    /// Takes `text` as the content of a file called `name`.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        Self { file: Some(File { path: name.to_owned(), text: Ok(text.to_owned()) }), ..self }
    }

    /// Takes the variables of an environment; those that do not start with `TOWPATH_` are left alone.
    #[must_use]
    pub fn environment(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = variables.into_iter().filter(|(name, _)| is_ours(name)).collect();
        Self { environment, ..self }
    }

    /// Takes the value of a command-line flag for the key `path`, which is written `section.key`.
    #[must_use]
    pub fn flag(mut self, name: &str, path: &str, value: &str) -> Self {
        self.flags.push((name.to_owned(), path.to_owned(), value.to_owned()));
        self
    }

    /// Every value in the order it takes effect, and every value that is for no setting.
    pub(super) fn assignments(&self) -> (Vec<Assignment>, Vec<Problem>) {
        let mut found: Vec<Found> = Vec::new();
        if let Some(file) = &self.file {
            file.read(&mut found);
        }
        found.extend(self.environment.iter().map(|(name, value)| from_variable(name, value)));
        found.extend(self.flags.iter().map(|(name, path, value)| from_flag(name, path, value)));

        let mut assignments = Vec::new();
        let mut problems = Vec::new();
        for found in found {
            match found {
                Ok(assignment) => assignments.push(assignment),
                Err(problem) => problems.push(problem),
            }
        }
        (assignments, problems)
    }
}

impl File {
    fn read(&self, found: &mut Vec<Found>) {
        let text = match &self.text {
            Ok(text) => text,
            Err(reason) => {
                let place = Place::in_file(&self.path, "", 0);
                found.push(Err(Problem { place, key: None, message: reason.clone() }));
                return;
            }
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        found.extend(errors.iter().map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.problem(text, at, format!("not TOML: {}", error.message()))
        }));
        for (name, value) in document.get_ref() {
            let at = name.span().start;
            match (section(name.get_ref()), value.get_ref()) {
                (Some(section), DeValue::Table(table)) => {
                    self.read_section(text, section, table, found);
                }
                (Some(_), _) => {
                    let message = format!("[{name}] is a table", name = name.get_ref());
                    found.push(self.problem(text, at, message));
                }
                (None, _) => {
                    let message = suggest::unknown_section(name.get_ref());
                    found.push(self.problem(text, at, message));
                }
            }
        }
    }

    fn read_section(&self, text: &str, section: &'static Section, table: &DeTable<'_>, found: &mut Vec<Found>) {
        for (key, value) in table {
            let known = section.settings.iter().find(|setting| setting.key == key.get_ref());
            found.push(match known {
                Some(setting) => Ok(Assignment {
                    setting,
                    given: Given::from_toml(value.get_ref()),
                    place: Place::in_file(&self.path, text, value.span().start),
                }),
                None => {
                    let message = suggest::unknown_key(section.name, key.get_ref());
                    self.problem(text, key.span().start, message)
                }
            });
        }
    }

    fn problem(&self, text: &str, at: usize, message: String) -> Found {
        Err(Problem { place: Place::in_file(&self.path, text, at), key: None, message })
    }
}

fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

fn from_variable(name: &str, value: &str) -> Found {
    let place = Place::Environment(name.to_owned());
    match settings().find(|setting| setting.variable() == name) {
        Some(setting) => Ok(Assignment { setting, given: Given::Bare(value.to_owned()), place }),
        None => Err(Problem { place, key: None, message: suggest::unknown_variable(name) }),
    }
}

fn from_flag(name: &str, path: &str, value: &str) -> Found {
    let place = Place::Flag(name.to_owned());
    match settings().find(|setting| setting.path() == path) {
        Some(setting) => Ok(Assignment { setting, given: Given::Bare(value.to_owned()), place }),
        None => {
            let message = format!("there is no setting {path}");
            Err(Problem { place, key: None, message })
        }
    }
}

/// Whether a variable is meant for the configuration.
///
/// Kubernetes gives every container variables named after the services beside it; for a service
/// called `towpath` these start like ours and must not stop the relay. No key of ours has `port`
/// as a word.
fn is_ours(name: &str) -> bool {
    let is_service_link = name.ends_with("_SERVICE_HOST") || name.split('_').any(|word| word == "PORT");
    name.starts_with("TOWPATH_") && name != CONFIG_VARIABLE && !is_service_link
}
