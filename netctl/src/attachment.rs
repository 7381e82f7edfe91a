//! `--network` of `sandbox create`: a network's name, or Docker's long form `name=NETWORK,ip=…,alias=…`.
//! Parses; which networks exist is the daemon's to say.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use netd_proto::v1::EndpointSpec;

use crate::cli::values::{label, link};

/// Keys of the long form.
const KEYS: &str =
    "name, ip, ip6, mac-address, alias, link, link-local-ip, driver-opt, gw-priority and interface";

/// A network and how to be on it.
#[derive(Clone, PartialEq, Debug)]
pub struct Attachment(pub EndpointSpec);

impl FromStr for Attachment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spec = EndpointSpec::default();
        if !text.contains('=') {
            if text.is_empty() {
                return Err("the network's name is missing".to_owned());
            }
            spec.network = text.to_owned();
            return Ok(Self(spec));
        }
        for field in fields(text)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid field {field:?}; the form is key=value"))?;
            let (key, value) = (key.trim().to_lowercase(), value.trim());
            set(&mut spec, &key, value)?;
        }
        if spec.network.is_empty() {
            return Err("network name/id is not specified; say name=NETWORK".to_owned());
        }
        Ok(Self(spec))
    }
}

fn set(spec: &mut EndpointSpec, key: &str, value: &str) -> Result<(), String> {
    let address = |fits: bool, kind: &str| {
        if fits {
            Ok(value.to_owned())
        } else {
            Err(format!("{key}={value}: {value:?} is no {kind} address"))
        }
    };
    match key {
        "name" => spec.network = value.to_owned(),
        "ip" => spec.ipv4_address = address(value.parse::<Ipv4Addr>().is_ok(), "IPv4")?,
        "ip6" => spec.ipv6_address = address(value.parse::<Ipv6Addr>().is_ok(), "IPv6")?,
        "mac-address" => spec.mac_address = value.to_owned(),
        "alias" => spec.aliases.push(value.to_owned()),
        "link" => spec.links.push(link(value)?),
        "link-local-ip" => {
            let address = address(value.parse::<IpAddr>().is_ok(), "IP")?;
            spec.link_local_addresses.push(address);
        }
        "driver-opt" => {
            let (name, option) = label(value)?;
            spec.driver_options.insert(name, option);
        }
        "gw-priority" => {
            spec.gateway_priority = value
                .parse()
                .map_err(|_| format!("invalid gw-priority: {value:?} is no whole number"))?;
        }
        "interface" => spec.interface_name = value.to_owned(),
        _ => return Err(format!("invalid field key {key:?}; keys are {KEYS}")),
    }
    Ok(())
}

/// Fields between commas, as a line of CSV: a field in quotes may hold commas, and quotes twice.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let count = fields.len();
        let field = &mut fields[count - 1];
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err(format!("{text:?}: a quote is not closed"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn n05_long_form() {
        let short: Attachment = "front".parse().unwrap();
        assert_eq!(short.0.network, "front");
        let text = "name=front,ip=10.0.0.9,ip6=fd00::9,mac-address=02:00:00:00:00:09,alias=a,alias=b,link=db,\
            link=cache:c,driver-opt=k=v,\"driver-opt=list=1,2\",link-local-ip=169.254.1.1,gw-priority=-3,interface=net1";
        let long: Attachment = text.parse().unwrap();
        let wanted = EndpointSpec {
            network: "front".into(),
            ipv4_address: "10.0.0.9".into(),
            ipv6_address: "fd00::9".into(),
            mac_address: "02:00:00:00:00:09".into(),
            aliases: vec!["a".into(), "b".into()],
            links: vec![link("db").unwrap(), link("cache:c").unwrap()],
            link_local_addresses: vec!["169.254.1.1".into()],
            driver_options: [("k".into(), "v".into()), ("list".into(), "1,2".into())].into(),
            gateway_priority: -3,
            interface_name: "net1".into(),
        };
        assert_eq!(long.0, wanted);
    }

    #[test]
    fn n05_long_form_errors_name_the_field() {
        for (text, part) in [
            ("", "missing"),
            ("ip=10.0.0.9", "network name/id is not specified"),
            ("name=", "network name/id is not specified"),
            ("name=front,foo=1", "invalid field key \"foo\""),
            ("name=front,alias", "invalid field \"alias\""),
            ("name=front,ip=10.0.0", "ip=10.0.0"),
            ("name=front,ip6=10.0.0.1", "ip6=10.0.0.1"),
            ("name=front,gw-priority=x", "gw-priority"),
            ("name=front,link=a:", "links"),
            ("name=front,\"alias=a", "quote"),
        ] {
            let error = text.parse::<Attachment>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn n05_any_text_parses_or_says_why(text in "[a-z0-9=,\":.-]{0,30}|.{0,12}") {
            match text.parse::<Attachment>() {
                Ok(attachment) => prop_assert!(!attachment.0.network.is_empty()),
                Err(error) => prop_assert!(!error.is_empty()),
            }
        }
    }
}
