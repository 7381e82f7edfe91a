//! Pairs the addresses of `network create` with its subnets, in Docker's order and words.
//! Knows only the command line; what is free or overlaps is the daemon's to say.

use ipnetwork::IpNetwork;
use netd_proto::v1::IpamPool;

/// Addresses as given, in order.
#[derive(Clone, Default, Debug)]
pub struct Given<'a> {
    /// CIDRs.
    pub subnets: &'a [String],
    /// CIDRs.
    pub ranges: &'a [String],
    /// Addresses.
    pub gateways: &'a [String],
    /// Name and address.
    pub aux: &'a [(String, String)],
}

/// One pool for each subnet.
///
/// # Errors
/// Docker's message for an address that fits no subnet, or two that fit one.
pub fn pools(given: &Given<'_>) -> Result<Vec<IpamPool>, String> {
    let count = given.subnets.len();
    if count < given.ranges.len() || count < given.gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut pools: Vec<IpamPool> = Vec::new();
    for subnet in given.subnets {
        for other in &pools {
            if contains(subnet, &other.subnet)? || contains(&other.subnet, subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".into());
            }
        }
        pools.push(IpamPool {
            subnet: subnet.clone(),
            ..Default::default()
        });
    }
    for range in given.ranges {
        cidr(range)?;
        let what = format!("no matching subnet for range {range}");
        let pool = matching(&mut pools, range, what)?;
        if !pool.ip_range.is_empty() {
            let (first, subnet) = (&pool.ip_range, &pool.subnet);
            return Err(format!(
                "cannot configure multiple ranges ({range}, {first}) on the same subnet ({subnet})"
            ));
        }
        pool.ip_range.clone_from(range);
    }
    for gateway in given.gateways {
        let what = format!("no matching subnet for gateway {gateway}");
        let pool = matching(&mut pools, gateway, what)?;
        if !pool.gateway.is_empty() {
            let (first, subnet) = (&pool.gateway, &pool.subnet);
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({subnet})"
            ));
        }
        pool.gateway.clone_from(gateway);
    }
    for (name, address) in given.aux {
        let what = format!("no matching subnet for aux-address {address}");
        let pool = matching(&mut pools, address, what)?;
        pool.aux_addresses.insert(name.clone(), address.clone());
    }
    Ok(pools)
}

fn matching<'a>(
    pools: &'a mut [IpamPool],
    data: &str,
    what: String,
) -> Result<&'a mut IpamPool, String> {
    for pool in pools {
        if contains(&pool.subnet, data)? {
            return Ok(pool);
        }
    }
    Err(what)
}

/// Whether `data`, an address or a CIDR, lies in `subnet`. Other text lies nowhere.
fn contains(subnet: &str, data: &str) -> Result<bool, String> {
    let net = cidr(subnet).map_err(|error| format!("invalid subnet: {error}"))?;
    if data.contains('/') {
        return Ok(net.contains(cidr(data)?.ip()));
    }
    Ok(data.parse().is_ok_and(|address| net.contains(address)))
}

/// Address and prefix length, both of them needed; a mask is none.
fn cidr(text: &str) -> Result<IpNetwork, String> {
    let length = text.split_once('/').map_or("", |(_, length)| length);
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| digits);
    parsed.ok_or_else(|| format!("invalid CIDR address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        subnets: &[&str],
        ranges: &[&str],
        gateways: &[&str],
        aux: &[(&str, &str)],
    ) -> Result<Vec<IpamPool>, String> {
        let own = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let aux: Vec<_> = aux
            .iter()
            .map(|&(name, ip)| (name.to_owned(), ip.to_owned()))
            .collect();
        pools(&Given {
            subnets: &own(subnets),
            ranges: &own(ranges),
            gateways: &own(gateways),
            aux: &aux,
        })
    }

    #[test]
    fn n02_addresses_find_their_subnets() {
        let pools = ask(
            &["10.1.0.0/16", "fd00:1::/64"],
            &["10.1.5.0/24"],
            &["fd00:1::1", "10.1.0.1"],
            &[("a", "10.1.0.9"), ("b", "fd00:1::9")],
        )
        .unwrap();
        assert_eq!(pools[0].ip_range, "10.1.5.0/24");
        assert_eq!(pools[0].gateway, "10.1.0.1");
        assert_eq!(pools[0].aux_addresses["a"], "10.1.0.9");
        assert_eq!(pools[1].gateway, "fd00:1::1");
        assert_eq!(pools[1].aux_addresses["b"], "fd00:1::9");
        assert_eq!(
            ask(&["0.0.0.0/0"], &[], &["9.9.9.9"], &[]).unwrap().len(),
            1
        );
        // A single subnet is the daemon's to judge.
        assert_eq!(ask(&["hello"], &[], &[], &[]).unwrap()[0].subnet, "hello");
    }

    #[test]
    fn n02_a_subnet_is_an_address_and_a_length() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "fd00::/129",
            "10.0.0/8",
            "/8",
        ] {
            assert!(cidr(text).is_err(), "{text}");
        }
        for text in ["10.0.0.0/8", "10.0.0.1/0", "fd00::/64", "::/0"] {
            assert!(cidr(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn n02_errors_in_docker_words() {
        let net = &["10.31.0.0/24"];
        for (outcome, message) in [
            (
                ask(net, &[], &["10.99.0.1"], &[]),
                "no matching subnet for gateway 10.99.0.1",
            ),
            (
                ask(net, &[], &["banana"], &[]),
                "no matching subnet for gateway banana",
            ),
            (
                ask(&[], &[], &["10.31.0.1"], &[]),
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                ask(net, &[], &["10.31.0.1", "10.31.0.2"], &[]),
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                ask(net, &["10.32.0.0/24"], &[], &[]),
                "no matching subnet for range 10.32.0.0/24",
            ),
            (ask(net, &["zzz"], &[], &[]), "invalid CIDR address: zzz"),
            (
                ask(net, &[], &[], &[("a", "10.99.0.5")]),
                "no matching subnet for aux-address 10.99.0.5",
            ),
            (
                ask(net, &[], &[], &[("a", "zzz")]),
                "no matching subnet for aux-address zzz",
            ),
            (
                ask(&["10.31.0.0/24", "10.31.0.0/25"], &[], &[], &[]),
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                ask(&["hello", "10.0.0.0/8"], &[], &[], &[]),
                "invalid subnet: invalid CIDR address: hello",
            ),
        ] {
            assert_eq!(outcome.unwrap_err(), message);
        }
    }
}
