//! Points in time as Docker's filters take them: a duration before now, a date with or without time and zone, or
//! seconds of Unix time. Asks nobody but the clock's zone.

use std::time::SystemTime;

use prost_types::Timestamp;

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
        date(text, || offset(now))
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

/// `2026-01-31`, with `T10`, `T10:30`, `T10:30:05` or `T10:30:05.5`, with `Z` or `+01:00`; without a zone `local` tells
/// the seconds to the east.
fn date(text: &str, local: impl Fn() -> Option<i64>) -> Option<Timestamp> {
    let (year, rest) = (number(text, 0, 4)?, text.get(4..)?);
    let (month, day) = (number(rest, 1, 2)?, number(rest, 4, 2)?);
    if rest.get(0..1)? != "-" || rest.get(3..4)? != "-" {
        return None;
    }
    let mut rest = rest.get(6..)?;
    let (mut clock, mut nanos) = ([0; 3], 0);
    if let Some(tail) = rest.strip_prefix('T') {
        rest = tail;
        for (index, field) in clock.iter_mut().enumerate() {
            if index > 0 {
                match rest.strip_prefix(':') {
                    Some(tail) => rest = tail,
                    None => break,
                }
            }
            *field = number(rest, 0, 2)?;
            rest = rest.get(2..)?;
        }
        if let Some(tail) = rest.strip_prefix('.') {
            let end = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            nanos = unix(&format!("0.{}", tail.get(..end)?))?.nanos;
            rest = tail.get(end..)?;
        }
    }
    let east = match rest.as_bytes() {
        [] => local()?,
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(rest, 1, 2)?, number(rest, 4, 2)?);
            let east = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if *sign == b'-' { -east } else { east }
        }
        _ => return None,
    };
    let [month, day, hour, minute, second] =
        [month, day, clock[0], clock[1], clock[2]].map(|field| u8::try_from(field).ok());
    let mut time = Timestamp::date_time(year.into(), month?, day?, hour?, minute?, second?).ok()?;
    (time.seconds, time.nanos) = (time.seconds - east, nanos);
    Some(time)
}

/// `length` digits from `start`.
fn number(text: &str, start: usize, length: usize) -> Option<u16> {
    let digits = text.get(start..start + length)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// Seconds that this machine's zone is east of Greenwich now.
fn offset(now: SystemTime) -> Option<i64> {
    let now: Timestamp = now.into();
    // SAFETY: all zeros is a valid `tm`: numbers, and a pointer that may be null.
    let mut fields: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of their types; nothing else of this process changes the zone.
    let filled = unsafe { libc::localtime_r(&now.seconds, &mut fields) };
    (!filled.is_null()).then_some(fields.tm_gmtoff)
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
