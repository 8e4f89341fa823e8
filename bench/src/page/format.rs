//! Numbers for people: three digits, one unit, thin spaces between thousands. Knows names and units, not what is measured.

use time::OffsetDateTime;

const MIB: f64 = 1_048_576.0;

/// Three significant digits, and no more than a figure deserves.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        huge if huge >= 10_000.0 => count(value.round() as i64),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `12 345`, with thin spaces that do not break.
pub(super) fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: f64) -> String {
    number(micros / 1e3)
}

/// A tick of an axis: as short as it can be.
pub(super) fn tick(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        return count(value.round() as i64);
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How a figure is put, by the end of its name.
pub(super) struct Measure {
    pub(super) label: String,
    pub(super) unit: &'static str,
    scale: f64,
}

impl Measure {
    /// `relay-resident-bytes` is "relay resident memory, MiB".
    pub(super) fn of(name: &str) -> Self {
        const UNITS: [(&str, &str, f64); 7] = [
            ("bytes-per-s", "MiB/s", 1.0 / MIB),
            ("-bytes", "MiB", 1.0 / MIB),
            ("-per-s", "a second", 1.0),
            ("-share", "%", 100.0),
            ("-us", "µs", 1.0),
            ("-ms", "ms", 1.0),
            ("-s", "s", 1.0),
        ];
        if let Some((whole, pod)) = name.split_once("-pod-") {
            let Self { label, unit, scale } = Self::of(whole);
            return Self { label: format!("{label}, pod {pod}"), unit, scale };
        }
        if let Some((what, each)) = name.split_once("-us-per-") {
            return Self { label: words(&format!("{what} per {each}")), unit: "µs", scale: 1.0 };
        }
        if let Some((what, each)) = name.split_once("-bytes-per-").filter(|(_, each)| *each != "s") {
            return Self { label: words(&format!("{what} per {each}")), unit: "KiB", scale: 1.0 / 1024.0 };
        }
        let known = UNITS.iter().find_map(|(end, unit, scale)| Some((name.strip_suffix(end)?, *unit, *scale)));
        let (what, unit, scale) = known.unwrap_or((name, "", 1.0));
        Self { label: words(if what.is_empty() { "payload" } else { what }.trim_end_matches('-')), unit, scale }
    }

    pub(super) fn show(&self, value: f64) -> String {
        number(value * self.scale)
    }
}

/// A `kebab-case` name as words.
pub(super) fn words(name: &str) -> String {
    name.replace('-', " ").replace("cpu", "CPU").replace("resident", "resident memory")
}

/// A date and time of day in UTC, to the minute.
pub(super) fn date(unix_time: u64) -> String {
    let parsed = i64::try_from(unix_time).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(at) = parsed else { return "at an unknown time".into() };
    let (year, month, day, hour, minute) = (at.year(), u8::from(at.month()), at.day(), at.hour(), at.minute());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.0, 0.0123, 0.4, 3.456, 45.67, 999.5, 12_345.6].map(number);
        assert_eq!(shown, ["0.00", "0.012", "0.40", "3.46", "45.7", "1000", "12\u{202f}346"]);
        assert_eq!([0.5, 100.0, 0.001, 20_000.0].map(tick), ["0.5", "100", "0.001", "20\u{202f}000"]);
    }

    #[test]
    fn a_figures_unit_follows_from_its_name() {
        let shown = |name: &str, value| {
            let measure = Measure::of(name);
            format!("{}, {}: {}", measure.label, measure.unit, measure.show(value))
        };
        assert_eq!(shown("relay-resident-bytes", MIB * 64.0), "relay resident memory, MiB: 64.0");
        assert_eq!(shown("relay-cpu-us-per-event", 92.2), "relay CPU per event, µs: 92.2");
        assert_eq!(shown("events-per-s", 20_185.0), "events, a second: 20\u{202f}185");
        assert_eq!(shown("bytes-per-connection", 8_192.0), "bytes per connection, : 8192");
        assert_eq!(shown("memory-bytes-per-connection", 8_192.0), "memory per connection, KiB: 8.00");
        assert_eq!(shown("elsewhere-share", 0.125), "elsewhere, %: 12.5");
        assert_eq!(shown("relay-cpu-us-per-event-pod-2", 9.0), "relay CPU per event, pod 2, µs: 9.00");
        assert_eq!(shown("delivered-per-s", 200.0), "delivered, a second: 200");
        assert_eq!(shown("ack-p99-ratio", 1.1), "ack p99 ratio, : 1.10");
    }

    #[test]
    fn a_date_is_in_utc_and_an_absurd_one_is_no_panic() {
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(u64::MAX), "at an unknown time");
    }
}
