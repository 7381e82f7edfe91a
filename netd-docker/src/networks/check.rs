//! What Docker Engine (25 and later) checks of a new network's pools before anything is made, and its words.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netd_proto::v1::IpamPool;

use crate::refusal::{Refusal, Result};

/// Checks all pools and tells all faults at once.
///
/// # Errors
/// 400 with one line for each fault.
pub fn pools(pools: &[IpamPool]) -> Result<()> {
    let mut faults = Vec::new();
    for pool in pools {
        check(pool, &mut faults);
    }
    joined("invalid network config:", &faults)
}

/// Faults as Docker joins them: one as it is, several as a list.
///
/// # Errors
/// 400 if there are any.
pub fn joined(head: &str, faults: &[String]) -> Result<()> {
    let text = match faults {
        [] => return Ok(()),
        [fault] => format!("{head}\n{fault}"),
        faults => {
            let lines: Vec<String> = faults.iter().map(|fault| format!("* {fault}")).collect();
            format!("{head}\n{}", lines.join("\n"))
        }
    };
    Err(Refusal::invalid(text))
}

fn check(pool: &IpamPool, faults: &mut Vec<String>) {
    let text = &pool.subnet;
    let Some(subnet) = cidr(text) else {
        faults.push(format!(
            "invalid subnet {text}: invalid CIDR block notation"
        ));
        return;
    };
    if subnet.ip() != subnet.network() {
        faults.push(format!(
            "invalid subnet {text}: it should be {}",
            base(&subnet)
        ));
    }
    range(pool, &subnet, faults);
    let mut address = |what: String, text: &str| match text.parse::<IpAddr>() {
        Err(_) => faults.push(format!("invalid {what}: invalid address")),
        Ok(address) if !subnet.contains(address) => faults.push(format!(
            "invalid {what}: parent subnet {} doesn't contain this address",
            pool.subnet
        )),
        Ok(_) => {}
    };
    if !pool.gateway.is_empty() {
        address(format!("gateway {}", pool.gateway), &pool.gateway);
    }
    let mut reserved: Vec<_> = pool.aux_addresses.iter().collect();
    reserved.sort();
    for (name, text) in reserved {
        address(format!("auxiliary address {name}"), text);
    }
}

fn range(pool: &IpamPool, subnet: &IpNetwork, faults: &mut Vec<String>) {
    let text = &pool.ip_range;
    if text.is_empty() {
        return;
    }
    let fault = match cidr(text) {
        None => "invalid CIDR block notation".to_owned(),
        Some(range) if range.is_ipv4() == subnet.is_ipv4() && range.prefix() < subnet.prefix() => {
            format!(
                "CIDR block is bigger than its parent subnet {}",
                pool.subnet
            )
        }
        Some(range) if !subnet.contains(range.ip()) => {
            format!("parent subnet {} doesn't contain ip-range", pool.subnet)
        }
        Some(range) if range.ip() != range.network() => format!("it should be {}", base(&range)),
        Some(_) => return,
    };
    faults.push(format!("invalid ip-range {text}: {fault}"));
}

fn base(network: &IpNetwork) -> String {
    format!("{}/{}", network.network(), network.prefix())
}

/// Address and prefix length, both of them needed; a mask is none.
fn cidr(text: &str) -> Option<IpNetwork> {
    let (_, length) = text.split_once('/')?;
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(subnet: &str, range: &str, gateway: &str) -> String {
        let pool = IpamPool {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            ..Default::default()
        };
        match pools(&[pool]) {
            Ok(()) => String::new(),
            Err(refusal) => refusal
                .message()
                .replacen("invalid network config:\n", "", 1),
        }
    }

    #[test]
    fn i03_faults_of_pools_are_told_in_dockers_words() {
        let net = "10.1.0.0/24";
        assert_eq!(said(net, "10.1.0.128/25", "10.1.0.9"), "");
        assert_eq!(
            said("x", "", ""),
            "invalid subnet x: invalid CIDR block notation"
        );
        assert_eq!(
            said("", "", ""),
            "invalid subnet : invalid CIDR block notation"
        );
        assert_eq!(
            said("10.53.0.7/24", "", ""),
            "invalid subnet 10.53.0.7/24: it should be 10.53.0.0/24"
        );
        assert_eq!(
            said(net, "10.2.0.0/24", ""),
            "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/24 doesn't contain ip-range"
        );
        assert_eq!(
            said(net, "10.1.0.0/16", ""),
            "invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24"
        );
        assert_eq!(
            said(net, "10.1.0.5/25", ""),
            "invalid ip-range 10.1.0.5/25: it should be 10.1.0.0/25"
        );
        assert_eq!(said(net, "", "x"), "invalid gateway x: invalid address");
        assert_eq!(
            said(net, "9", "10.2.0.1"),
            "* invalid ip-range 9: invalid CIDR block notation\n\
             * invalid gateway 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain this address"
        );
    }
}
