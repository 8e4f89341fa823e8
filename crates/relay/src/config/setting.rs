//! What is known about one key: the row of the table that reads, shows, documents and compares it.

use super::Config;
use super::given::Given;

/// Whether a running relay takes a new value when it is told to read its configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Taken at once.
    Live,
    /// Taken at the next start.
    Restart,
}

/// One key of the configuration.
pub struct Setting {
    /// The section the key is in.
    pub section: &'static str,
    /// The key, with its unit.
    pub key: &'static str,
    /// Whether a change is taken by a running relay.
    pub reload: Reload,
    /// What the setting does.
    pub what: &'static str,
    /// Why the default is what it is.
    pub why: &'static str,
    pub(super) set: fn(&mut Config, &Given) -> Result<(), String>,
    pub(super) show: fn(&Config) -> String,
    /// Copies the value from the second configuration into the first.
    pub(super) copy: fn(&mut Config, &Config),
}

impl Setting {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variable that sets this key.
    pub fn variable(&self) -> String {
        format!("TOWPATH_{}_{}", self.section, self.key).to_ascii_uppercase()
    }

    /// The value in `config`, as TOML.
    pub fn value(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// A group of keys, one table of the file.
pub struct Section {
    /// The name of the table.
    pub name: &'static str,
    /// What the keys have in common.
    pub what: &'static str,
    /// The keys, in the order they are documented.
    pub settings: &'static [Setting],
}

/// One row: the field it fills, the codec, the key, whether it reloads, what it does, why its default.
macro_rules! setting {
    ($section:ident . $($field:ident).+, $codec:ty, $key:literal, $reload:ident, $what:literal, $why:literal $(,)?) => {
        $crate::config::setting::Setting {
            section: stringify!($section),
            key: $key,
            reload: $crate::config::setting::Reload::$reload,
            what: $what,
            why: $why,
            set: |config, given| {
                config.$section.$($field).+ =
                    <$codec as $crate::config::codec::Codec>::read(given)?;
                Ok(())
            },
            show: |config| {
                <$codec as $crate::config::codec::Codec>::show(&config.$section.$($field).+)
            },
            copy: |to, from| to.$section.$($field).+.clone_from(&from.$section.$($field).+),
        }
    };
}

pub(super) use setting;
