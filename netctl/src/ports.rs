//! Published ports as `docker run -p` writes them: `[ip:][hostport[-range]:]port[-range][/protocol]`. Pure.

use std::net::IpAddr;

use netd_proto::v1::{PortSpec, Protocol};

/// Reads a spec. Errors name the part that is wrong.
pub fn parse(text: &str) -> Result<PortSpec, String> {
    let (rest, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((rest, "tcp")) => (rest, Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some((rest, "sctp")) => (rest, Protocol::Sctp),
        Some((_, other)) => {
            return Err(format!(
                "invalid protocol {other:?} in {text:?}: tcp, udp or sctp"
            ));
        }
    };
    let (rest, target) = match rest.rsplit_once(':') {
        Some((before, target)) => (Some(before), target),
        None => (None, rest),
    };
    let (ip, host) = match rest {
        None => ("", ""),
        Some(r) if r.ends_with(']') => (r, ""),
        Some(r) => r.rsplit_once(':').unwrap_or(("", r)),
    };
    let host_ip = match ip {
        "" => String::new(),
        _ => {
            let bare = ip
                .strip_prefix('[')
                .and_then(|i| i.strip_suffix(']'))
                .unwrap_or(ip);
            bare.parse::<IpAddr>()
                .map_err(|_| format!("invalid IP address {ip:?} in {text:?}"))?
                .to_string()
        }
    };
    let (first, last) =
        range(target).ok_or_else(|| format!("invalid containerPort {target:?} in {text:?}"))?;
    let (host_first, host_last) = match host {
        "" => (0, 0),
        _ => range(host).ok_or_else(|| format!("invalid hostPort {host:?} in {text:?}"))?,
    };
    if host_first != 0 && host_last - host_first != last - first {
        return Err(format!(
            "invalid ranges in {text:?}: {host} and {target} are of different length"
        ));
    }
    Ok(PortSpec {
        host_ip,
        host_port_first: host_first,
        host_port_last: host_last,
        port_first: first,
        port_last: last,
        protocol: protocol.into(),
    })
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first > 0 && first <= last).then_some((first.into(), last.into()))
}

/// `80`, or `80-90`.
pub fn show_range(first: u32, last: u32) -> String {
    if last <= first {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// `tcp`, `udp` or `sctp`.
pub fn protocol(spec: &PortSpec) -> &'static str {
    match spec.protocol() {
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        _ => "tcp",
    }
}

/// Where a publication listens, as Docker shows it.
pub fn show_host(spec: &PortSpec) -> String {
    let ports = show_range(spec.host_port_first, spec.host_port_last);
    match spec.host_ip.as_str() {
        "" => format!("0.0.0.0:{ports}, [::]:{ports}"),
        ip if ip.contains(':') => format!("[{ip}]:{ports}"),
        ip => format!("{ip}:{ports}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn c01_specs_as_docker_writes_them() {
        let p = |t: &str| {
            parse(t).map(|s| {
                (
                    s.host_ip,
                    s.host_port_first,
                    s.host_port_last,
                    s.port_first,
                    s.port_last,
                    s.protocol,
                )
            })
        };
        assert_eq!(p("80"), Ok((String::new(), 0, 0, 80, 80, 6)));
        assert_eq!(
            p("8080:80/udp"),
            Ok((String::new(), 8080, 8080, 80, 80, 17))
        );
        assert_eq!(
            p("127.0.0.1:8080:80"),
            Ok(("127.0.0.1".into(), 8080, 8080, 80, 80, 6))
        );
        assert_eq!(
            p("127.0.0.1::80"),
            Ok(("127.0.0.1".into(), 0, 0, 80, 80, 6))
        );
        assert_eq!(
            p("[::1]:8080:80"),
            Ok(("::1".into(), 8080, 8080, 80, 80, 6))
        );
        assert_eq!(
            p("8000-8010:80-90/sctp"),
            Ok((String::new(), 8000, 8010, 80, 90, 132))
        );
        for bad in [
            "",
            "0",
            "80/foo",
            "99999:80",
            "a:80",
            "1.2.3:80:80",
            "8000-8001:80",
            "90-80",
            "1:2:3:4:5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
