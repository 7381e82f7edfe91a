//! Matching gateways, ranges and auxiliary addresses to the subnets of `network create`, as the docker CLI does. Pure.

use std::{collections::HashMap, net::IpAddr};

use ipnetwork::IpNetwork;
use netd_proto::v1::IpamPool;

/// Makes the pools of a request. Errors are in Docker's words.
pub fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    aux: &[String],
) -> Result<Vec<IpamPool>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut made: Vec<(Option<IpNetwork>, IpamPool)> = Vec::new();
    for text in subnets {
        // What is no CIDR is the daemon's to refuse, with its reason.
        let net: Option<IpNetwork> = text.parse().ok().filter(|_| text.contains('/'));
        let overlaps = |other: &IpNetwork, net: &IpNetwork| {
            other.contains(net.ip()) || net.contains(other.ip())
        };
        if let Some(net) = &net
            && made
                .iter()
                .filter_map(|(n, _)| n.as_ref())
                .any(|o| overlaps(o, net))
        {
            return Err("multiple overlapping subnet configuration is not supported".into());
        }
        made.push((
            net,
            IpamPool {
                subnet: text.clone(),
                ..IpamPool::default()
            },
        ));
    }
    let of = |address: Option<IpAddr>| {
        let address = address?;
        made.iter()
            .position(|(net, _)| net.is_some_and(|n| n.contains(address)))
    };
    let mut found = Vec::new();
    for text in ranges {
        let range: IpNetwork = text
            .parse()
            .map_err(|_| format!("invalid CIDR address: {text}"))?;
        found.push((
            of(Some(range.ip())).ok_or(format!("no matching subnet for range {text}"))?,
            0,
            text,
            "",
        ));
    }
    for text in gateways {
        found.push((
            of(text.parse().ok()).ok_or(format!("no matching subnet for gateway {text}"))?,
            1,
            text,
            "",
        ));
    }
    for text in aux {
        let (name, address) = text.split_once('=').unwrap_or((text, ""));
        let at = of(address.parse().ok())
            .ok_or(format!("no matching subnet for aux-address {address}"))?;
        found.push((at, 2, text, name));
    }
    for (at, what, text, name) in found {
        let pool = &mut made[at].1;
        match what {
            0 => pool.ip_range.clone_from(text),
            1 if !pool.gateway.is_empty() => {
                return Err("cannot configure multiple gateways for the same subnet".into());
            }
            1 => pool.gateway.clone_from(text),
            _ => {
                pool.aux_addresses
                    .insert(name.to_owned(), text[name.len() + 1..].to_owned());
            }
        }
    }
    Ok(made.into_iter().map(|(_, pool)| pool).collect())
}

/// `key=value` pairs; a key alone has an empty value.
pub fn pairs(texts: &[String]) -> HashMap<String, String> {
    texts
        .iter()
        .map(|t| t.split_once('=').unwrap_or((t, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n02_pools_match_as_in_docker() {
        let s = |t: &[&str]| t.iter().map(|x| (*x).to_owned()).collect::<Vec<_>>();
        let made = pools(
            &s(&["10.0.0.0/24", "fd00::/64"]),
            &[],
            &s(&["fd00::9", "10.0.0.9"]),
            &s(&["a=10.0.0.5"]),
        )
        .unwrap();
        assert_eq!(
            (made[0].gateway.as_str(), made[1].gateway.as_str()),
            ("10.0.0.9", "fd00::9")
        );
        assert_eq!(made[0].aux_addresses["a"], "10.0.0.5");
        let refused = |a: &[&str], b: &[&str], c: &[&str], d: &[&str]| {
            pools(&s(a), &s(b), &s(c), &s(d)).unwrap_err()
        };
        assert_eq!(
            refused(&[], &[], &["10.0.0.1"], &[]),
            "every ip-range or gateway must have a corresponding subnet"
        );
        assert_eq!(
            refused(&["10.0.0.0/24"], &[], &["banana"], &[]),
            "no matching subnet for gateway banana"
        );
        assert_eq!(
            refused(&["10.0.0.0/24"], &["zzz"], &[], &[]),
            "invalid CIDR address: zzz"
        );
        assert_eq!(
            refused(&["10.0.0.0/24"], &[], &[], &["a=1.1.1.1"]),
            "no matching subnet for aux-address 1.1.1.1"
        );
        assert!(refused(&["10.0.0.0/24", "10.0.0.0/25"], &[], &[], &[]).contains("overlapping"));
    }
}
