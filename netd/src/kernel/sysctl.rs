//! The sysctls that netd reads and writes, all of them: per-device switches of its own links, and
//! `net.ipv4.ip_local_reserved_ports`. They are those of the calling thread's network namespace.

use std::{collections::BTreeSet, fs, path::Path};

use crate::error::{Error, Result};

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Writes `net.<family>.conf.<device>.<key>`; family is `ipv4` or `ipv6`.
pub fn set_device(family: &str, device: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
    // A kernel without IPv6 has nothing to switch off.
    if family == "ipv6" && !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    fs::write(&path, value).map_err(|e| Error::internal(format!("writing {value} to {path}"), e))
}

/// Reads a sysctl. In one go: the kernel gives the whole of a list to the first read only, and no more than it asks for
/// (`proc_do_large_bitmap`, Linux 6.18).
fn read(path: &str) -> Result<String> {
    use std::io::Read as _;
    // The kernel clears as much memory as is asked for: most values are short. The longest is all 65,536 ports, none beside another.
    const SIZES: [usize; 2] = [4000, 1 << 19];
    // What is cut is cut before a port or a range that does not fit.
    const ENTRY: usize = "65535-65535,".len();
    let mut bytes = Vec::new();
    for size in SIZES {
        bytes.resize(size, 0);
        let length = fs::File::open(path)
            .and_then(|mut file| file.read(&mut bytes))
            .map_err(|e| Error::internal(path, e))?;
        bytes.truncate(length);
        if length + ENTRY < size {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|e| Error::internal(path, e))
}

/// Lets a network's device forward: `bpf_fib_lookup` answers only for interfaces that do, and the host's global switches, which
/// stay as they are, change every device's when somebody sets them. `v6`: it has IPv6. Says how many switches were wrong.
pub fn let_forward(device: &str, v6: bool) -> Result<usize> {
    let mut wrong = 0;
    for family in ["ipv4"].into_iter().chain(v6.then_some("ipv6")) {
        let path = format!("/proc/sys/net/{family}/conf/{device}/forwarding");
        let text = read(&path)?;
        if text.trim() != "1" {
            set_device(family, device, "forwarding", "1")?;
            wrong += 1;
        }
    }
    Ok(wrong)
}

/// The reverse path filter of all devices (`net.ipv4.conf.all.rp_filter`), as the kernel shows it.
pub fn reverse_path_filter() -> Result<String> {
    let path = "/proc/sys/net/ipv4/conf/all/rp_filter";
    read(path)
}

/// Lets the host take packets from its own IPv4 addresses by a network's device: answers of published ports to processes of the host
/// come in there, from the address that was asked (`netd_common::loopback`). Endpoints cannot send from such addresses, for
/// the data plane knows theirs. `addressed`: the device has an IPv4 address.
pub fn take_local_answers(device: &str, addressed: bool) -> Result<()> {
    set_device("ipv4", device, "accept_local", "1")?;
    let filter = |device: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
        let text = read(&path)?;
        Ok::<_, Error>(text.trim().parse().unwrap_or(0_u8))
    };
    // The greater one of the device's and that of all counts. The strict filter (1) wants the way back to lead by this device;
    // the loose one (2) does not, but takes nothing where there is no address.
    let own = filter(device)?;
    if addressed && own.max(filter("all")?) == 1 {
        set_device("ipv4", device, "rp_filter", "2")?;
    }
    if !addressed && own != 0 {
        set_device("ipv4", device, "rp_filter", "0")?;
    }
    Ok(())
}

/// First and last port that the host gives to sockets without one (32768–60999 by default).
pub fn ephemeral_ports() -> Result<(u16, u16)> {
    let text = read(EPHEMERAL)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok((first, last)),
        _ => Err(Error::internal(
            EPHEMERAL,
            format!("not two numbers: {text:?}"),
        )),
    }
}

/// The list of reserved ports and the ephemeral range, as the kernel shows them.
pub type PortSettings = (String, String);

/// Both as they are.
pub fn port_settings() -> Result<PortSettings> {
    Ok((read(RESERVED)?, read(EPHEMERAL)?))
}

/// The ports that the host gives to no socket of its own accord.
pub fn reserved_ports() -> Result<BTreeSet<u16>> {
    let text = read(RESERVED)?;
    parse_ports(text.trim())
        .ok_or_else(|| Error::internal(RESERVED, format!("not a list of ports: {text:?}")))
}

/// Replaces that list.
pub fn set_reserved_ports(ports: &BTreeSet<u16>) -> Result<()> {
    fs::write(RESERVED, format!("{}\n", format_ports(ports)))
        .map_err(|e| Error::internal(RESERVED, e))
}

/// Reads `1,3-5`.
pub fn parse_ports(text: &str) -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(ports)
}

/// Writes `1,3-5`.
pub fn format_ports(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let text = |(a, b): &(u16, u16)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists_survive_the_round_trip() {
        let ports = parse_ports("1,3-5,60000-65535").unwrap();
        assert_eq!(format_ports(&ports), "1,3-5,60000-65535");
        assert_eq!(format_ports(&BTreeSet::new()), "");
        assert_eq!(parse_ports("a"), None);
    }
}
