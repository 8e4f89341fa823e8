//! Between what an operator writes and a typed value, one codec per meaning.
//!
//! A codec checks a value alone; what depends on two settings is in `checks`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use towpath_gateway::Network;
use towpath_protocol::PublicKey;

use super::given::Given;

/// Reads and shows one type of value. `read(show(value)) == value` for every value.
pub(super) trait Codec {
    type Value;

    /// The typed value, or the sentence that tells the operator what was expected.
    fn read(given: &Given) -> Result<Self::Value, String>;

    /// The value as TOML.
    fn show(value: &Self::Value) -> String;
}

fn expected<T>(what: &str, given: &Given) -> Result<T, String> {
    Err(format!("expected {what}, got {given}"))
}

fn whole_number(given: &Given, min: u64, max: u64) -> Result<u64, String> {
    let in_range =
        given.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| (min..=max).contains(number));
    match in_range {
        Some(number) => Ok(number),
        None => {
            let (min, max) = (show_number(min), show_number(max));
            expected(&format!("a whole number from {min} to {max}"), given)
        }
    }
}

/// Large numbers are grouped, as TOML allows, so that they can be read.
fn show_number(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

fn show_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// `true` or `false`.
pub(super) struct Switch;

impl Codec for Switch {
    type Value = bool;

    fn read(given: &Given) -> Result<bool, String> {
        given.boolean().map_or_else(|| expected("true or false", given), Ok)
    }

    fn show(value: &bool) -> String {
        value.to_string()
    }
}

/// How many of something; at least one.
pub(super) struct Count<const MAX: u64>;

impl<const MAX: u64> Codec for Count<MAX> {
    type Value = NonZeroUsize;

    fn read(given: &Given) -> Result<NonZeroUsize, String> {
        let number = whole_number(given, 1, MAX)?;
        let count = usize::try_from(number).ok().and_then(NonZeroUsize::new);
        count.map_or_else(|| expected("a number this machine can count to", given), Ok)
    }

    fn show(value: &NonZeroUsize) -> String {
        show_number(value.get() as u64)
    }
}

/// How many of something, where 0 leaves the choice to the relay.
pub(super) struct CountOrAuto<const MAX: u64>;

impl<const MAX: u64> Codec for CountOrAuto<MAX> {
    type Value = Option<NonZeroUsize>;

    fn read(given: &Given) -> Result<Option<NonZeroUsize>, String> {
        let number = whole_number(given, 0, MAX)?;
        Ok(usize::try_from(number).ok().and_then(NonZeroUsize::new))
    }

    fn show(value: &Option<NonZeroUsize>) -> String {
        show_number(value.map_or(0, |count| count.get() as u64))
    }
}

/// A plain number.
pub(super) struct Number<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Codec for Number<MIN, MAX> {
    type Value = u32;

    fn read(given: &Given) -> Result<u32, String> {
        let number = whole_number(given, MIN, MAX)?;
        u32::try_from(number).or_else(|_| expected("a number of 32 bits", given))
    }

    fn show(value: &u32) -> String {
        show_number(u64::from(*value))
    }
}

/// Bytes in memory.
pub(super) struct Bytes<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Codec for Bytes<MIN, MAX> {
    type Value = usize;

    fn read(given: &Given) -> Result<usize, String> {
        let number = whole_number(given, MIN, MAX)?;
        usize::try_from(number).or_else(|_| expected("a size this machine can address", given))
    }

    fn show(value: &usize) -> String {
        show_number(*value as u64)
    }
}

/// Bytes on disk.
pub(super) struct DiskBytes<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Codec for DiskBytes<MIN, MAX> {
    type Value = u64;

    fn read(given: &Given) -> Result<u64, String> {
        whole_number(given, MIN, MAX)
    }

    fn show(value: &u64) -> String {
        show_number(*value)
    }
}

/// A duration in seconds.
pub(super) struct Seconds<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Codec for Seconds<MIN, MAX> {
    type Value = Duration;

    fn read(given: &Given) -> Result<Duration, String> {
        whole_number(given, MIN, MAX).map(Duration::from_secs)
    }

    fn show(value: &Duration) -> String {
        show_number(value.as_secs())
    }
}

/// A duration in seconds, where 0 means no limit.
pub(super) struct SecondsOrNone<const MAX: u64>;

impl<const MAX: u64> Codec for SecondsOrNone<MAX> {
    type Value = Option<Duration>;

    fn read(given: &Given) -> Result<Option<Duration>, String> {
        let seconds = whole_number(given, 0, MAX)?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    fn show(value: &Option<Duration>) -> String {
        show_number(value.map_or(0, |duration| duration.as_secs()))
    }
}

/// A duration in microseconds.
pub(super) struct Microseconds<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Codec for Microseconds<MIN, MAX> {
    type Value = Duration;

    fn read(given: &Given) -> Result<Duration, String> {
        whole_number(given, MIN, MAX).map(Duration::from_micros)
    }

    fn show(value: &Duration) -> String {
        show_number(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Text that must say something.
pub(super) struct Text<const CHARS_MAX: usize>;

impl<const CHARS_MAX: usize> Codec for Text<CHARS_MAX> {
    type Value = String;

    fn read(given: &Given) -> Result<String, String> {
        match given.text() {
            Some(text) if (1..=CHARS_MAX).contains(&text.chars().count()) => Ok(text.to_owned()),
            _ => expected(&format!("text of 1 to {CHARS_MAX} characters"), given),
        }
    }

    fn show(value: &String) -> String {
        quote(value)
    }
}

/// A form of text that a setting may demand.
pub(super) trait Form {
    const WHAT: &'static str;
    /// Then it is not repeated where it is refused.
    const MAY_HOLD_A_PASSWORD: bool = false;

    fn fits(text: &str) -> bool;
}

/// Text of one form, where `""` means not set.
pub(super) struct Optional<F>(std::marker::PhantomData<F>);

impl<F: Form> Codec for Optional<F> {
    type Value = Option<String>;

    fn read(given: &Given) -> Result<Option<String>, String> {
        match given.text() {
            Some("") => Ok(None),
            Some(text) if F::fits(text) => Ok(Some(text.to_owned())),
            Some(_) if F::MAY_HOLD_A_PASSWORD => Err(format!("expected {}, got another text", F::WHAT)),
            _ => expected(F::WHAT, given),
        }
    }

    fn show(value: &Option<String>) -> String {
        quote(value.as_deref().unwrap_or_default())
    }
}

/// Prose for people.
pub(super) struct Prose;

impl Form for Prose {
    const WHAT: &'static str = "text of at most 4096 characters";

    fn fits(text: &str) -> bool {
        text.chars().count() <= 4096
    }
}

/// The address of a page or picture.
pub(super) struct WebUrl;

impl Form for WebUrl {
    const WHAT: &'static str = "a URL that starts with https:// or http://";

    fn fits(text: &str) -> bool {
        has_host_after(text, &["https://", "http://"])
    }
}

/// The address a client connects to.
pub(super) struct RelayUrl;

impl Form for RelayUrl {
    const WHAT: &'static str = "a URL that starts with wss:// or ws://, without a user, ? or #";

    fn fits(text: &str) -> bool {
        // One that policy cannot read would be no name of the relay, and nobody could authenticate.
        let is_a_name = towpath_policy::RelayUrl::parse(text).is_some();
        is_a_name && has_host_after(text, &["wss://", "ws://"]) && !text.contains(['?', '#'])
    }
}

/// Where a database is.
pub(super) struct StoreUrl;

impl Form for StoreUrl {
    const WHAT: &'static str = "a URL such as postgres://user@host:5432/database?sslmode=verify-full";
    const MAY_HOLD_A_PASSWORD: bool = true;

    fn fits(text: &str) -> bool {
        has_host_after(text, &["postgres://", "postgresql://"]) && has_ports(text) && has_known_sslmode(text)
    }
}

/// Whether what is behind the colons of the hosts are ports. As the driver does, which connects at once: the first `@` ends the login.
fn has_ports(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let hosts = rest.split_once('@').map_or(rest, |(_, hosts)| hosts);
    let mut hosts = hosts.split(['/', '?']).next().unwrap_or_default().split(',').map(|host| host.rsplit_once(':'));
    hosts.all(|host| host.is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_ok()))
}

fn has_known_sslmode(text: &str) -> bool {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let query = text.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| pair.strip_prefix("sslmode=")).all(|mode| MODES.contains(&mode))
}

/// Where a bus is.
pub(super) struct BusUrl;

impl Form for BusUrl {
    const WHAT: &'static str = "a URL that starts with redis:// or redis+sentinel://, or with rediss in their place";
    const MAY_HOLD_A_PASSWORD: bool = true;

    fn fits(text: &str) -> bool {
        has_host_after(text, &["redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://"])
    }
}

/// A schema that needs no quotes.
pub(super) struct SchemaName;

impl Form for SchemaName {
    const WHAT: &'static str = "a name of lowercase letters, digits and _ that starts with a letter, at most 48";

    fn fits(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        text.len() <= 48 && text.bytes().all(plain) && text.starts_with(|first: char| first.is_ascii_lowercase())
    }
}

/// What people call a process.
pub(super) struct PodName;

impl Form for PodName {
    const WHAT: &'static str = "a name of letters, digits, . - and _, at most 48";

    fn fits(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        text.len() <= 48 && text.bytes().all(plain)
    }
}

fn has_host_after(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

/// A public key as the protocol writes it, where `""` means not set.
pub(super) struct OptionalKey;

impl Codec for OptionalKey {
    type Value = Option<PublicKey>;

    fn read(given: &Given) -> Result<Option<PublicKey>, String> {
        let key = match given.text() {
            Some("") => return Ok(None),
            text => text.and_then(|text| PublicKey::from_hex(text).ok()),
        };
        match key {
            Some(key) => Ok(Some(key)),
            None => expected("a public key as 64 lowercase hexadecimal characters", given),
        }
    }

    fn show(value: &Option<PublicKey>) -> String {
        quote(&value.map(|key| key.to_hex()).unwrap_or_default())
    }
}

/// An address to listen on.
pub(super) struct Address;

impl Codec for Address {
    type Value = SocketAddr;

    fn read(given: &Given) -> Result<SocketAddr, String> {
        let address = given.text().and_then(|text| text.parse().ok());
        address.map_or_else(|| expected("an IP address with a port, such as \"127.0.0.1:7777\"", given), Ok)
    }

    fn show(value: &SocketAddr) -> String {
        quote(&value.to_string())
    }
}

/// A list of networks.
pub(super) struct Networks;

impl Codec for Networks {
    type Value = Vec<Network>;

    fn read(given: &Given) -> Result<Vec<Network>, String> {
        let Some(items) = given.list() else {
            return expected("a list of networks, such as [\"10.0.0.0/8\"]", given);
        };
        items
            .iter()
            .map(|item| match item.text().and_then(|text| text.parse().ok()) {
                Some(network) => Ok(network),
                None => expected("a network, such as \"10.0.0.0/8\" or \"::1\"", item),
            })
            .collect()
    }

    fn show(value: &Vec<Network>) -> String {
        show_list(value.iter().map(|network| quote(&network.to_string())))
    }
}

/// A list of public keys in hex.
pub(super) struct Keys;

impl Codec for Keys {
    type Value = BTreeSet<PublicKey>;

    fn read(given: &Given) -> Result<BTreeSet<PublicKey>, String> {
        let Some(items) = given.list() else { return expected("a list of public keys in hex", given) };
        let key = |item: &Given| item.text().and_then(|text| PublicKey::from_hex(text).ok());
        let keys = items.iter().map(|item| key(item).map_or_else(|| expected("a public key in hex", item), Ok));
        keys.collect()
    }

    fn show(value: &BTreeSet<PublicKey>) -> String {
        show_list(value.iter().map(|key| quote(&key.to_hex())))
    }
}

/// A set of event kinds.
pub(super) struct Kinds;

impl Codec for Kinds {
    type Value = BTreeSet<u16>;

    fn read(given: &Given) -> Result<BTreeSet<u16>, String> {
        let Some(items) = given.list() else {
            return expected("a list of kinds, such as [4, 1059]", given);
        };
        items
            .iter()
            .map(|item| match item.integer().and_then(|kind| u16::try_from(kind).ok()) {
                Some(kind) => Ok(kind),
                None => expected("a kind from 0 to 65535", item),
            })
            .collect()
    }

    fn show(value: &BTreeSet<u16>) -> String {
        show_list(value.iter().map(u16::to_string))
    }
}

/// A path that must be given.
pub(super) struct Folder;

impl Codec for Folder {
    type Value = PathBuf;

    fn read(given: &Given) -> Result<PathBuf, String> {
        match given.text() {
            Some(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            _ => expected("the path of a folder", given),
        }
    }

    fn show(value: &PathBuf) -> String {
        quote(&value.to_string_lossy())
    }
}

/// A path, where `""` means not set.
pub(super) struct OptionalFile;

impl Codec for OptionalFile {
    type Value = Option<PathBuf>;

    fn read(given: &Given) -> Result<Option<PathBuf>, String> {
        match given.text() {
            Some("") => Ok(None),
            Some(text) => Ok(Some(PathBuf::from(text))),
            None => expected("the path of a file", given),
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        let path = value.as_deref().map(|path| path.to_string_lossy());
        quote(path.as_deref().unwrap_or_default())
    }
}

/// A closed list of words.
pub(super) trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// One word of a closed list.
pub(super) struct OneOf<W>(std::marker::PhantomData<W>);

impl<W: Word> Codec for OneOf<W> {
    type Value = W;

    fn read(given: &Given) -> Result<W, String> {
        let text = given.text();
        let known = W::WORDS.iter().find(|(word, _)| Some(*word) == text);
        known.map_or_else(
            || {
                let words = W::WORDS.iter().map(|(word, _)| quote(word));
                expected(&format!("one of {}", words.collect::<Vec<_>>().join(", ")), given)
            },
            |(_, value)| Ok(*value),
        )
    }

    fn show(value: &W) -> String {
        let word = W::WORDS.iter().find(|(_, known)| known == value);
        quote(word.map_or("", |(word, _)| word))
    }
}
