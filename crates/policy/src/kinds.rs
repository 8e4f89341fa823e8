//! The kind table: the one place that knows what a kind number means. Unknown kinds follow NIP-01's ranges.

use crate::KIND_AUTH;

/// How events of a kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Each is kept.
    Regular,
    /// The newest of each author is kept.
    Replaceable,
    /// The newest of each author and `d` tag is kept.
    Addressable,
    /// Delivered to whoever listens, never kept.
    Ephemeral,
    /// Not publishable at all.
    Refused,
}

/// What else the commit of an event of this kind does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Deletes what it names (NIP-09).
    Delete,
    /// Deletes everything of its author (NIP-62).
    Vanish,
    /// Repeats another event, which must not be a protected one (NIP-18, NIP-70).
    Repost,
}

/// All there is to know about a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindSpec {
    /// How its events are kept.
    pub storage: Storage,
    /// What their commit does.
    pub effect: Effect,
}

const SPECIAL: &[(u16, KindSpec)] = &[
    (5, KindSpec { storage: Storage::Regular, effect: Effect::Delete }),
    (6, KindSpec { storage: Storage::Regular, effect: Effect::Repost }),
    (16, KindSpec { storage: Storage::Regular, effect: Effect::Repost }),
    (62, KindSpec { storage: Storage::Regular, effect: Effect::Vanish }),
    (KIND_AUTH, KindSpec { storage: Storage::Refused, effect: Effect::None }),
];

/// The row of `kind`.
pub fn kind_spec(kind: u16) -> KindSpec {
    if let Some((_, spec)) = SPECIAL.iter().find(|(special, _)| *special == kind) {
        return *spec;
    }
    let storage = match kind {
        0 | 3 | 10_000..20_000 => Storage::Replaceable,
        20_000..30_000 => Storage::Ephemeral,
        30_000..40_000 => Storage::Addressable,
        _ => Storage::Regular,
    };
    KindSpec { storage, effect: Effect::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_ranges_of_nip_01_and_the_rest_is_regular() {
        for (kinds, storage) in [
            (&[1, 2, 4, 44, 45, 62, 443, 999, 1000, 9999, 40_000, 65_535][..], Storage::Regular),
            (&[0, 3, 10_000, 19_999], Storage::Replaceable),
            (&[20_000, 21_059, 29_999], Storage::Ephemeral),
            (&[30_000, 39_999], Storage::Addressable),
            (&[22_242], Storage::Refused),
        ] {
            for kind in kinds {
                assert_eq!(kind_spec(*kind).storage, storage, "{kind}");
            }
        }
    }
}
