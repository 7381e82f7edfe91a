//! Times as Go prints them. Knows only UTC.

use prost_types::Timestamp;

/// RFC 3339 in UTC with as many digits of the second as needed; a time that is not there is Go's zero time.
pub fn rfc3339(time: Option<&Timestamp>) -> String {
    let Some(time) = time else {
        return "0001-01-01T00:00:00Z".to_owned();
    };
    let text = time.to_string();
    match text.strip_suffix('Z') {
        Some(head) if head.contains('.') => {
            format!("{}Z", head.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// As `CreatedAt` shows it: `2026-11-21 03:04:05.6 +0000 UTC`.
pub fn go(time: Option<&Timestamp>) -> String {
    rfc3339(time).replace('T', " ").replace('Z', " +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n04_times() {
        let mut time = Timestamp {
            seconds: 1_700_000_000,
            nanos: 120_000_000,
        };
        assert_eq!(rfc3339(Some(&time)), "2023-11-14T22:13:20.12Z");
        assert_eq!(go(Some(&time)), "2023-11-14 22:13:20.12 +0000 UTC");
        time.nanos = 0;
        assert_eq!(rfc3339(Some(&time)), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
    }
}
