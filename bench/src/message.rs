//! What a relay says, read as cheaply as accounting allows. Knows nothing of who asked.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// One message of a relay; unneeded fields are skipped.
#[derive(Debug, PartialEq)]
pub(crate) enum Message<'a> {
    Ok {
        id: &'a str,
        accepted: bool,
        reason: Cow<'a, str>,
    },
    Event {
        id: &'a str,
    },
    Eose,
    Closed(&'a str),
    Notice(&'a str),
    /// AUTH, COUNT or something unreadable: of no concern to a load generator.
    Other,
}

#[derive(Deserialize)]
struct EventHead<'a> {
    id: &'a str,
}

impl<'a> Message<'a> {
    pub(crate) fn read(text: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(text) else {
            return Self::Other;
        };
        match label(text) {
            "OK" => serde_json::from_str::<(IgnoredAny, &str, bool, Cow<'a, str>)>(text)
                .map_or(Self::Other, |(_, id, accepted, reason)| Self::Ok { id, accepted, reason }),
            "EVENT" => serde_json::from_str::<(IgnoredAny, IgnoredAny, EventHead<'a>)>(text)
                .map_or(Self::Other, |(_, _, event)| Self::Event { id: event.id }),
            "EOSE" => Self::Eose,
            "CLOSED" => Self::Closed(text),
            "NOTICE" => Self::Notice(text),
            _ => Self::Other,
        }
    }
}

fn label(text: &str) -> &str {
    text.split('"').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_told_apart_whatever_its_spacing() {
        let cases: [(&str, Message<'_>); 6] = [
            (r#"["OK","ab",true,""]"#, Message::Ok { id: "ab", accepted: true, reason: "".into() }),
            (
                r#" [ "OK", "ab", false, "pow: \"more\"" ]"#,
                Message::Ok { id: "ab", accepted: false, reason: "pow: \"more\"".into() },
            ),
            (r#"["EVENT","s",{"kind":1,"tags":[["id","x"]],"id":"cd"}]"#, Message::Event { id: "cd" }),
            (r#"["EOSE","s",["finish"]]"#, Message::Eose),
            (r#"["AUTH","challenge"]"#, Message::Other),
            ("not json", Message::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(Message::read(text.as_bytes()), expected, "{text}");
        }
    }
}
