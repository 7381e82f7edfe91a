//! Versions of Docker's API, and which of them are served.

use std::fmt;

use http::StatusCode;

use crate::refusal::Refusal;

/// A version of the API, as 1.51. A missing minor number is 0, as Docker Engine reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    major: u16,
    minor: u16,
}

/// Served without an engine: what this socket knows the shapes of.
pub const ALONE: Range = Range {
    least: Version::new(1, 24),
    most: Version::new(1, 52),
};

impl Version {
    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Whether this is 1.`minor` or later.
    pub fn since(self, minor: u16) -> bool {
        self >= Self::new(1, minor)
    }

    /// Of digits and dots; further numbers do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = match numbers.next() {
            None | Some("") => 0,
            Some(minor) => minor.parse().ok()?,
        };
        Some(Self { major, minor })
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
            refusal.as_text()
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
        assert_eq!(Version::parse("1.41.7"), Some(Version::new(1, 41)));
        assert_eq!(Version::parse("."), None);
        assert_eq!(Version::parse("1.99999999"), None);
    }
}
