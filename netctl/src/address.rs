//! Where the daemon listens, as `--address` and `NETD_ADDRESS` say it. Opens nothing.

use std::{fmt, path::PathBuf, str::FromStr};

/// A Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Absolute path of the socket.
    pub path: PathBuf,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if !path.starts_with('/') {
            return Err(format!(
                "{text:?} is not unix:// and an absolute path, as in unix:///run/netd/netd.sock"
            ));
        }
        Ok(Self { path: path.into() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p02_addresses() {
        for text in ["unix:///run/netd/netd.sock", "/run/netd/netd.sock"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), "unix:///run/netd/netd.sock");
        }
        for text in [
            "",
            "unix://",
            "unix://run/x",
            "tcp://127.0.0.1:1",
            "netd.sock",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
