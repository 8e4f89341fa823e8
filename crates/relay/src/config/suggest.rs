//! Names the known key that an unknown one was probably meant to be.

use super::sections::SECTIONS;
use super::settings;

pub(super) fn unknown_section(name: &str) -> String {
    // A key without its section is the likelier slip when such a key exists.
    if let Some(setting) = settings().find(|setting| setting.key == name) {
        return format!("unknown section \"{name}\": {name} is a key of [{}]", setting.section);
    }
    let names = SECTIONS.iter().map(|section| section.name.to_owned());
    match nearest(name, names) {
        Some(near) => format!("unknown section \"{name}\": did you mean [{near}]?"),
        None => format!("unknown section \"{name}\""),
    }
}

pub(super) fn unknown_key(section: &str, key: &str) -> String {
    if let Some(setting) = settings().find(|setting| setting.key == key) {
        return format!("unknown key \"{key}\" in [{section}]: it belongs to [{}]", setting.section);
    }
    let in_section = settings().filter(|setting| setting.section == section);
    let near = nearest(key, in_section.map(|setting| setting.key.to_owned()))
        .or_else(|| nearest(key, settings().map(|setting| setting.key.to_owned())));
    let path = near.and_then(|near| {
        let same_section = settings().find(|s| s.section == section && s.key == near);
        same_section.or_else(|| settings().find(|s| s.key == near)).map(|s| s.path())
    });
    match path {
        Some(path) => format!("unknown key \"{key}\" in [{section}]: did you mean {path}?"),
        None => format!("unknown key \"{key}\" in [{section}]"),
    }
}

pub(super) fn unknown_variable(name: &str) -> String {
    // What all have in common says nothing of what was meant.
    let own = |variable: &str| variable.trim_start_matches("TOWPATH_").to_owned();
    match nearest(&own(name), settings().map(|setting| own(&setting.variable()))) {
        Some(near) => format!("sets no key: did you mean TOWPATH_{near}?"),
        None => "sets no key".to_owned(),
    }
}

/// The candidate that takes the fewest edits, if it is near enough to be meant.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let edits_max = name.chars().count() / 3 + 1;
    candidates
        .map(|candidate| (edits(name, &candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance. A missing unit or suffix counts as one edit, because a whole word forgotten is one slip.
fn edits(from: &str, to: &str) -> usize {
    match to.strip_prefix(from) {
        Some(rest) if rest.starts_with('_') => 1,
        _ => strsim::levenshtein(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_unit_is_one_edit() {
        assert_eq!(edits("ping_interval", "ping_interval_s"), 1);
        assert_eq!(edits("message_bytes", "message_bytes_max"), 1);
    }

    #[test]
    fn a_name_like_no_other_gets_no_suggestion() {
        assert_eq!(nearest("zzzzzz", settings().map(|setting| setting.key.to_owned())), None);
        assert_eq!(unknown_variable("TOWPATH_VERSION"), "sets no key");
    }
}
