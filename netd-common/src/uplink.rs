//! `from_uplink`: what arrives on the host's own interfaces. What no map says is netd's passes untouched.

use crate::{
    abi::network_flags,
    addr::Addr,
    begin,
    drop_reason::DropReason,
    flow,
    packet::{Class, Packet, parse},
    tables::{Tables, Verdict, Work},
};

/// Judges one IP packet that arrived on the uplink `ifindex`; `l3`: offset of its IP header (0 on interfaces without
/// Ethernet).
#[inline(always)]
pub fn from_uplink<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    l3: u32,
    v4: bool,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    // What cannot be read is not ours: the stack has its own checks.
    if parse(p, l3, v4, false, &mut w.h).is_err() {
        return Ok(Verdict::Pass);
    }
    if matches!(w.h.class, Class::Discovery | Class::Membership)
        || w.h.dst.is_multicast_or_broadcast()
    {
        return Ok(Verdict::Pass);
    }
    if w.h.class == Class::Error {
        if parse(p, w.h.l4 + 8, v4, true, &mut w.inner).is_err() {
            return Ok(Verdict::Pass);
        }
        // The packet inside left with an address of the host: the error must come back to that one.
        if w.inner.src == w.h.dst && flow::find_inner(t, w, 0) {
            return flow::forward_error(p, t, ifindex, w);
        }
    } else {
        let whole = flow::fragments(t, &mut w.h, 0);
        if whole.is_ok() && flow::find(t, w, 0) {
            return flow::forward(p, t, ifindex, w);
        }
    }
    if let Some(host) = t.host_address(w.h.dst) {
        if host.flags & network_flags::INTERNAL != 0 {
            return Err(DropReason::Internal);
        }
        let Some(found) = begin::publication(t, &w.h).filter(|found| found.addr.is_v4() == v4)
        else {
            return Ok(Verdict::Pass);
        };
        // From outside nobody may speak with the host's own or a container's voice.
        if w.h.src.is_loopback()
            || w.h.src.is_unspecified()
            || w.h.src.is_multicast_or_broadcast()
            || t.host_address(w.h.src).is_some()
            || t.subnet(w.h.src).is_some()
        {
            return Err(DropReason::SpoofedAddress);
        }
        begin::begin_published(t, &found, 0, &Addr::UNSPECIFIED, w)?;
        return flow::forward(p, t, ifindex, w);
    }
    if t.subnet(w.h.dst).is_some() {
        return Err(DropReason::NotPublished);
    }
    Ok(Verdict::Pass)
}
