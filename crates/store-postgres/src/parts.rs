//! The parts that events are kept in: one a month, by the time their authors claim.

/// A part, from `since` up to before `until`, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) since: i64,
    pub(crate) until: i64,
}

/// The last part ends here, and no event is dated later.
pub(crate) const END: i64 = i64::MAX;

/// A time as it is kept.
pub(crate) fn kept(created_at: u64) -> i64 {
    i64::try_from(created_at).unwrap_or(END).min(END - 1)
}

/// Those of a new database: the past, this month, the next, and the rest.
pub(crate) fn first(now: u64) -> Vec<Part> {
    let (this, next) = (month_of(now), month_of(month_of(now).until as u64));
    let past = Part { name: "past".into(), since: 0, until: this.since };
    let rest = Part { name: "rest".into(), since: next.until, until: END };
    [past, this, next, rest].into_iter().filter(|part| part.since < part.until).collect()
}

/// The calendar month (UTC) that holds `at`.
pub(crate) fn month_of(at: u64) -> Part {
    let at = i64::try_from(at).unwrap_or(0);
    let date = time::OffsetDateTime::from_unix_timestamp(at).unwrap_or(time::OffsetDateTime::UNIX_EPOCH).date();
    let first = |year: i32, month: time::Month| {
        let date = time::Date::from_calendar_date(year, month, 1).unwrap_or(time::Date::MIN);
        date.midnight().assume_utc().unix_timestamp()
    };
    let (year, month) = (date.year(), date.month());
    let next_year = if month == time::Month::December { year + 1 } else { year };
    let name = format!("{year:04}_{:02}", u8::from(month));
    Part { name, since: first(year, month), until: first(next_year, month.next()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let mut month = month_of(1_700_000_000);
        assert_eq!((month.name.as_str(), month.since), ("2023_11", 1_698_796_800));
        for _ in 0..30 {
            let next = month_of(month.until as u64);
            assert_eq!(next.since, month.until);
            assert!(next.until - next.since >= 28 * 86_400);
            month = next;
        }
    }

    #[test]
    fn a_new_database_covers_all_times() {
        for now in [0, 100, 1_700_000_000] {
            let parts = first(now);
            assert_eq!((parts[0].since, parts.last().unwrap().until), (0, END), "{now}");
            assert!(parts.windows(2).all(|pair| pair[0].until == pair[1].since), "{now}");
        }
        assert_eq!((kept(7), kept(u64::MAX)), (7, END - 1));
    }
}
