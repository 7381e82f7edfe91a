//! Addresses and ports as they stand in packets and maps. The byte order is part of each type.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// Zero, in either order.
    pub const ZERO: Self = Self(0);

    /// From a number of the host's order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// From the two bytes of a packet.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// As a number of the host's order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The two bytes as they stand in a packet.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }
}

/// An IPv4 or IPv6 address, 16 bytes in network order; IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
///
/// Four words instead of one `u128`, which eBPF lacks; aligned to 4 so that it packs into map keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash)]
#[repr(transparent)]
pub struct Addr([u32; 4]);

const V4_MARK: u32 = 0x0000_ffff_u32.to_be();

impl Addr {
    /// `::`, which also stands for "none".
    pub const UNSPECIFIED: Self = Self([0; 4]);
    /// `0.0.0.0` in its mapped form.
    pub const UNSPECIFIED_V4: Self = Self([0, 0, V4_MARK, 0]);
    /// `127.0.0.1` in its mapped form.
    pub const LOCALHOST_V4: Self = Self([0, 0, V4_MARK, 0x7f00_0001_u32.to_be()]);
    /// `::1`.
    pub const LOCALHOST_V6: Self = Self([0, 0, 0, 1_u32.to_be()]);

    /// Clouds' metadata service over IPv4: 169.254.169.254.
    pub const METADATA_V4: Self = Self([0, 0, V4_MARK, 0xa9fe_a9fe_u32.to_be()]);
    /// Clouds' metadata service over IPv6: fd00:ec2::254.
    pub const METADATA_V6: Self = Self([0xfd00_0ec2_u32.to_be(), 0, 0, 0x254_u32.to_be()]);

    /// Stands in `PUBLICATIONS` for an endpoint's own ports of one family: an unassigned address, which no host has.
    #[inline(always)]
    pub const fn own_ports(endpoint: u32, v4: bool) -> Self {
        let family = if v4 { 0xffff_fffe_u32 } else { 0xffff_fffd };
        Self([0, 0, family.to_be(), endpoint])
    }

    /// From the four bytes of an IPv4 header's address field.
    #[inline(always)]
    pub const fn from_v4_bytes(b: [u8; 4]) -> Self {
        Self([0, 0, V4_MARK, u32::from_ne_bytes(b)])
    }

    /// From the four words of network order that `bpf_sock_addr` and `bpf_fib_lookup` use.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// From one IPv4 word of network order.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, V4_MARK, word])
    }

    /// The four words, each of network order.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The IPv4 address as one word of network order; meaningless unless [`Addr::is_v4`].
    #[inline(always)]
    pub const fn v4_word(self) -> u32 {
        self.0[3]
    }

    /// From the sixteen bytes of an IPv6 header's address field.
    #[inline(always)]
    pub const fn from_v6_bytes(b: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ])
    }

    /// The IPv4 bytes; meaningless unless [`Addr::is_v4`].
    #[inline(always)]
    pub const fn v4_bytes(self) -> [u8; 4] {
        self.0[3].to_ne_bytes()
    }

    /// The sixteen bytes in network order.
    #[inline(always)]
    pub const fn v6_bytes(self) -> [u8; 16] {
        let a = self.0[0].to_ne_bytes();
        let b = self.0[1].to_ne_bytes();
        let c = self.0[2].to_ne_bytes();
        let d = self.0[3].to_ne_bytes();
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }

    /// Whether this is an IPv4 address in its mapped form.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == V4_MARK
    }

    /// Whether this is `0.0.0.0` or `::`.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.0[3] == 0
            && self.0[0] == 0
            && self.0[1] == 0
            && (self.0[2] == 0 || self.0[2] == V4_MARK)
    }

    /// Whether this is in `127.0.0.0/8` or is `::1`.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        if self.is_v4() {
            self.v4_bytes()[0] == 127
        } else {
            self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && self.0[3] == 1_u32.to_be()
        }
    }

    /// Whether this is in `224.0.0.0/4`, in `ff00::/8`, or is the limited broadcast address.
    #[inline(always)]
    pub const fn is_multicast_or_broadcast(self) -> bool {
        if self.is_v4() {
            let b = self.v4_bytes();
            b[0] & 0xf0 == 0xe0 || self.0[3] == u32::MAX
        } else {
            self.0[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Whether this is in `fe80::/10` or `169.254.0.0/16`.
    #[inline(always)]
    pub const fn is_link_local(self) -> bool {
        if self.is_v4() {
            let b = self.v4_bytes();
            b[0] == 169 && b[1] == 254
        } else {
            let b = self.0[0].to_ne_bytes();
            b[0] == 0xfe && b[1] & 0xc0 == 0x80
        }
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(a: Ipv4Addr) -> Self {
        Self::from_v4_bytes(a.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(a: Ipv6Addr) -> Self {
        Self::from_v6_bytes(a.octets())
    }
}

impl From<IpAddr> for Addr {
    fn from(a: IpAddr) -> Self {
        match a {
            IpAddr::V4(a) => a.into(),
            IpAddr::V6(a) => a.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(a: Addr) -> Self {
        if a.is_v4() {
            Self::V4(a.v4_bytes().into())
        } else {
            Self::V6(a.v6_bytes().into())
        }
    }
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The IPv6 link-local address that the kernel makes of an Ethernet address (modified EUI-64, RFC 4291, appendix A).
pub const fn link_local_of(mac: Mac) -> Addr {
    Addr::from_v6_bytes([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        mac[0] ^ 2,
        mac[1],
        mac[2],
        0xff,
        0xfe,
        mac[3],
        mac[4],
        mac[5],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_bytes() {
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(IpAddr::from(Addr::from(v4)), v4);
        assert_eq!(IpAddr::from(Addr::from(v6)), v6);
        assert_eq!(Addr::from(v4).v4_bytes(), [192, 0, 2, 7]);
        assert_eq!(Be16::new(0x1234).to_bytes(), [0x12, 0x34]);
    }

    #[test]
    fn classes_of_addresses() {
        let a = |s: &str| Addr::from(s.parse::<IpAddr>().unwrap());
        assert!(a("127.1.2.3").is_loopback() && a("::1").is_loopback());
        assert!(!a("::127.0.0.1").is_loopback() && !a("128.0.0.1").is_loopback());
        assert!(a("0.0.0.0").is_unspecified() && a("::").is_unspecified());
        assert!(!a("::ffff").is_unspecified());
        assert!(
            a("224.0.0.1").is_multicast_or_broadcast()
                && a("255.255.255.255").is_multicast_or_broadcast()
        );
        assert!(
            a("ff02::1").is_multicast_or_broadcast() && !a("fe80::1").is_multicast_or_broadcast()
        );
        assert!(a("fe80::1").is_link_local() && a("169.254.169.254").is_link_local());
        assert!(!a("fec0::1").is_link_local());
        assert_eq!(
            link_local_of([2, 0x42, 0xac, 0x12, 0, 2]),
            a("fe80::42:acff:fe12:2")
        );
    }
}
