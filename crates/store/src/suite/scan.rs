//! What a scan returns: all that matches and is visible, in order, up to the limits, and nothing else.

use std::sync::Arc;

use towpath_policy::Write;
use towpath_protocol::{Event, HyperLogLog, push_json_string};

use super::Fixture;
use super::world::{ARTICLE, NOTE, PROFILE, Who::*, World, by_lowest_id, count, drain, id, query, unbounded};
use crate::Completeness::{All, Limited};
use crate::{Budget, Count, Cursor, FilterLimit, Tally};

/// 7.
pub fn newest_come_first_and_ties_by_lowest_id<F: Fixture>() {
    let (low, high) = by_lowest_id(Alice.note(200, "a"), Bob.note(200, "b"));
    let (old, new) = (Carol.note(0, "at the very beginning"), Alice.note(1 << 40, "far ahead"));
    World::<F>::with(&[&high, &new, &old, &low]).holds(&[&new, &low, &high, &old]);
}

/// All conditions of a filter must hold, any of a list's values will do.
pub fn every_condition_restricts<F: Fixture>() {
    let events = [
        Alice.event(500, NOTE, &[&["t", "x"], &["t", "y"], &["T", "Z"]], ""),
        Alice.event(400, ARTICLE, &[&["d", "x"], &["t", "x"], &["p", &Bob.hex()]], ""),
        Bob.event(300, NOTE, &[&["t", "x", "y"], &["title", "x"], &["t"]], ""),
        Bob.event(200, PROFILE, &[], ""),
        Carol.event(100, 65_535, &[&["t", ""], &["p", &Bob.hex()]], ""),
    ];
    let world = World::<F>::with(&events.iter().collect::<Vec<_>>());
    let (alice, bob, first, last) = (Alice.hex(), Bob.hex(), id(&events[0]), id(&events[4]));
    for (filter, expected) in [
        (format!(r#"{{"ids":["{last}","{first}"]}}"#), &[0, 4][..]),
        (format!(r#"{{"ids":["{first}"],"kinds":[2]}}"#), &[]),
        (format!(r#"{{"authors":["{alice}"]}}"#), &[0, 1]),
        (format!(r#"{{"authors":["{bob}","{alice}"],"kinds":[1]}}"#), &[0, 2]),
        (r#"{"kinds":[0,65535]}"#.into(), &[3, 4]),
        (r##"{"#t":["x"]}"##.into(), &[0, 1, 2]),
        (r##"{"#t":["y"]}"##.into(), &[0]),
        (r##"{"#t":["y",""]}"##.into(), &[0, 4]),
        (r##"{"#T":["Z"]}"##.into(), &[0]),
        (r##"{"#t":["Z"]}"##.into(), &[]),
        (r##"{"#t":["x"],"#d":["x"]}"##.into(), &[1]),
        (format!(r##"{{"#p":["{bob}"],"since":101}}"##), &[1]),
        (format!(r##"{{"#t":["x"],"authors":["{bob}"],"kinds":[1,2,3]}}"##), &[2]),
        (r#"{"since":200,"until":400}"#.into(), &[1, 2, 3]),
        (r#"{"since":201,"until":399,"kinds":[1]}"#.into(), &[2]),
        (r#"{"since":400,"until":200}"#.into(), &[]),
        (r#"{"until":-1}"#.into(), &[]),
        (r#"{"since":-1,"until":100}"#.into(), &[4]),
        (r#"{"since":18446744073709551615}"#.into(), &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|i| id(&events[*i])).collect();
        assert_eq!(world.read(&[&filter]).ids(), expected, "{filter}");
    }
}

/// Every kind, every author, every time.
pub fn a_filter_without_conditions_matches_all<F: Fixture>() {
    let events = [Alice.note(300, ""), Bob.profile(200, ""), Carol.article(100, "x", "")];
    let world = World::<F>::with(&[&events[0], &events[1], &events[2]]);
    assert_eq!(world.read(&["{}"]).ids(), [id(&events[0]), id(&events[1]), id(&events[2])]);
}

/// Whatever else the filter says; and it leaves nothing out.
pub fn an_empty_list_matches_nothing<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.note(100, "")]);
    for filter in
        [r#"{"ids":[]}"#, r#"{"authors":[]}"#, r#"{"kinds":[]}"#, r##"{"#t":[]}"##, r#"{"kinds":[],"since":1}"#]
    {
        let answer = world.read(&[filter]);
        assert_eq!((answer.ids().len(), answer.completeness), (0, All), "{filter}");
    }
}

/// There is no such message, but a query can say it.
pub fn no_filters_match_nothing<F: Fixture>() {
    let answer = World::<F>::with(&[&Alice.note(100, "")]).read(&[]);
    assert_eq!(answer.ids().len(), 0);
}

/// The newest of each filter, and together in one order.
pub fn each_filter_has_its_own_limit<F: Fixture>() {
    let events = [
        Alice.note(600, ""),
        Alice.profile(500, ""),
        Bob.note(400, ""),
        Bob.profile(300, ""),
        Carol.note(200, ""),
        Carol.profile(100, ""),
    ];
    let world = World::<F>::with(&events.iter().collect::<Vec<_>>());
    let returns = |filters: &[&str], expected: &[usize]| {
        let expected: Vec<String> = expected.iter().map(|i| id(&events[*i])).collect();
        assert_eq!(world.read(filters).ids(), expected, "{filters:?}");
    };
    returns(&[r#"{"limit":2}"#], &[0, 1]);
    returns(&[r#"{"kinds":[0],"limit":2}"#, r#"{"kinds":[1],"limit":1}"#], &[0, 1, 3]);
    returns(&[r#"{"kinds":[0],"limit":1}"#, r#"{"kinds":[1]}"#], &[0, 1, 2, 4]);
    returns(&[r#"{"limit":1}"#, r#"{"kinds":[0],"limit":3}"#], &[0, 1, 3, 5]);
}

/// It asks for what is live only.
pub fn a_limit_of_zero_returns_nothing<F: Fixture>() {
    let (note, profile) = (Alice.note(200, ""), Alice.profile(100, ""));
    let world = World::<F>::with(&[&note, &profile]);
    assert_eq!(world.read(&[r#"{"limit":0}"#]).ids().len(), 0);
    assert_eq!(world.read(&[r#"{"limit":0}"#, r#"{"kinds":[0]}"#]).ids(), [id(&profile)]);
}

/// And counts towards each of them.
pub fn an_event_is_returned_once_however_many_filters_match<F: Fixture>() {
    let notes = [Alice.event(300, NOTE, &[&["t", "x"], &["t", "y"]], ""), Alice.note(200, ""), Alice.note(100, "")];
    let world = World::<F>::with(&[&notes[0], &notes[1], &notes[2]]);
    let by_author = format!(r#"{{"authors":["{}"],"limit":2}}"#, Alice.hex());
    let answer = world.read(&[
        "{\"kinds\":[1],\"limit\":2}",
        &by_author,
        r##"{"#t":["y","x"]}"##,
        r#"{"kinds":[1,2],"limit":1}"#,
    ]);
    assert_eq!(answer.ids(), [id(&notes[0]), id(&notes[1])]);
}

/// 10. `All` and `Limited` are both claims; in so small a store both can be seen.
pub fn completeness_is_claimed_when_it_was_seen<F: Fixture>() {
    let events: [Write; 4] = [Alice.note(400, ""), Bob.note(300, ""), Alice.profile(200, ""), Bob.profile(100, "")];
    let world = World::<F>::with(&events.iter().collect::<Vec<_>>());
    for (filters, completeness) in [
        (&["{}"][..], All),
        (&[r#"{"limit":4}"#], All),
        (&[r#"{"limit":3}"#], Limited),
        (&[r#"{"limit":0}"#], Limited),
        (&[r#"{"kinds":[1],"limit":2}"#], All),
        (&[r#"{"kinds":[0],"limit":1}"#], Limited),
        (&[r#"{"kinds":[7],"limit":0}"#], All),
        (&[r#"{"kinds":[1],"limit":1}"#, r#"{"kinds":[0]}"#], Limited),
        (&[r#"{"kinds":[1],"limit":1}"#, r#"{"kinds":[0,1]}"#], All),
        (&[r#"{"kinds":[1],"limit":2}"#, r#"{"kinds":[0],"limit":2}"#], All),
        (&[r#"{"since":150,"limit":3}"#], All),
    ] {
        assert_eq!(world.read(filters).completeness, completeness, "{filters:?}");
    }
}

/// It is not returned, takes no share of a limit, and is not what a limit leaves out.
pub fn what_is_invisible_does_not_count<F: Fixture>() {
    let (mine, theirs) = ([Alice.note(400, ""), Alice.note(200, "")], [Bob.note(300, ""), Bob.note(100, "")]);
    let world = World::<F>::with(&[&mine[0], &mine[1], &theirs[0], &theirs[1]]);
    let alice = mine[0].event().pubkey();
    let read = |filter: &str| {
        let mut query = query(&[filter], world.snapshot());
        query.visible = Arc::new(move |event: &Event| event.pubkey() == alice);
        let answer = drain(world.open_scan(query).as_mut(), unbounded());
        (answer.ids(), answer.completeness)
    };
    let both = vec![id(&mine[0]), id(&mine[1])];
    assert_eq!(read("{}"), (both.clone(), All));
    assert_eq!(read(r#"{"limit":2}"#), (both, All));
    assert_eq!(read(r#"{"limit":1}"#), (vec![id(&mine[0])], Limited));
    assert_eq!(read(&format!(r#"{{"ids":["{}"]}}"#, id(&theirs[0]))), (vec![], All));
    assert_eq!(read(&format!(r#"{{"authors":["{}"],"limit":0}}"#, Bob.hex())), (vec![], All));
}

/// 10. Whatever else was asked for: whether there is more must not say how much is hidden.
pub fn how_much_is_invisible_does_not_show<F: Fixture>() {
    let hidden: Vec<Write> = (0..=Tally::LOOK_AHEAD_MAX).map(|n| Bob.gift_wrap(200 + u64::from(n), Carol)).collect();
    let (seen, carol) = (Alice.note(100, ""), Carol.hex());
    let world = World::<F>::with(&[&seen]);
    world.commit(&hidden.iter().collect::<Vec<_>>());
    for (filter, completeness) in [
        (r#"{"limit":0}"#.to_owned(), Limited),
        (format!(r##"{{"kinds":[1059],"#p":["{carol}"],"limit":0}}"##), All),
        (format!(r##"{{"kinds":[7],"#p":["{carol}"],"limit":0}}"##), All),
    ] {
        let mut query = query(&[&filter], world.snapshot());
        query.visible = Arc::new(|event: &Event| event.kind() == NOTE);
        let answer = drain(world.open_scan(query).as_mut(), unbounded());
        assert_eq!(answer.completeness, completeness, "{filter}");
    }
}

/// Whoever pages by date would get them again and never what is behind.
pub fn a_limit_may_let_in_what_is_dated_like_its_last<F: Fixture>() {
    let mut notes = vec![Alice.note(300, "")];
    notes.extend((0..4).map(|n| Alice.note(200, &n.to_string())));
    notes.push(Alice.note(100, ""));
    let world = World::<F>::with(&notes.iter().collect::<Vec<_>>());
    for (filter, ties_max, count, completeness) in [
        (r#"{"limit":2}"#, 0, 2, Limited),
        (r#"{"limit":2}"#, 2, 4, Limited),
        (r#"{"limit":2}"#, 3, 5, Limited),
        (r#"{"limit":2}"#, 9, 5, Limited),
        (r#"{"limit":2,"since":200}"#, 9, 5, All),
        (r#"{"limit":1}"#, 9, 1, Limited),
        (r#"{"limit":6}"#, 9, 6, All),
    ] {
        let mut query = query(&[filter], world.snapshot());
        query.filters =
            query.filters.iter().map(|(it, limit)| (it.clone(), FilterLimit { ties_max, ..*limit })).collect();
        let answer = drain(world.open_scan(query).as_mut(), Budget { events_max: 1, ..unbounded() });
        assert_eq!((answer.stored.len(), answer.completeness), (count, completeness), "{filter}, {ties_max}");
    }
}

/// Values that are alike for longer than any key of an index are told apart; so are odd characters.
pub fn values_of_any_length_are_found<F: Fixture>() {
    let long = "x".repeat(3_000);
    let values = ["", "a", "\u{0}", "a\u{0}", "é😀\u{2028}\"\\", &long[..500], &long[..2_999], &long];
    let notes: Vec<Write> = values.iter().map(|value| Alice.event(100, NOTE, &[&["t", value]], "")).collect();
    let articles: Vec<Write> = values.iter().map(|value| Alice.article(100, value, "")).collect();
    let world = World::<F>::with(&notes.iter().chain(&articles).collect::<Vec<_>>());
    for (value, (note, article)) in values.iter().zip(notes.iter().zip(&articles)) {
        let mut json = String::new();
        push_json_string(value, &mut json);
        assert_eq!(world.read(&[&format!(r##"{{"#t":[{json}]}}"##)]).ids(), [id(note)], "{value:?}");
        assert_eq!(world.read(&[&format!(r##"{{"#d":[{json}],"limit":9}}"##)]).ids(), [id(article)], "{value:?}");
        assert!(world.accepts(&Alice.article(200, value, "newer")), "{value:?}");
        assert!(!world.has(article), "{value:?}");
    }
}

/// 8. The cursor is where live delivery takes over.
pub fn what_was_committed_after_the_cursor_is_left_out<F: Fixture>() {
    let (old, new) = (Alice.note(200, "old"), Alice.note(100, "new"));
    let world = World::<F>::with(&[&old]);
    let at_old = world.snapshot();
    assert!(world.accepts(&new));
    for filter in
        ["{}".to_owned(), format!(r#"{{"ids":["{}","{}"]}}"#, id(&old), id(&new)), r#"{"limit":1}"#.to_owned()]
    {
        let answer = drain(world.open_scan(query(&[&filter], at_old.clone())).as_mut(), unbounded());
        assert_eq!((answer.ids(), answer.completeness), (vec![id(&old)], All), "{filter}");
    }
    let nothing = drain(world.open_scan(query(&["{}"], Cursor::start())).as_mut(), unbounded());
    assert_eq!(nothing.ids().len(), 0);
}

/// 11.
pub fn a_count_is_of_what_the_scan_returns<F: Fixture>() {
    let notes: Vec<Write> = (0..20).map(|n| if n % 3 == 0 { Bob.note(n, "b") } else { Alice.note(n, "a") }).collect();
    let world = World::<F>::with(&notes.iter().collect::<Vec<_>>());
    for (filters, expected) in [
        (&["{}"][..], 20),
        (&[r#"{"limit":4}"#], 4),
        (&[r#"{"since":15}"#, r#"{"since":10}"#], 10),
        (&[r#"{"kinds":[0]}"#], 0),
    ] {
        for events_max in [1, 3, 100] {
            let budget = Budget { events_max, ..unbounded() };
            let counted = count(world.open_scan(query(filters, world.snapshot())).as_mut(), budget);
            let mut authors = HyperLogLog::new(16);
            let stored = drain(world.open_scan(query(filters, world.snapshot())).as_mut(), budget).stored;
            stored.iter().for_each(|stored| authors.add(&stored.event.pubkey()));
            assert_eq!(counted, Count { events: expected, authors: Some(authors) }, "{filters:?} by {events_max}");
        }
    }
}
