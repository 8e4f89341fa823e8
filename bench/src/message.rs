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

/// The label and the subscription of a message, without reading what is behind them.
pub(crate) fn head(text: &[u8]) -> (&str, Option<&str>) {
    let mut quoted = text.split(|byte| *byte == b'"').skip(1).step_by(2);
    let mut next = || std::str::from_utf8(quoted.next()?).ok();
    (next().unwrap_or_default(), next())
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

    #[test]
    fn a_head_is_the_first_two_strings() {
        assert_eq!(head(br#"["EVENT","q7",{"id":"ab"}]"#), ("EVENT", Some("q7")));
        assert_eq!(head(br#" [ "COUNT" , "q8", {"count": 3}]"#), ("COUNT", Some("q8")));
        assert_eq!(head(br#"["NOTICE"]"#), ("NOTICE", None));
        assert_eq!(head(b"not json"), ("", None));
    }
}
