//! A host as Linux's own NAT makes it: a bridge, masquerading and redirected ports by nftables, everything else by default.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::site::Setup;
use crate::{Netns, World};

/// The containers' addresses, IPv4 and IPv6.
pub const CONTAINERS: [[&str; 2]; 2] = [["172.18.0.2", "fd00:18::2"], ["172.18.0.3", "fd00:18::3"]];
/// The bridge's.
pub const GATEWAYS: [&str; 2] = ["172.18.0.1", "fd00:18::1"];

/// Runs nft on these words in a namespace.
///
/// # Errors
/// What nft said.
pub fn nft(netns: &Netns, words: &str) -> Result<()> {
    let output = netns.scope().run(&["nft", words])?;
    ensure!(output.ok, "nft {words}: {}", output.text());
    Ok(())
}

/// Makes the world's host such a host with two containers.
///
/// # Errors
/// When a step fails.
pub fn build(world: &mut World, setup: &Setup) -> Result<[Netns; 2]> {
    let host = world.host.clone();
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    host.ip("link add br0 type bridge")?;
    host.ip("addr add 172.18.0.1/16 dev br0")?;
    host.ip("addr add fd00:18::1/64 dev br0 nodad")?;
    host.ip("link set br0 up")?;
    let mut made = Vec::new();
    for (name, [v4, v6]) in ["a", "b"].into_iter().zip(CONTAINERS) {
        let netns = world.namespace(name)?;
        host.ip(&format!(
            "link add v{name} type veth peer name eth0 netns {}",
            netns.name()
        ))?;
        host.ip(&format!("link set v{name} master br0 up"))?;
        netns.ip("link set eth0 up")?;
        netns.ip(&format!("addr add {v4}/16 dev eth0"))?;
        netns.ip(&format!("addr add {v6}/64 dev eth0 nodad"))?;
        netns.ip(&format!("route add default via {}", GATEWAYS[0]))?;
        netns.ip(&format!("-6 route add default via {}", GATEWAYS[1]))?;
        netns.ipv6_ready("eth0");
        made.push(netns);
    }
    rules(&host, setup)?;
    for (key, value) in sysctls(setup) {
        host.sysctl(&format!("net/netfilter/nf_conntrack_{key}"), &value)?;
    }
    let [a, b] = <[Netns; 2]>::try_from(made).map_err(|_| anyhow::anyhow!("two containers"))?;
    Ok([a, b])
}

/// As Docker's rules: masquerade what leaves the bridge, redirect published ports, let nothing else in.
fn rules(host: &Netns, setup: &Setup) -> Result<()> {
    for (family, subnet, key) in [
        ("ip", "172.18.0.0/16", "ip"),
        ("ip6", "fd00:18::/64", "ip6"),
    ] {
        let exempt: String = setup
            .exempt
            .iter()
            .filter(|cidr| cidr.contains(':') == (family == "ip6"))
            .map(|cidr| format!("{key} daddr {cidr} accept; "))
            .collect();
        let leaving = format!("{key} saddr {subnet} oifname != \"br0\"");
        let masquerade = match setup.pool {
            Some((first, last)) => {
                format!(
                    "{leaving} meta l4proto {{ tcp, udp }} masquerade to :{first}-{last}; {leaving} masquerade;"
                )
            }
            None => format!("{leaving} masquerade;"),
        };
        nft(
            host,
            &format!(
                "table {family} nat {{ \
                 chain prerouting {{ type nat hook prerouting priority dstnat; }}; \
                 chain output {{ type nat hook output priority -100; }}; \
                 chain postrouting {{ type nat hook postrouting priority srcnat; {exempt}{masquerade} }}; }}"
            ),
        )?;
    }
    nft(
        host,
        "table inet filter { chain forward { type filter hook forward priority filter; policy drop; \
         ct state established,related accept; ct status dnat accept; iifname \"br0\" accept; }; }",
    )
}

/// Redirects a port of the host.
///
/// # Errors
/// What nft said.
pub fn publish(
    host: &Netns,
    protocol: &str,
    port: u16,
    to: [IpAddr; 2],
    inside: u16,
) -> Result<()> {
    for (family, to) in [("ip", to[0].to_string()), ("ip6", format!("[{}]", to[1]))] {
        for chain in ["prerouting", "output"] {
            nft(
                host,
                &format!(
                    "add rule {family} nat {chain} fib daddr type local {protocol} dport {port} dnat to {to}:{inside}"
                ),
            )?;
        }
    }
    Ok(())
}

/// Connection tracking's timeouts that stand for netd's lifetimes.
fn sysctls(setup: &Setup) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (name, seconds) in &setup.lifetimes {
        let keys: &[&str] = match *name {
            "udp" => &["udp_timeout", "udp_timeout_stream"],
            "icmp" => &["icmp_timeout", "icmpv6_timeout"],
            "tcp_established" => &["tcp_timeout_established", "tcp_timeout_unacknowledged"],
            "tcp_opening" => &["tcp_timeout_syn_sent", "tcp_timeout_syn_recv"],
            "tcp_closing" => &[
                "tcp_timeout_fin_wait",
                "tcp_timeout_close_wait",
                "tcp_timeout_last_ack",
                "tcp_timeout_time_wait",
            ],
            "tcp_closed" => &["tcp_timeout_close"],
            "other" => &["generic_timeout"],
            _ => &[],
        };
        found.extend(keys.iter().map(|&key| (key, seconds.to_string())));
    }
    found
}
