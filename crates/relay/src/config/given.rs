//! A value as an operator wrote it, before anyone knows what it should mean.

use std::fmt;

use toml::de::{DeInteger, DeValue};

/// A value from a file has a type of its own; one from the environment or a flag is text that
/// takes the type of the key it is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Text(String),
    Integer(i128),
    Boolean(bool),
    List(Vec<Given>),
    /// Untyped text: an environment variable or a flag.
    Bare(String),
    /// A TOML type that no setting uses; only its name matters, for the refusal.
    Other(&'static str),
}

impl Given {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => integer(number),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            other => Self::Other(other.type_str()),
        }
    }

    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Bare(text) => text.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Bare(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Bare(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; bare text is split at commas.
    pub(super) fn list(&self) -> Option<Vec<Given>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Bare(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Self::Bare(item.to_owned()))
                    .collect(),
            ),
            _ => None,
        }
    }
}

fn integer(number: &DeInteger<'_>) -> Given {
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Given::Integer(number),
        Err(_) => Given::Other("integer too large"),
    }
}

/// How a refusal quotes the value back.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Bare(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(_) => f.write_str("a list"),
            Self::Other(name) => write!(f, "a value of type {name}"),
        }
    }
}
