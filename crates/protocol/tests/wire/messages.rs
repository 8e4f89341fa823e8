//! What a client may say, and to whom the refusal of anything else is addressed.

use towpath_protocol::{ClientMessage, Limits, Refused, SecretKey, Subject, wire};

fn parse(text: &str) -> Result<ClientMessage, Refused> {
    wire::client_message(text, &Limits { filters_max: 2, ..Limits::default() })
}

fn refused(text: &str) -> Refused {
    match parse(text) {
        Ok(message) => panic!("{text} is {message:?}"),
        Err(refused) => refused,
    }
}

fn event() -> String {
    SecretKey::from_bytes([1; 32]).unwrap().sign(1, 1, &[], "x", &[0; 32]).event().as_str().to_owned()
}

#[test]
fn each_message_is_understood() {
    let event = event();
    assert!(
        matches!(parse(&format!(r#"["EVENT",{event}]"#)), Ok(ClientMessage::Event(e)) if e.unverified().as_str() == event)
    );
    assert!(matches!(parse(&format!(r#"["AUTH",{event}]"#)), Ok(ClientMessage::Auth(_))));
    assert!(matches!(parse(r#"["CLOSE","s"]"#), Ok(ClientMessage::Close(id)) if id.as_str() == "s"));
    assert!(matches!(parse(r#"["REQ","s",{}]"#), Ok(ClientMessage::Req(id, f)) if id.as_str() == "s" && f.len() == 1));
    assert!(
        matches!(parse(r#"["COUNT","\"\u0041",{},{"kinds":[1]}]"#), Ok(ClientMessage::Count(id, f)) if id.as_str() == "\"A" && f.len() == 2)
    );
    assert!(
        matches!(parse("\t[ \"R\\u0045Q\" ,\n\"s\" , { } ] \r\n"), Ok(ClientMessage::Req(..))),
        "white space and escapes"
    );
}

#[test]
fn subscription_ids_have_1_to_64_characters() {
    for good in ["x".repeat(64), "😀".repeat(64), " ".to_owned(), "{\\\"a\\\":1}".to_owned()] {
        assert!(parse(&format!(r#"["CLOSE","{good}"]"#)).is_ok(), "{good}");
        assert!(parse(&format!(r#"["REQ","{good}",{{}}]"#)).is_ok(), "{good}");
    }
    type Named = fn(String) -> Subject;
    for (verb, subject) in [("REQ", Subject::Req as Named), ("COUNT", Subject::Count), ("CLOSE", |_| Subject::Message)]
    {
        assert_eq!(refused(&format!(r#"["{verb}","",{{}}]"#)).subject, subject(String::new()));
        let long = "é".repeat(65);
        assert_eq!(refused(&format!(r#"["{verb}","{long}",{{}}]"#)).subject, subject(long.clone()));
        for unnamed in ["1", "null", "{}", "[\"s\"]"] {
            assert_eq!(refused(&format!(r#"["{verb}",{unnamed},{{}}]"#)).subject, Subject::Message, "{unnamed}");
        }
    }
}

#[test]
fn a_refused_subscription_is_named() {
    for (rest, reason) in [
        ("]", "invalid: at least one filter is needed"),
        (",{},{},{}]", "invalid: more than 2 filters"),
        (",null]", "invalid: unexpected character at byte 12"),
        (",{\"kinds\":[-1]}]", "invalid: kinds must be an array of integers from 0 to 65535"),
        (",{\"ids\":[\"a\"]}]", "invalid: ids must hold 64-character lowercase hex values"),
        (",{\"search\":\"x\"}]", "unsupported: filter element \"search\" is not supported"),
        (",{},{\"#emoji\":[]}]", "unsupported: filter element \"#emoji\" is not supported"),
        (",{}", "invalid: unexpected end of JSON"),
        (",{}]x", "invalid: unexpected character at byte 15"),
        (",{}x]", "invalid: unexpected character at byte 14"),
        (",{},]", "invalid: unexpected character at byte 15"),
    ] {
        let refused = refused(&format!(r#"["REQ","s1"{rest}"#));
        assert_eq!(refused.subject, Subject::Req("s1".into()), "{rest}");
        assert_eq!(refused.reason, reason, "{rest}");
    }
}

#[test]
fn a_refused_event_is_named_by_the_id_it_came_with() {
    let long = "é".repeat(100);
    for (event, id) in [
        (r#"{"id":"abc"}"#, "abc"),
        (r#"{"kind":"1","x":[{"id":"inner"}],"id":"outer"}"#, "outer"),
        (r#"{"id":"a\u0062c","kind":1"#, "abc"),
        (r#"{"id":"first","id":"second"}"#, "first"),
        ("{\"content\":\"raw \n line\",\"id\":\"abc\"}", "abc"),
        (r#"{"content":"\ud800 \" {","tags":[["\"id\":"]],"id":"abc"}"#, "abc"),
        (r#"{"id":"\ud800"}"#, r"\ud800"),
        (&format!(r#"{{"id":"{long}"}}"#), &"é".repeat(64)),
    ] {
        for verb in ["EVENT", "AUTH"] {
            let refused = refused(&format!(r#"["{verb}",{event}]"#));
            assert_eq!(refused.subject, Subject::Event(id.into()), "{event}");
            assert!(refused.reason.starts_with("invalid: "), "{}", refused.reason);
        }
    }
    for nameless in ["{}", "null", "[]", r#"{"id":1}"#, r#"{"kind":1,"id"}"#, "1", ""] {
        assert_eq!(refused(&format!(r#"["EVENT",{nameless}]"#)).subject, Subject::Message, "{nameless}");
    }
}

#[test]
fn a_good_event_in_a_bad_message_is_named() {
    let event = event();
    let id = &event[7..71];
    for text in [format!(r#"["EVENT",{event}"#), format!(r#"["EVENT",{event},1]"#), format!(r#"["EVENT",{event}]]"#)] {
        assert_eq!(refused(&text).subject, Subject::Event(id.to_owned()), "{text}");
    }
}

#[test]
fn anything_else_has_no_name() {
    for text in [
        "",
        " ",
        "x",
        "{}",
        "[]",
        "[1]",
        "[\"REQ\"",
        "[\"\"]",
        "[\"req\",\"s\",{}]",
        "[\"OK\",\"s\",true,\"\"]",
        "[\"NEG-OPEN\",\"s\"]",
        "[\"REQ\"]",
        "[\"EVENT\"]",
        "[\"CLOSE\"]",
        "[\"CLOSE\",\"s\",1]",
        "[\"CLOSE\",\"s\"",
        "[\"CLOSE\" \"s\"]",
        "null",
        "\u{feff}[]",
    ] {
        let refused = refused(text);
        assert_eq!(refused.subject, Subject::Message, "{text}");
        assert!(refused.reason.starts_with("invalid: "), "{text}: {}", refused.reason);
    }
    let echo = refused(&format!(r#"["{}"]"#, "x".repeat(10_000))).reason;
    assert!(echo.len() < 200, "echoes are bounded: {} bytes", echo.len());
    let echo = refused(&format!(r#"["REQ","s",{{"{}":1}}]"#, "x".repeat(10_000))).reason;
    assert!(echo.len() < 300, "echoes are bounded: {} bytes", echo.len());
}
