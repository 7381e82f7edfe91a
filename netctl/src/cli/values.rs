//! Values of flags as Docker's CLI reads them. Knows no flags.

use std::net::IpAddr;

use netd_proto::v1::{ExtraHost, Link, extra_host::Target};

/// `key=value`; without `=` the value is empty.
///
/// # Errors
/// An empty key.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("{text:?} lacks the key; the form is key=value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `name=value`, both needed.
///
/// # Errors
/// Docker's words for another form.
pub fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// A truth value as Go's `ParseBool` reads it.
///
/// # Errors
/// Any other word.
pub fn boolean(text: &str) -> Result<bool, String> {
    netd_proto::text::boolean(text).ok_or_else(|| "neither true nor false".to_owned())
}

/// `SANDBOX[:ALIAS]`; without an alias it is the sandbox's own name.
///
/// # Errors
/// An empty part, or more than two.
pub fn link(text: &str) -> Result<Link, String> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    if target.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(format!(
            "bad format for links: {text:?}; the form is sandbox[:alias]"
        ));
    }
    Ok(Link {
        target: target.to_owned(),
        alias: alias.to_owned(),
    })
}

/// An IP address.
///
/// # Errors
/// Docker's words for another text.
pub fn ip_address(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("{text} is not an ip address")),
    }
}

/// A domain, or a single dot for none.
///
/// # Errors
/// Docker's words for another text.
pub fn search_domain(text: &str) -> Result<String, String> {
    let domain = text.trim();
    if domain == "." {
        return Ok(domain.to_owned());
    }
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let label = |label: &str| {
        let right = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        !label.is_empty() && label.chars().all(right)
    };
    let letters = domain.chars().any(|c| c.is_ascii_alphabetic());
    if letters && domain.len() < 254 && domain.split('.').all(label) {
        Ok(domain.to_owned())
    } else {
        Err(format!("{text} is not a valid domain"))
    }
}

/// `NAME:IP` or `NAME=IP`; instead of an address `host-gateway`; an address may stand in brackets.
///
/// # Errors
/// Docker's words for another form.
pub fn extra_host(text: &str) -> Result<ExtraHost, String> {
    // IPv6 addresses have colons, too: the first one divides.
    let divided = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = divided
        .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let target = if address == "host-gateway" {
        Target::HostGateway(true)
    } else {
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let address =
            ip_address(bare).map_err(|_| format!("invalid IP address in add-host: {bare:?}"))?;
        Target::Address(address)
    };
    Ok(ExtraHost {
        name: name.to_owned(),
        target: Some(target),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s06_extra_hosts() {
        let address = |text: &str| Some(Target::Address(text.to_owned()));
        let gateway = Some(Target::HostGateway(true));
        for (given, name, target) in [
            ("db:192.0.2.7", "db", address("192.0.2.7")),
            ("db=192.0.2.7", "db", address("192.0.2.7")),
            ("db:2001:db8::7", "db", address("2001:db8::7")),
            ("db:[2001:db8::7]", "db", address("2001:db8::7")),
            ("db=[::1]", "db", address("::1")),
            ("db:[192.0.2.7]", "db", address("192.0.2.7")),
            (
                "host.docker.internal:host-gateway",
                "host.docker.internal",
                gateway.clone(),
            ),
            ("h=host-gateway", "h", gateway),
        ] {
            let name = name.to_owned();
            assert_eq!(extra_host(given), Ok(ExtraHost { name, target }), "{given}");
        }
        for (given, said) in [
            ("db", "bad format for add-host: \"db\""),
            ("", "bad format for add-host: \"\""),
            (":192.0.2.7", "bad format for add-host: \":192.0.2.7\""),
            (
                "a:b=192.0.2.7",
                "bad format for add-host: \"a:b=192.0.2.7\"",
            ),
            ("db:192.0.2", "invalid IP address in add-host: \"192.0.2\""),
            ("db:", "invalid IP address in add-host: \"\""),
            ("db:[::1", "invalid IP address in add-host: \"[::1\""),
        ] {
            assert_eq!(extra_host(given).unwrap_err(), said);
        }
    }

    #[test]
    fn s06_servers_and_domains() {
        assert_eq!(ip_address(" 192.0.2.1 ").as_deref(), Ok("192.0.2.1"));
        assert_eq!(ip_address("2001:DB8::1").as_deref(), Ok("2001:db8::1"));
        assert_eq!(ip_address("x").unwrap_err(), "x is not an ip address");
        assert_eq!(search_domain(".").as_deref(), Ok("."));
        assert_eq!(search_domain("a.example.").as_deref(), Ok("a.example"));
        for bad in ["", "..", "a..b", "10", "a b", "a/b"] {
            assert!(
                search_domain(bad)
                    .unwrap_err()
                    .contains("is not a valid domain")
            );
        }
    }
}
