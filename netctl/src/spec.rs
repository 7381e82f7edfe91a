//! Port specifications as `docker -p` takes them: `[ip:][hostport[-range]:]port[-range][/proto]`.
//! Parses and prints; knows neither the daemon nor which ports are free.

use std::{fmt, net::IpAddr, str::FromStr};

use netd_proto::v1::{ExposedPort, PortSpec, Protocol};

/// A parsed specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// None: every address of the host.
    pub host_ip: Option<IpAddr>,
    /// First and last port on the host; None: netd chooses.
    pub host: Option<(u16, u16)>,
    /// First and last port in the sandbox.
    pub port: (u16, u16),
    /// Never unspecified.
    pub protocol: Protocol,
}

/// What `--expose` takes: `port[-range][/proto]`, nothing of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exposed(pub Spec);

impl FromStr for Exposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, _) = text.split_once('/').unwrap_or((text, ""));
        if port.contains(':') {
            return Err(format!(
                "invalid port format for --expose: {text:?} (the form is port[-range][/tcp|udp|sctp]; -p publishes)"
            ));
        }
        Ok(Self(
            text.parse().map_err(|error: SpecError| error.to_string())?,
        ))
    }
}

/// Why a text is no specification; names the part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecError {
    text: String,
    part: &'static str,
    why: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, part, why } = self;
        write!(
            f,
            "{text:?}: {part}: {why} (the form is [ip:][hostport[-range]:]port[-range][/tcp|udp|sctp])"
        )
    }
}

impl std::error::Error for SpecError {}

/// The part and what is wrong with it.
type Wrong = (&'static str, String);

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        parse(text).map_err(|(part, why)| SpecError {
            text: text.to_owned(),
            part,
            why,
        })
    }
}

fn parse(text: &str) -> Result<Spec, Wrong> {
    let (rest, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((rest, name)) => (rest, parse_protocol(name)?),
    };
    let (rest, port) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((rest, port)) => (Some(rest), port),
    };
    let port = parse_range("sandbox port", port)?;
    let (host_ip, host) = match rest {
        None => (None, ""),
        Some(rest) => split_host(rest)?,
    };
    let host = match host {
        "" | "0" => None,
        range => Some(parse_range("host port", range)?),
    };
    // For a single port of the sandbox one of the host's is chosen.
    if let Some((first, last)) = host
        && last - first != port.1 - port.0
        && port.0 != port.1
    {
        let (theirs, ours) = (u32::from(last - first) + 1, u32::from(port.1 - port.0) + 1);
        let why = format!("{theirs} ports on the host for {ours} in the sandbox");
        return Err(("ranges", why));
    }
    Ok(Spec {
        host_ip,
        host,
        port,
        protocol,
    })
}

/// What stands before the sandbox port: `[ip:][hostport[-range]]`.
fn split_host(text: &str) -> Result<(Option<IpAddr>, &str), Wrong> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((ip, rest)) = inner.split_once(']') else {
            return Err(("host ip", format!("{text:?} lacks the closing bracket")));
        };
        let Some(host) = rest.strip_prefix(':') else {
            let why = format!("a colon and the host port (or nothing) must follow {ip:?}");
            return Err(("host ip", why));
        };
        return match ip.parse() {
            Ok(IpAddr::V6(ip)) => Ok((Some(IpAddr::V6(ip)), host)),
            _ => Err(("host ip", format!("{ip:?} is no IPv6 address"))),
        };
    }
    let Some((ip, host)) = text.rsplit_once(':') else {
        return Ok((None, text));
    };
    if ip.contains(':') {
        let why = format!("{ip:?} is no IPv4 address; an IPv6 address stands in brackets");
        return Err(("host ip", why));
    }
    if ip.is_empty() {
        return Ok((None, host));
    }
    match ip.parse() {
        Ok(ip) => Ok((Some(IpAddr::V4(ip)), host)),
        Err(_) => Err(("host ip", format!("{ip:?} is no IP address"))),
    }
}

fn parse_protocol(name: &str) -> Result<Protocol, Wrong> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(("protocol", format!("{name:?} is not tcp, udp or sctp"))),
    }
}

fn parse_range(part: &'static str, text: &str) -> Result<(u16, u16), Wrong> {
    if text.is_empty() {
        return Err((part, "it is missing".to_owned()));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (parse_port(part, first)?, parse_port(part, last)?);
    if range.0 > range.1 {
        return Err((part, format!("the range {text:?} ends before it starts")));
    }
    Ok(range)
}

fn parse_port(part: &'static str, text: &str) -> Result<u16, Wrong> {
    // Digits only: the standard parser would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err((part, format!("{text:?} is no number from 1 to 65535"))),
    }
}

fn range((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// Lower-case name; empty for a number that the API does not know.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp | Protocol::Unspecified => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => {}
        }
        if let Some(host) = self.host {
            write!(f, "{}:", range(host))?;
        } else if self.host_ip.is_some() {
            f.write_str(":")?;
        }
        write!(f, "{}/{}", range(self.port), protocol_name(self.protocol))
    }
}

impl From<Spec> for PortSpec {
    fn from(spec: Spec) -> Self {
        Self {
            host_ip: spec.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            host_port: spec.host.map(|(first, _)| first.into()),
            port: spec.port.0.into(),
            count: count(spec.port),
            protocol: spec.protocol.into(),
            host_port_last: spec
                .host
                .filter(|(first, last)| spec.port.0 == spec.port.1 && first < last)
                .map(|(_, last)| last.into()),
        }
    }
}

impl From<Exposed> for ExposedPort {
    fn from(Exposed(spec): Exposed) -> Self {
        Self {
            port: spec.port.0.into(),
            count: count(spec.port),
            protocol: spec.protocol.into(),
        }
    }
}

fn count((first, last): (u16, u16)) -> u32 {
    u32::from(last.saturating_sub(first)) + 1
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
