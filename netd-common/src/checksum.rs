//! Internet checksums (RFC 1071) and their incremental update (RFC 1624).
//!
//! A "difference" is a 32-bit one's complement sum of what was added less what was taken away, as
//! `bpf_l4_csum_replace` takes it; the order of bytes is that of the packet.

use crate::addr::{Addr, Be16, Mac};

/// Folds a sum into 32 bits, carries added back.
#[inline(always)]
pub const fn fold32(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

/// Folds a sum into 16 bits, carries added back.
#[inline(always)]
pub const fn fold16(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The difference that replacing one address by another makes.
#[inline(always)]
pub const fn address_difference(old: Addr, new: Addr) -> u32 {
    let o = old.words();
    let n = new.words();
    let mut sum = (!o[0]) as u64 + (!o[1]) as u64 + (!o[2]) as u64 + (!o[3]) as u64;
    sum += n[0] as u64 + n[1] as u64 + n[2] as u64 + n[3] as u64;
    fold32(sum)
}

/// The difference that replacing one 16-bit field by another makes.
#[inline(always)]
pub const fn field_difference(old: Be16, new: Be16) -> u32 {
    let o = u16::from_ne_bytes(old.to_bytes());
    let n = u16::from_ne_bytes(new.to_bytes());
    (!o) as u32 + n as u32
}

/// Adds two differences.
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    fold32(a as u64 + b as u64)
}

/// The checksum field after a change of `difference` (RFC 1624, equation 3).
#[inline(always)]
pub const fn update(field: [u8; 2], difference: u32) -> [u8; 2] {
    let old = u16::from_ne_bytes(field);
    let sum = fold32((!old) as u64 + difference as u64);
    (!fold16(sum)).to_ne_bytes()
}

/// The one's complement sum of an address.
#[inline(always)]
pub const fn address_sum(addr: Addr) -> u32 {
    let w = addr.words();
    fold32(w[0] as u64 + w[1] as u64 + w[2] as u64 + w[3] as u64)
}

/// The one's complement sum of an Ethernet address.
#[inline(always)]
pub const fn mac_sum(m: Mac) -> u32 {
    u16::from_ne_bytes([m[0], m[1]]) as u32
        + u16::from_ne_bytes([m[2], m[3]]) as u32
        + u16::from_ne_bytes([m[4], m[5]]) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut s = 0u32;
        for c in bytes.chunks(2) {
            s += u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]));
        }
        while s > 0xffff {
            s = (s & 0xffff) + (s >> 16);
        }
        !(s as u16)
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(mut data: [u8; 40], new: [u8; 16], port: [u8; 2]) {
            data[0] |= 1; // RFC 1624: an all-zero sum has two representations
            data[2..4].fill(0);
            let c = naive(&data);
            data[2..4].copy_from_slice(&c.to_be_bytes());
            let old = Addr::from_v6_bytes(data[8..24].try_into().unwrap());
            let old_port = Be16::from_bytes(data[30..32].try_into().unwrap());
            let d = add(address_difference(old, Addr::from_v6_bytes(new)), field_difference(old_port, Be16::from_bytes(port)));
            data[8..24].copy_from_slice(&new);
            data[30..32].copy_from_slice(&port);
            let field = update([data[2], data[3]], d);
            data[2..4].fill(0);
            prop_assert_eq!(u16::from_be_bytes(field), naive(&data));
        }
    }
}
