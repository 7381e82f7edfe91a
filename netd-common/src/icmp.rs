//! ICMP errors that the host makes about what it refuses. The packet itself becomes the error.

use crate::{
    abi::ErrorBudget,
    addr::Addr,
    checksum::{address_sum, fold16, fold32},
    drop_reason::DropReason,
    packet::{Class, ETHERNET, Headers, Packet, protocol},
    tables::Tables,
    work::{Work, forget},
};

/// Of the packet, an IPv4 error quotes no more than this: with its own headers not above 576 bytes (RFC 1812, 4.3.2.3).
const QUOTE_V4: u32 = 544;
/// As [`QUOTE_V4`]: not above the smallest MTU of 1280 bytes (RFC 4443, 2.4 c).
const QUOTE_V6: u32 = 1232;
/// Pieces of 16 bytes in the longest quote.
const PIECES: u32 = QUOTE_V6 / 16;
/// TTL or hop limit of an error.
const TTL: u8 = 64;

/// Errors that one endpoint may cause on one CPU in [`WINDOW`] (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f).
const BURST: u32 = 100;
/// Nanoseconds.
const WINDOW: u64 = 100_000_000;

impl ErrorBudget {
    /// Takes one error at `now` (CLOCK_MONOTONIC, nanoseconds), if there is one left.
    #[inline(always)]
    pub fn take(&mut self, now: u64) -> bool {
        if now.wrapping_sub(self.began) >= WINDOW {
            self.began = now;
            self.used = 0;
        }
        if self.used >= BURST {
            self.withheld += 1;
            return false;
        }
        self.used += 1;
        self.sent += 1;
        true
    }
}

/// Whether a container is told of a refusal, if the packet is one to send an error about.
#[inline(always)]
pub const fn tells(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::TooBig
            | DropReason::TtlExceeded
            | DropReason::NoRoute
            | DropReason::NoUplinkAddress
            | DropReason::NoPort
            | DropReason::Quota
            | DropReason::FlowTableFull
            | DropReason::FlowConflict
            | DropReason::Metadata
    )
}

/// Type, code and number of the error for a reason.
#[inline(always)]
fn message(reason: DropReason, limit: u32, v4: bool) -> [u32; 3] {
    match (reason, v4) {
        (DropReason::TooBig, true) => [3, 4, if limit > 0xffff { 0xffff } else { limit }],
        (DropReason::TooBig, false) => [2, 0, limit],
        (DropReason::TtlExceeded, true) => [11, 0, 0],
        (DropReason::TtlExceeded, false) => [3, 0, 0],
        // Network unreachable; no route to destination.
        (DropReason::NoRoute | DropReason::NoUplinkAddress, true) => [3, 0, 0],
        (DropReason::NoRoute | DropReason::NoUplinkAddress, false) => [1, 0, 0],
        // Communication administratively prohibited (RFC 5508, REQ-8).
        (_, true) => [3, 13, 0],
        (_, false) => [1, 1, 0],
    }
}

/// Makes the packet `w.h`, which was refused for `reason`, the error that tells its sender, from `w.answer`. Gives the
/// reason back where there is to be no error: then the packet is dropped, whatever it looks like by now.
#[inline(never)]
pub fn answer<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    slot: u32,
    reason: DropReason,
    w: &mut Work,
) -> Result<(), DropReason> {
    if !deserves(p, w, reason) || !t.may_answer(slot) || build(p, reason, w).is_none() {
        return Err(reason);
    }
    Ok(())
}

/// Whether a packet is one to send an error about (RFC 1122, 3.2.2; RFC 4443, 2.4 e). The caller has judged its source.
#[inline(always)]
fn deserves<P: Packet>(p: &P, w: &Work, reason: DropReason) -> bool {
    let h = &w.h;
    if !matches!(h.class, Class::Plain | Class::Echo)
        || w.answer.is_unspecified()
        || h.src.is_unspecified()
        || h.dst.is_multicast_or_broadcast()
        || (reason == DropReason::TooBig && w.limit == 0)
    {
        return false;
    }
    // Sent to many by its Ethernet address.
    h.l3 != ETHERNET || matches!(p.load::<1>(0), Some([first]) if first & 1 == 0)
}

/// Bytes of the IP packet that the error quotes: without what the link added behind it.
#[inline(always)]
fn quoted<P: Packet>(p: &P, h: &Headers) -> Option<u32> {
    let available = p.len() - h.l3;
    let (field, extra, most) = if h.v4 {
        (2, 0, QUOTE_V4)
    } else {
        (4, 40, QUOTE_V6)
    };
    let said = u32::from(u16::from_be_bytes(p.load(h.l3 + field)?)) + extra;
    // A packet above 64 KiB says 0.
    let whole = if said > extra && said < available {
        said
    } else {
        available
    };
    Some(if whole > most { most } else { whole })
}

#[inline(always)]
fn build<P: Packet>(p: &mut P, reason: DropReason, w: &mut Work) -> Option<()> {
    let h = &w.h;
    let keep = quoted(p, h)?;
    let headers = if h.v4 { 28 } else { 48 };
    p.quote(h.l3, keep, headers)?;
    let quote = sum(p, h.l3 + headers, keep, &mut w.cell)?;
    if h.l3 == ETHERNET {
        let m: [u8; 12] = p.load(0)?;
        p.store(
            0,
            &[
                m[6], m[7], m[8], m[9], m[10], m[11], m[0], m[1], m[2], m[3], m[4], m[5],
            ],
        )?;
    }
    // An IPv4 packet without DF should rather be cut into fragments, which a program cannot do; its sender may as well
    // learn the MTU (RFC 1191).
    let message = message(reason, w.limit, h.v4);
    let length = (8 + keep) as u16;
    if h.v4 {
        ip_v4(p, h, w.answer, length + 20)?;
        message_at(p, h.l3 + 20, message, quote)
    } else {
        p.store_words(
            h.l3,
            &[
                0x6000_0000_u32.to_be(),
                (u32::from(length) << 16 | u32::from(protocol::ICMPV6) << 8 | u32::from(TTL))
                    .to_be(),
            ],
        )?;
        p.store_words(h.l3 + 8, &w.answer.words())?;
        p.store_words(h.l3 + 24, &h.src.words())?;
        let pseudo = u64::from(address_sum(w.answer))
            + u64::from(address_sum(h.src))
            + u64::from(u32::from(length).to_be())
            + u64::from(u32::from(protocol::ICMPV6).to_be());
        message_at(p, h.l3 + 40, message, fold32(u64::from(quote) + pseudo))
    }
}

/// The IPv4 header, with Linux' type of service for errors (internetwork control).
#[inline(always)]
fn ip_v4<P: Packet>(p: &mut P, h: &Headers, from: Addr, length: u16) -> Option<()> {
    let mut words = [
        (0x45c0_0000 | u32::from(length)).to_be(),
        0,
        (u32::from(TTL) << 24 | u32::from(protocol::ICMP) << 16).to_be(),
        from.v4_word(),
        h.src.v4_word(),
    ];
    let sum = fold32(
        u64::from(words[0]) + u64::from(words[2]) + u64::from(words[3]) + u64::from(words[4]),
    );
    let sum = (!fold16(sum)).to_ne_bytes();
    words[2] |= u32::from_ne_bytes([0, 0, sum[0], sum[1]]);
    p.store_words(h.l3, &words)
}

/// The error's own header: type, code and a number of 32 bits; `rest` is the sum of what follows and of a pseudo header.
#[inline(always)]
fn message_at<P: Packet>(p: &mut P, at: u32, message: [u32; 3], rest: u32) -> Option<()> {
    let [kind, code, number] = message;
    let first = (kind << 24 | code << 16).to_be();
    let sum = fold32(u64::from(first) + u64::from(number.to_be()) + u64::from(rest));
    let sum = (!fold16(sum)).to_ne_bytes();
    let first = first | u32::from_ne_bytes([0, 0, sum[0], sum[1]]);
    p.store_words(at, &[first, number.to_be()])
}

/// The one's complement sum of `length` bytes at `at`, which stand at an even place of what is summed up.
#[inline(always)]
fn sum<P: Packet>(p: &P, at: u32, length: u32, cell: &mut u32) -> Option<u32> {
    let end = forget(cell, at + length);
    let mut at = forget(cell, at);
    let mut sum = 0;
    let mut i = 0;
    while i < PIECES {
        if at + 16 > end {
            break;
        }
        let w: [u32; 4] = p.load_words(at)?;
        sum = fold32(
            u64::from(sum) + u64::from(w[0]) + u64::from(w[1]) + u64::from(w[2]) + u64::from(w[3]),
        );
        sum = forget(cell, sum);
        at = forget(cell, at + 16);
        i += 1;
    }
    i = 0;
    while i < 8 {
        if at + 2 > end {
            break;
        }
        sum = fold32(u64::from(sum) + u64::from(u16::from_ne_bytes(p.load(at)?)));
        sum = forget(cell, sum);
        at = forget(cell, at + 2);
        i += 1;
    }
    if at < end {
        let [last] = p.load(at)?;
        sum = fold32(u64::from(sum) + u64::from(u16::from_ne_bytes([last, 0])));
    }
    Some(sum)
}
