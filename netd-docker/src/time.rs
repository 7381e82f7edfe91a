//! Times as Docker's API writes and reads them.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// RFC 3339 with as many digits of the second as are needed, as Go prints it. None: Go's zero time.
pub fn rfc3339(time: Option<&prost_types::Timestamp>) -> String {
    let found = time.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok());
    found.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}

/// Nanoseconds since 1970.
pub fn nanoseconds(time: &prost_types::Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanos.into())
}

/// What `since` and `until` say: seconds since 1970 with up to nine decimals, a date and time, or as a duration how long ago.
///
/// # Errors
/// Go's words when it is none of these.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || format!("failed to parse value as time or duration: {text:?}");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = whole.parse::<i64>() {
        let digits = part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
        let nanos: i32 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
        if !digits {
            return Err(wrong());
        }
        return Timestamp::new(seconds, nanos).map_err(|_| wrong());
    }
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local: DateTime = text.parse().map_err(|_| wrong())?;
    let zoned = local.to_zoned(TimeZone::system()).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

/// Go's durations: `1h30m`, `1.5s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, seconds) = units.iter().find(|(unit, _)| after.starts_with(unit))?;
        total += number * seconds;
        rest = &after[unit.len()..];
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    SignedDuration::try_from_secs_f64(sign * total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n08_times_are_read_as_docker_reads_them() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let parse = |text: &str| parse(text, now).map(|t| t.to_string());
        assert_eq!(parse("10m").unwrap(), "2026-01-01T23:50:00Z");
        assert_eq!(parse("1h30m").unwrap(), "2026-01-01T22:30:00Z");
        assert_eq!(parse("0").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(parse("1.5").unwrap(), "1970-01-01T00:00:01.5Z");
        assert_eq!(
            parse("2026-01-01T12:00:00+02:00").unwrap(),
            "2026-01-01T10:00:00Z"
        );
        assert!(parse("2026-01-01").is_ok());
        for text in ["zzz", "", "1.x", "1h3", "-"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn n04_times_are_written_as_go_writes_them() {
        let time = prost_types::Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        };
        assert_eq!(rfc3339(Some(&time)), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(nanoseconds(&time), 1_500_000_000);
    }
}
