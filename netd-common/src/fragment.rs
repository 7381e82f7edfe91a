//! Later fragments have no ports: those of the first one are remembered (RFC 4787, REQ-14). A later fragment that comes before
//! the first one waits for it: it is given back to the interface that it came by, again and again, for a moment. So
//! nothing is lost where a link swaps packets, and nothing is kept.

use crate::{
    abi::{FragmentKey, FragmentPorts, HOST_SLOT, fragment},
    drop_reason::DropReason,
    packet::{Class, Headers},
    tables::Tables,
};

/// How long a datagram's fragments are waited for, nanoseconds (Linux' `ipfrag_time`): its identification is used again.
const LIFE: u64 = 30_000_000_000;

/// How long later fragments wait for the first one, nanoseconds, as far as [`Tables::may_hold`] lets them: waiting costs a processor's
/// time.
const HOLD: u64 = 20_000_000;

#[inline(always)]
fn key_of(h: &Headers, endpoint: u32) -> FragmentKey {
    FragmentKey {
        src: h.src,
        dst: h.dst,
        id: h.fragment_id,
        endpoint,
        protocol: if h.v4 { h.protocol } else { 0 },
        pad: [0; 3],
    }
}

/// What is to be done with a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Fragment {
    /// Its ports are known, or it is none.
    Whole = 0,
    /// It waits.
    Again = 1,
    /// The first one did not come in time.
    Missed = 2,
}

/// Fills in the ports of a later fragment. `slot`: of the endpoint that sent it, 0 for outside.
#[inline(always)]
pub fn ports<T: Tables>(t: &T, h: &mut Headers, endpoint: u32, slot: u32) -> Fragment {
    if h.class == Class::LaterFragment {
        later(t, h, endpoint, slot)
    } else {
        Fragment::Whole
    }
}

/// Remembers the ports of a first fragment of a flow. `slot`: of the endpoint that sent it, or that it goes to. `Fragment`: later
/// ones have been given up, so this one would be of no use; or one datagram too many.
#[inline(always)]
pub fn remember<T: Tables>(t: &T, h: &Headers, endpoint: u32, slot: u32) -> Result<(), DropReason> {
    if h.fragmented && h.class != Class::LaterFragment && !first(t, h, endpoint, slot) {
        return Err(DropReason::Fragment);
    }
    Ok(())
}

/// Remembers the ports of a first fragment that belongs to no flow, as far as there is room: its later ones shall not wait.
#[inline(never)]
pub fn note<T: Tables>(t: &T, h: &Headers, endpoint: u32) {
    if h.fragmented && h.class != Class::LaterFragment {
        first(t, h, endpoint, HOST_SLOT);
    }
}

/// As [`ports`], on a device that swaps no packets: what has no first fragment by now gets none. False: there is none.
#[inline(never)]
pub fn ports_in_order<T: Tables>(t: &T, h: &mut Headers, endpoint: u32) -> bool {
    if h.class != Class::LaterFragment {
        note(t, h, endpoint);
        return true;
    }
    match t.fragment(&key_of(h, endpoint)) {
        Some(found)
            if found.state == fragment::KNOWN && t.instant().wrapping_sub(found.seen) < LIFE =>
        {
            fill(h, &found);
            true
        }
        _ => false,
    }
}

#[inline(always)]
fn fill(h: &mut Headers, found: &FragmentPorts) {
    h.sport = found.sport;
    h.dport = found.dport;
    h.protocol = found.protocol;
}

#[inline(never)]
fn later<T: Tables>(t: &T, h: &mut Headers, endpoint: u32, slot: u32) -> Fragment {
    let now = t.instant();
    let key = key_of(h, endpoint);
    let found = t.fragment(&key);
    // What an endpoint sends to the host or to a neighbour is theirs to put together.
    let waits = endpoint == 0 || (t.host_address(h.dst).is_none() && t.subnet(h.dst).is_none());
    if let Some(found) = found
        && now.wrapping_sub(found.seen) < LIFE
    {
        match found.state {
            fragment::KNOWN => {
                fill(h, &found);
                return Fragment::Whole;
            }
            fragment::AWAITED if now.wrapping_sub(found.seen) < HOLD && t.may_hold(slot) => {
                return Fragment::Again;
            }
            fragment::AWAITED => {}
            _ => return Fragment::Missed,
        }
    } else if h.ttl <= 1 || !waits {
        // It goes no further, and says nothing of the others.
        return Fragment::Missed;
    } else if t.may_hold(slot) {
        t.insert_fragment(&key, &waiting(now, fragment::AWAITED));
        return Fragment::Again;
    }
    t.insert_fragment(&key, &waiting(now, fragment::MISSED));
    Fragment::Missed
}

#[inline(always)]
fn waiting(now: u64, state: u8) -> FragmentPorts {
    FragmentPorts {
        seen: now,
        state,
        ..FragmentPorts::default()
    }
}

#[inline(never)]
fn first<T: Tables>(t: &T, h: &Headers, endpoint: u32, slot: u32) -> bool {
    let now = t.instant();
    let key = key_of(h, endpoint);
    let missed = t
        .fragment(&key)
        .is_some_and(|f| f.state == fragment::MISSED && now.wrapping_sub(f.seen) < LIFE);
    if missed || !t.may_remember(slot) {
        return false;
    }
    let ports = FragmentPorts {
        seen: now,
        sport: h.sport,
        dport: h.dport,
        protocol: h.protocol,
        state: fragment::KNOWN,
        pad: [0; 2],
    };
    t.insert_fragment(&key, &ports);
    true
}
