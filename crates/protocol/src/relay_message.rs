//! What a relay may say: the text of OK, EVENT, EOSE, CLOSED, NOTICE (NIP-01), AUTH (NIP-42) and COUNT (NIP-45).

use std::fmt::Write;

use crate::hll::HyperLogLog;
use crate::json::push_json_string;

/// Room for a verb, an id and the brackets around them.
const USUAL: usize = 96;

fn message(verb: &str, strings: &[&str], tail: &str) -> String {
    let mut out = String::with_capacity(USUAL + tail.len());
    out.push_str("[\"");
    out.push_str(verb);
    out.push('"');
    for string in strings {
        out.push(',');
        push_json_string(string, &mut out);
    }
    out.push_str(tail);
    out
}

/// `["OK",id,accepted,text]`. A refusal's text starts with its prefix.
pub fn ok(id: &str, accepted: bool, text: &str) -> String {
    let mut out = message("OK", &[id], if accepted { ",true," } else { ",false," });
    push_json_string(text, &mut out);
    out.push(']');
    out
}

/// The part of an EVENT message before the event: `["EVENT","sub",`. The event's canonical bytes and `]` follow.
pub fn event_head(subscription: &str) -> String {
    message("EVENT", &[subscription], ",")
}

/// Whether a subscription's stored part was complete (NIP-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EoseHint {
    /// Every stored match was sent.
    Finish,
    /// There is more than was sent.
    More,
}

/// `["EOSE",sub]`, with the completeness hint of NIP-67 if there is one.
pub fn eose(subscription: &str, hint: Option<EoseHint>) -> String {
    let tail = match hint {
        None => "]",
        Some(EoseHint::Finish) => r#",["finish"]]"#,
        Some(EoseHint::More) => r#",["more"]]"#,
    };
    message("EOSE", &[subscription], tail)
}

/// `["CLOSED",sub,text]`; the text starts with its prefix.
pub fn closed(subscription: &str, text: &str) -> String {
    message("CLOSED", &[subscription, text], "]")
}

/// `["NOTICE",text]`.
pub fn notice(text: &str) -> String {
    message("NOTICE", &[text], "]")
}

/// `["AUTH",challenge]`.
pub fn auth(challenge: &str) -> String {
    message("AUTH", &[challenge], "]")
}

/// `["COUNT",sub,{"count":n,…}]`.
pub fn count(subscription: &str, count: u64, hll: Option<&HyperLogLog>) -> String {
    let mut tail = format!(r#",{{"count":{count}"#);
    if let Some(hll) = hll {
        let _ = write!(tail, r#","hll":"{}""#, hll.to_hex());
    }
    tail.push_str("}]");
    message("COUNT", &[subscription], &tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_shapes_of_their_nips() {
        assert_eq!(ok("ab", true, ""), r#"["OK","ab",true,""]"#);
        assert_eq!(ok("ab", false, "invalid: \"x\""), r#"["OK","ab",false,"invalid: \"x\""]"#);
        assert_eq!(event_head("s\"1"), r#"["EVENT","s\"1","#);
        assert_eq!(eose("s", None), r#"["EOSE","s"]"#);
        assert_eq!(eose("s", Some(EoseHint::Finish)), r#"["EOSE","s",["finish"]]"#);
        assert_eq!(closed("s", "error: x"), r#"["CLOSED","s","error: x"]"#);
        assert_eq!(notice("n"), r#"["NOTICE","n"]"#);
        assert_eq!(auth("c"), r#"["AUTH","c"]"#);
        assert_eq!(count("s", 3, None), r#"["COUNT","s",{"count":3}]"#);
    }
}
