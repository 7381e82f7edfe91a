//! Where the settings come from: a file, and flags that outweigh it. Read at the start and at each SIGHUP.

use std::path::PathBuf;

use super::{Config, Docker, Listen};
use crate::error::{Error, Result};

/// The file that is read when none is named, if it exists; of the default instance only.
pub const DEFAULT: &str = "/etc/netd/netd.toml";

/// A file, and flags that outweigh it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; `None`: all defaults.
    pub file: Option<PathBuf>,
    /// What the command line says of `[listen]`.
    pub listen: Listen,
    /// What it says of `[docker]`.
    pub docker: Docker,
}

impl Source {
    /// Reads and checks the settings as they are now.
    ///
    /// # Errors
    /// A file that cannot be read or that says what could not work; it is named.
    pub fn read(&self) -> Result<Config> {
        let mut config = match &self.file {
            None => Config::default(),
            Some(path) => {
                let fail = |e: &dyn std::fmt::Display| {
                    Error::invalid(format!("configuration file {}: {e}", path.display()))
                };
                let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
                toml::from_str(&text).map_err(|e| fail(&e))?
            }
        };
        let (set, flags) = (&mut config.listen, self.listen.clone());
        if flags.address.is_some() {
            set.address = flags.address;
        }
        for (set, flag) in [
            (&mut set.tls_cert, flags.tls_cert),
            (&mut set.tls_key, flags.tls_key),
            (&mut set.tls_client_ca, flags.tls_client_ca),
        ] {
            if flag.is_some() {
                *set = flag;
            }
        }
        if flags.group.is_some() {
            set.group = flags.group;
        }
        config.docker.outweigh(self.docker.clone());
        config.check()?;
        Ok(config)
    }
}

impl Config {
    /// The sections that differ and count from the next start only.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            ("pools", self.pools != new.pools),
            ("nat", self.nat != new.nat),
            ("limits", self.limits != new.limits),
            ("dns", self.dns != new.dns),
            ("docker", self.docker != new.docker),
            ("listen.address", self.listen.address != new.listen.address),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_flags_outweigh_the_file_and_each_changed_section_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netd.toml");
        std::fs::write(&path, "[listen]\ngroup = \"file\"\n[dns]\nttl = 7\n").unwrap();
        let mut source = Source {
            file: Some(path.clone()),
            ..Source::default()
        };
        assert_eq!(source.read().unwrap().listen.group.as_deref(), Some("file"));
        source.listen.group = Some("flag".into());
        let config = source.read().unwrap();
        assert_eq!(config.listen.group.as_deref(), Some("flag"));
        let changed = config.needs_restart(&Config::default());
        assert_eq!(
            changed,
            ["dns"],
            "the socket's group changes while netd runs"
        );
        std::fs::write(&path, "nonsense = 1\n").unwrap();
        let said = source.read().unwrap_err().to_string();
        assert!(
            said.contains("netd.toml") && said.contains("nonsense"),
            "{said}"
        );
    }

    #[test]
    fn p04_the_packaged_file_shows_the_defaults() {
        let text = include_str!("../../../packaging/netd.toml");
        let as_installed: Config = toml::from_str(text).unwrap();
        assert_eq!(as_installed, Config::default());
        let shown: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' ') || line.starts_with("    "))
            .collect();
        let mut shown: Config = toml::from_str(&shown.join("\n")).unwrap();
        shown.check().unwrap();
        let default = Config::default();
        assert_eq!(shown.flows_per_endpoint(), default.flows_per_endpoint());
        assert_eq!(shown.ports_per_endpoint(), default.ports_per_endpoint());
        (
            shown.limits.flows_per_endpoint,
            shown.limits.ports_per_endpoint,
        ) = (None, None);
        (shown.listen, shown.access) = (default.listen.clone(), Vec::new());
        shown.docker = default.docker.clone();
        assert_eq!(shown, default);
    }
}
