//! Points in time as Docker's filters take them: a duration before now, a date with or without time and zone, or
//! seconds of Unix time. Asks nobody but for this machine's time zone.

use std::time::SystemTime;

use jiff::{
    civil::DateTime,
    tz::{Offset, TimeZone},
};
use prost_types::Timestamp;
use regex::Regex;

/// Nanoseconds of Go's units.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];
const SECOND: i64 = 1_000_000_000;

/// The point in time that `text` means at `now`.
///
/// # Errors
/// Docker's words, and the forms.
pub fn parse(text: &str, now: SystemTime) -> Result<Timestamp, String> {
    if text != "0"
        && let Some(nanos) = duration(text)
    {
        return Ok(before(now.into(), nanos));
    }
    let found = if text.contains('-') {
        date(text)
    } else {
        unix(text)
    };
    found.ok_or_else(|| {
        format!(
            "failed to parse value as time or duration: {text:?} (a duration is 10m or 1h30m; a time is 2026-01-31, 2026-01-31T10:00:00, the same with Z or +01:00, or seconds of Unix time)"
        )
    })
}

fn before(now: Timestamp, nanos: i64) -> Timestamp {
    let mut time = Timestamp {
        seconds: now.seconds.saturating_sub(nanos.div_euclid(SECOND)),
        // Both are less than a second.
        nanos: now.nanos - i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default(),
    };
    time.normalize();
    time
}

/// Go's `ParseDuration`, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(0);
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(number);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(digits, *size)?)?;
        rest = tail;
    }
    total.checked_mul(sign)
}

/// `1.5` of a unit.
fn scaled(digits: &str, unit: i64) -> Option<i64> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut value = whole.checked_mul(unit)?;
    let mut weight = unit;
    for digit in part.bytes() {
        weight /= 10;
        value = value.checked_add(weight.checked_mul(i64::from(digit - b'0'))?)?;
    }
    Some(value)
}

/// Seconds and up to nine digits behind the point.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(part) || part.len() > 9 {
        return None;
    }
    Some(Timestamp {
        seconds: seconds.parse().ok()?,
        nanos: format!("{part:0<9}").parse().ok()?,
    })
}

/// `2026-01-31`, with `T10`, `T10:30`, `T10:30:05` or `T10:30:05.5`, with `Z` or `+01:00`; without a zone that of this machine.
fn date(text: &str) -> Option<Timestamp> {
    // jiff reads more forms than Docker.
    let form = Regex::new(
        r"^(\d{4}-\d\d-\d\d)(?:T(\d\d)(:\d\d)?(:\d\d)?(\.\d{1,9})?)?(?:(Z|z)|([+-]\d\d):(\d\d))?$",
    );
    let parts = form.ok()?.captures(text)?;
    let part = |at: usize| parts.get(at).map(|part| part.as_str());
    if part(4).is_none() && part(5).is_some() {
        return None;
    }
    let clock = [
        part(2).unwrap_or("00"),
        part(3).unwrap_or(":00"),
        part(4).unwrap_or(":00"),
        part(5).unwrap_or(""),
    ]
    .concat();
    let time: DateTime = format!("{}T{clock}", part(1)?).parse().ok()?;
    let zone = match (part(6), part(7), part(8)) {
        (Some(_), ..) => TimeZone::UTC,
        (_, Some(hours), Some(minutes)) => {
            let east: i32 = hours.parse::<i32>().ok()? * 3600;
            let minutes = minutes.parse::<i32>().ok()? * 60;
            let minutes = if hours.starts_with('-') {
                -minutes
            } else {
                minutes
            };
            Offset::from_seconds(east + minutes).ok()?.to_time_zone()
        }
        _ => TimeZone::system(),
    };
    let time = time.to_zoned(zone).ok()?.timestamp();
    let mut time = Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    };
    time.normalize();
    Some(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Option<String> {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        parse(text, now).ok().map(|time| time.to_string())
    }

    #[test]
    fn n08_forms_of_until() {
        // Now is 2023-11-14T22:13:20Z.
        for (text, wanted) in [
            ("10m", "2023-11-14T22:03:20Z"),
            ("1h30m", "2023-11-14T20:43:20Z"),
            ("1.5h", "2023-11-14T20:43:20Z"),
            (".5s", "2023-11-14T22:13:19.500Z"),
            ("-10m", "2023-11-14T22:23:20Z"),
            ("0s", "2023-11-14T22:13:20Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1136073600", "2006-01-01T00:00:00Z"),
            ("1136073600.25", "2006-01-01T00:00:00.250Z"),
            ("2006-01-02Z", "2006-01-02T00:00:00Z"),
            ("2006-01-02T15Z", "2006-01-02T15:00:00Z"),
            ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05.5+07:00", "2006-01-02T08:04:05.500Z"),
            ("2006-01-02T15:04-07:00", "2006-01-02T22:04:00Z"),
            ("2006-01-02T00:00-00:30", "2006-01-02T00:30:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Some(wanted), "{text}");
        }
        let (day, second) = (
            at("2006-01-02").unwrap(),
            at("2006-01-02T00:00:00").unwrap(),
        );
        assert_eq!(day, second);
        for text in [
            "",
            "zzz",
            "m",
            "1x",
            "1.2.3s",
            ".s",
            "-",
            "2006-13-01",
            "2006-02-30Z",
            "06-01-02",
            "2006-01-02T25:00Z",
            "2006-01-02 10:00",
            "2006-01-02T10:00:00+7",
            "2006-01-02T10:00:00+01:00[Europe/Paris]",
            "2006-01-02T10.5",
            "2006-01-02T10:00.5",
            "9999999999h",
            "1.2.3",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
        let error = parse("zzz", SystemTime::now()).unwrap_err();
        assert!(error.starts_with("failed to parse value as time or duration: \"zzz\""));
    }

    proptest! {
        #[test]
        fn n08_any_text_parses_or_says_why(text in "[0-9TZhms:.+-]{0,30}|.{0,12}") {
            if let Err(error) = parse(&text, SystemTime::now()) {
                prop_assert!(error.contains("time or duration"));
            }
        }
    }
}
