//! Forms of packets: options, extension headers, tags, no checksum, large.

use anyhow::{Context, Result, ensure};

use crate::nat::{
    Checks, Kind, Packet, Site, Transport, Verdict,
    exchange::{TRANSPORTS, mark},
    packet::Checksum,
};

/// IPv4 options and IPv6 destination options, out and back.
pub fn options(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let what = format!("{transport:?} over {}", ends.family());
            let options = if ends.a.is_ipv4() {
                vec![1, 1, 1, 0]
            } else {
                vec![1, 4, 0, 0, 0, 0]
            };
            let mut packet = site.packet(transport, (ends.a, 20_001), (ends.lan, 20_100));
            packet.options = options.clone();
            let Some(seen) = site.leaves(&site.a, &packet)? else {
                checks.that(format!("{what}: does not leave"), false);
                continue;
            };
            let whole = |seen: &Packet| seen.options == options && seen.checksum == Checksum::Right;
            checks.that(
                format!("{what}: leaves as {seen:?}"),
                whole(&seen) && seen.src == ends.host,
            );
            let outside = (seen.src, seen.ports().context("ports")?.0);
            let bytes = site.mark().to_be_bytes();
            let mut answer = match transport {
                Transport::Udp => Packet::udp((ends.lan, 20_100), outside, &bytes),
                Transport::Tcp => Packet::tcp(
                    (ends.lan, 20_100),
                    outside,
                    18,
                    (u32::from_be_bytes(bytes), 1),
                ),
                Transport::Echo => Packet::echo(ends.lan, ends.host, false, outside.1, &bytes),
            };
            answer.options = options.clone();
            let seen = site.enters(&site.a, &answer)?;
            checks.that(
                format!("{what}: enters as {seen:?}"),
                seen.is_some_and(|seen| whole(&seen) && seen.dst == ends.a),
            );
        }
    }
    Ok(checks.verdict())
}

/// A container's frames with an 802.1Q or 802.1ad tag: no VLAN behind the uplink hears of them.
pub fn tags(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for tag in [
            &[0x81, 0, 0, 42][..],
            &[0x88, 0xa8, 0, 42],
            &[0x88, 0xa8, 0, 42, 0x81, 0, 0, 43],
        ] {
            for transport in TRANSPORTS {
                let plain = site.packet(transport, (ends.a, 20_001), (ends.lan, 20_100));
                let passed = site.leaves(&site.a, &plain)?;
                ensure!(passed.is_some(), "nothing leaves untagged");
                let tagged = site.packet(transport, (ends.a, 20_001), (ends.lan, 20_100));
                let mut frame = site.a.frame(&tagged);
                frame.splice(12..12, tag.iter().copied());
                site.a.send_frame(&frame)?;
                site.fence(&site.a)?;
                let seen = site.lan.find(|seen| mark(seen) == mark(&tagged))?;
                checks.that(
                    format!("{transport:?} with tag {tag:x?} over {}", ends.family()),
                    seen.is_none(),
                );
            }
        }
    }
    Ok(checks.verdict())
}

/// RFC 768: no checksum is no checksum on the other side, too.
pub fn no_checksum(site: &Site) -> Result<Verdict> {
    let ends = site.ends()[0];
    let mut checks = Checks::new();
    let packet = site.packet(Transport::Udp, (ends.a, 20_001), (ends.lan, 20_100));
    let seen = site.leaves(&site.a, &packet.summed(Checksum::Absent))?;
    let seen = seen.context("a datagram without a checksum does not leave")?;
    checks.that("out", seen.checksum == Checksum::Absent);
    let outside = (seen.src, seen.ports().context("ports")?.0);
    let answer = site.packet(Transport::Udp, (ends.lan, 20_100), outside);
    let seen = site.enters(&site.a, &answer.summed(Checksum::Absent))?;
    checks.that(
        "back",
        seen.is_some_and(|seen| seen.checksum == Checksum::Absent),
    );
    Ok(checks.verdict())
}

/// What a kernel sends, not the test: checksums that a card would finish, and packets of several times 64 KiB that it
/// would cut ("BIG TCP"). The bytes must be the same on the other side.
pub fn large(site: &Site) -> Result<Verdict> {
    // Of IPv6 alone: those of IPv4 have limits of their own, which few versions of ip(8) can set.
    const SIZES: &str = "gso_max_size 180000 gro_max_size 180000";
    let mut checks = Checks::new();
    site.a.netns.ip(&format!("link set eth0 {SIZES}"))?;
    site.world.lan.ip(&format!("link set uplink {SIZES}"))?;
    let bridge: &[&str] = match site.kind {
        Kind::Netd => &[],
        Kind::Linux => &["br0", "va"],
    };
    for link in bridge.iter().chain(&["uplink"]) {
        site.world.host.ip(&format!("link set {link} {SIZES}"))?;
    }
    for ends in site.ends() {
        for inwards in [false, true] {
            let what = format!("{} {}", ends.family(), if inwards { "in" } else { "out" });
            let end = if inwards { &site.a } else { &site.lan };
            end.forget()?;
            let sums = transfer(site, ends.lan, inwards)?;
            checks.that(format!("{what}: {sums:?}"), sums[0] == sums[1]);
            let longest = end.longest()?;
            checks.that(
                format!("{what}: the longest packet had {longest} bytes"),
                ends.lan.is_ipv4() || longest > 65_600,
            );
        }
    }
    Ok(checks.verdict())
}

/// One connection from the container to the LAN machine that moves 64 MB; what each end says of the bytes.
fn transfer(site: &Site, to: std::net::IpAddr, inwards: bool) -> Result<[String; 2]> {
    let (server, client) = if inwards {
        ("give", "take")
    } else {
        ("take", "give")
    };
    let script = |mode: &str, socket: &str| {
        format!(
            "import hashlib, random, socket\n\
             {socket}\n\
             h = hashlib.sha256()\n\
             if '{mode}' == 'give':\n\
             \x20   data = random.Random(7).randbytes(1 << 20)\n\
             \x20   for _ in range(64):\n\
             \x20       s.sendall(data); h.update(data)\n\
             \x20   s.shutdown(socket.SHUT_WR)\n\
             else:\n\
             \x20   while data := s.recv(1 << 20): h.update(data)\n\
             print(h.hexdigest(), flush=True)\n"
        )
    };
    let family = if to.is_ipv4() { "AF_INET" } else { "AF_INET6" };
    let listen = format!(
        "l = socket.socket(socket.{family}); l.setsockopt(1, 2, 1); l.bind(('{to}', 7300)); l.listen()\n\
         print('ready', flush=True)\ns, _ = l.accept()"
    );
    let connect = format!("s = socket.create_connection(('{to}', 7300), timeout=20)");
    let python = "/usr/bin/python3";
    let mut server = site
        .world
        .lan_scope()
        .spawn(&[python, "-c", &script(server, &listen)])?;
    ensure!(server.line()? == "ready", "the server did not start");
    let client = site
        .a
        .scope
        .run(&[python, "-c", &script(client, &connect)])?;
    ensure!(client.ok, "the client: {}", client.text());
    let server = server.finish()?;
    Ok([server.stdout.trim().into(), client.stdout.trim().into()])
}
