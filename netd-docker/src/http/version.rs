//! Versions of Docker's API, and which of them are served.

use std::fmt;

use http::StatusCode;

use crate::refusal::Refusal;

/// A version of the API, as 1.51. A missing minor number is 0, as Docker Engine reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    major: u16,
    minor: u16,
    /// Whether a number other than 0 follows.
    more: bool,
}

/// Served without an engine: what this socket knows the shapes of.
pub const ALONE: Range = Range {
    least: Version::new(1, 24),
    most: Version::new(1, 52),
};

impl Version {
    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major,
            minor,
            more: false,
        }
    }

    /// Whether this is 1.`minor` or later.
    pub fn since(self, minor: u16) -> bool {
        self >= Self::new(1, minor)
    }

    /// Of digits and dots, read as Docker Engine reads it: what is missing is 0, and no number is too long.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let number = |text: &str| match text.trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().unwrap_or(u16::MAX),
        };
        let mut numbers = text.split('.').map(number);
        Some(Self {
            major: numbers.next()?,
            minor: numbers.next().unwrap_or_default(),
            more: numbers.any(|number| number > 0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The versions that are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The oldest.
    pub least: Version,
    /// The newest, and what a path without a version means.
    pub most: Version,
}

impl Range {
    /// The version of a request: the one that its path names, or the newest.
    ///
    /// # Errors
    /// 400 in Docker's words when it is outside the range.
    pub fn choose(&self, asked: Option<Version>) -> Result<Version, Refusal> {
        let Some(asked) = asked else {
            return Ok(self.most);
        };
        let message = if asked < self.least {
            format!(
                "client version {asked} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
                self.least
            )
        } else if asked > self.most {
            format!(
                "client version {asked} is too new. Maximum supported API version is {}",
                self.most
            )
        } else {
            return Ok(asked);
        };
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, message);
        // Clients from before JSON errors read text.
        Err(if asked < self.least {
            refusal.into_text()
        } else {
            refusal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p04_versions_outside_the_range_are_refused_in_dockers_words() {
        assert_eq!(ALONE.choose(None).unwrap(), Version::new(1, 52));
        let least = Version::parse("1.24").unwrap();
        assert_eq!(ALONE.choose(Some(least)).unwrap(), least);
        let new = ALONE.choose(Version::parse("1.99")).unwrap_err();
        assert_eq!(
            new.message(),
            "client version 1.99 is too new. Maximum supported API version is 1.52"
        );
        let old = ALONE.choose(Version::parse("1.9")).unwrap_err();
        assert!(old.message().contains("1.9 is too old"), "{old:?}");
        assert_eq!(Version::parse("1"), Some(Version::new(1, 0)));
        assert_eq!(Version::parse("1.041.0."), Some(Version::new(1, 41)));
        assert_eq!(Version::parse("."), Some(Version::new(0, 0)));
        assert_eq!(Version::parse(""), None);
        assert!(Version::parse("1.41.1") > Some(Version::new(1, 41)));
        assert!(Version::parse("1.99999999999999999999") > Some(ALONE.most));
    }
}
