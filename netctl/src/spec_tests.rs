//! C01: forms of a port specification, good and bad, and properties of the parser.

use proptest::prelude::*;

use super::*;

fn spec(text: &str) -> Spec {
    text.parse().unwrap()
}

#[test]
fn c01_forms() {
    for (text, printed) in [
        ("80", "80/tcp"),
        (":80", "80/tcp"),
        ("0:80", "80/tcp"),
        ("8080:80", "8080:80/tcp"),
        ("8080:80/UDP", "8080:80/udp"),
        ("9000-9002:7000-7002/sctp", "9000-9002:7000-7002/sctp"),
        ("7000-7002", "7000-7002/tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
        ("127.0.0.1::80", "127.0.0.1::80/tcp"),
        ("[::1]:8080:80", "[::1]:8080:80/tcp"),
        ("[::]::80", "[::]::80/tcp"),
        ("8000-8002:80", "8000-8002:80/tcp"),
        ("0.0.0.0:1-65535:1-65535", "0.0.0.0:1-65535:1-65535/tcp"),
    ] {
        assert_eq!(spec(text).to_string(), printed, "{text}");
    }
    let message = PortSpec::from(spec("80"));
    assert_eq!(
        (message.host_port, message.port, message.count),
        (None, 80, 1)
    );
    let message = PortSpec::from(spec("9000-9002:7000-7002"));
    assert_eq!(
        (message.host_port, message.port, message.count),
        (Some(9000), 7000, 3)
    );
    assert_eq!(message.host_port_last, None);
    let message = PortSpec::from(spec("9000-9002:70"));
    assert_eq!(
        (message.host_port, message.host_port_last, message.count),
        (Some(9000), Some(9002), 1)
    );
}

#[test]
fn c01_errors_name_the_part() {
    for (text, part) in [
        ("", "sandbox port"),
        ("8080:", "sandbox port"),
        ("80:0", "sandbox port"),
        ("80:80:", "sandbox port"),
        ("99999:80", "host port"),
        ("0x50:80", "host port"),
        ("+80:80", "host port"),
        ("-80:80", "host port"),
        ("90-80:80", "host port"),
        ("80-:80", "host port"),
        ("8000-8002:80-81", "ranges"),
        ("host:80:80", "host ip"),
        ("1.2.3:80:80", "host ip"),
        ("::1:8080:80", "host ip"),
        ("[::1:8080:80", "host ip"),
        ("[127.0.0.1]:8080:80", "host ip"),
        ("[::1]8080:80", "host ip"),
        ("[::1]:80", "host ip"),
        ("80:80/icmp", "protocol"),
        ("80:80/", "protocol"),
        ("80/tcp/udp", "protocol"),
    ] {
        let error = text.parse::<Spec>().unwrap_err();
        assert_eq!(error.part, part, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let ip = prop_oneof![
        Just(None),
        any::<[u8; 4]>().prop_map(|ip| Some(ip.into())),
        any::<[u8; 16]>().prop_map(|ip| Some(ip.into())),
    ];
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ];
    let ports =
        (1u16.., 1u16.., any::<u16>(), any::<bool>()).prop_map(|(host, port, more, set)| {
            let more = more.min(u16::MAX - host).min(u16::MAX - port);
            (set.then_some((host, host + more)), (port, port + more))
        });
    (ip, ports, protocol).prop_map(|(host_ip, (host, port), protocol)| Spec {
        host_ip,
        host,
        port,
        protocol,
    })
}

proptest! {
    #[test]
    fn c01_printed_specs_parse_to_themselves(wanted in any_spec()) {
        prop_assert_eq!(wanted.to_string().parse::<Spec>(), Ok(wanted));
    }

    #[test]
    fn c01_any_text_parses_or_says_why(text in "[0-9a-f:.\\[\\]/tcpu-]{0,24}|.{0,12}") {
        match text.parse::<Spec>() {
            Ok(spec) => {
                prop_assert!(spec.port.0 >= 1 && spec.port.0 <= spec.port.1);
                prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
            }
            Err(error) => prop_assert!(error.to_string().contains(error.part)),
        }
    }
}
