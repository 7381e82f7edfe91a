//! resolv.conf(5): reading what others wrote, leniently, and writing it. Pure: no I/O.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// A resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, in the order in which they are asked.
    pub servers: Vec<Server>,
    /// Domains that are tried behind a short name; `.` stands for none.
    pub search: Vec<String>,
    /// Options as they are written, such as `ndots:1`.
    pub options: Vec<String>,
}

/// A name server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The interface, by name or index, that a link-local address is reached by, as in `fe80::1%eth0`.
    pub zone: Option<String>,
}

impl From<IpAddr> for Server {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            zone: None,
        }
    }
}

impl Server {
    /// An address, with `%zone` behind it if it is an IPv6 one.
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('%') {
            None => text.parse::<IpAddr>().ok().map(Self::from),
            Some((address, zone)) => {
                let address: Ipv6Addr = address.parse().ok()?;
                (!zone.is_empty()).then(|| Self {
                    address: address.into(),
                    zone: Some(zone.to_owned()),
                })
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.zone {
            Some(zone) => write!(f, "%{zone}"),
            None => Ok(()),
        }
    }
}

impl ResolvConf {
    /// Reads a file's text. What it does not know or cannot read it passes over, as resolvers do. The last `search` or
    /// `domain` counts; servers and options of several lines add up.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line
                .split_whitespace()
                .take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(Server::parse)),
                Some("search") => {
                    let domains: Vec<String> = words.map(str::to_owned).collect();
                    if !domains.is_empty() {
                        conf.search = domains;
                    }
                }
                Some("domain") => {
                    if let Some(domain) = words.next() {
                        conf.search = vec![domain.to_owned()];
                    }
                }
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }

    /// The number of an option `name:number`, of several the last.
    pub fn number(&self, name: &str) -> Option<u32> {
        let value = |option: &String| {
            let (key, value) = option.split_once(':')?;
            (key == name).then(|| value.parse().ok()).flatten()
        };
        self.options.iter().rev().find_map(value)
    }

    /// Whether an option is set, with or without a value.
    pub fn has_option(&self, name: &str) -> bool {
        let mut options = self.options.iter();
        options.any(|o| o.split(':').next() == Some(name))
    }
}

/// As the file's text.
impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                writeln!(f, "{keyword} {}", words.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s04_files_as_they_are_found() {
        let text = "# Generated\n; old\n nameserver\t192.0.2.1   # first\nnameserver fe80::1%eth0\n\
            nameserver 2001:db8::53\nnameserver localhost\nnameserver 192.0.2.2%eth0\nnameserver fe80::1%\nnameserver\n\
            domain corp.example\nsearch a.example b.example ; c.example\nsearch\nsortlist 192.0.2.0\noptions ndots:2 edns0\n\
            options timeout:1\r\nlookup file bind\nNAMESERVER 192.0.2.9";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1", "fe80::1%eth0", "2001:db8::53"]);
        assert_eq!(conf.servers[1].zone.as_deref(), Some("eth0"));
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(conf.options, ["ndots:2", "edns0", "timeout:1"]);
        assert_eq!(
            (conf.number("timeout"), conf.number("ndots")),
            (Some(1), Some(2))
        );
        assert!(conf.has_option("edns0") && conf.has_option("ndots") && !conf.has_option("ndot"));
    }

    #[test]
    fn s06_the_last_search_or_domain_counts() {
        let search = |text: &str| ResolvConf::parse(text).search;
        assert_eq!(search("search a b\ndomain c d"), ["c"]);
        assert_eq!(search("domain c\nsearch a b"), ["a", "b"]);
        assert_eq!(search("search ."), ["."]);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
        assert_eq!(ResolvConf::default().to_string(), "");
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-z0-9.:_-]{1,12}"
    }

    fn server() -> impl Strategy<Value = Server> {
        let v4 = any::<[u8; 4]>().prop_map(|a| Server::from(IpAddr::from(a)));
        let v6 = (any::<[u8; 16]>(), proptest::option::of("[a-z0-9.]{1,8}"));
        let v6 = v6.prop_map(|(a, zone)| Server {
            address: IpAddr::from(a),
            zone,
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn s06_what_is_written_is_read(
            servers in proptest::collection::vec(server(), 0..4),
            search in proptest::collection::vec(word(), 0..4),
            options in proptest::collection::vec(word(), 0..4),
        ) {
            let conf = ResolvConf { servers, search, options };
            prop_assert_eq!(ResolvConf::parse(&conf.to_string()), conf);
        }

        #[test]
        fn s04_any_text_is_read(text in "(nameserver|search|domain|options|[ \t\n#;%:.a-f0-9]|\\PC){0,60}") {
            let conf = ResolvConf::parse(&text);
            prop_assert_eq!(ResolvConf::parse(&conf.to_string()), conf);
        }
    }
}
