//! The subprograms: BPF global functions (Linux 5.6), which the verifier checks once, by themselves, however often they are
//! called; what begins a flow tries many ports in a loop. They look up this CPU's work space by themselves: of a pointer to it
//! that is an argument, Linux before 6.2 does not know that it points into a map, and refuses it as a key.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use netd_common::{
    conntrack::{expire, insert, lifetime::Pressure},
    drop_reason::DropReason,
    nat::port_allocation,
    subprograms::{Subprograms, Written},
    work::Work,
};

use crate::{kernel::Kernel, lookup, maps};

// What the functions return, where it is no reason.
const NO: u32 = 1 << 16;
const YES: u32 = 1 << 17;
const BLOCKED: u32 = 1 << 18;

/// This CPU's work space, which the caller has lent.
#[inline(always)]
fn room() -> Option<&'static mut Work> {
    let room = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the entry has one user at a time, see `scratch`; that one has lent it (`lend`) and does not touch it before
    // the subprogram returns.
    Some(unsafe { &mut *room })
}

/// Tells the compiler that a subprogram reads and writes the work space, of which it sees no pointer go there.
#[inline(always)]
fn lend(w: &mut Work) {
    core::hint::black_box(w);
}

#[inline(always)]
fn reason<T>(number: u32) -> Result<T, DropReason> {
    Err(DropReason::from_number(number).unwrap_or(DropReason::Unsupported))
}

impl Subprograms for Kernel<'_> {
    #[inline(always)]
    fn visit(&self, w: &mut Work) -> bool {
        lend(w);
        global_visit() == YES
    }

    #[inline(always)]
    fn write_pair(&self, w: &mut Work, adopted: bool) -> Result<Written, DropReason> {
        lend(w);
        match global_write_pair(u32::from(adopted)) {
            YES => Ok(Written::New),
            NO => Ok(Written::Exists),
            BLOCKED => Ok(Written::Blocked),
            refused => reason(refused),
        }
    }

    #[inline(always)]
    fn displace(&self, w: &mut Work, pressure: Pressure) -> Result<bool, DropReason> {
        lend(w);
        match global_displace(pressure.shift()) {
            YES => Ok(true),
            NO => Ok(false),
            refused => reason(refused),
        }
    }

    #[inline(always)]
    fn try_port(&self, w: &mut Work, number: u32) -> bool {
        lend(w);
        global_try_port(number) == YES
    }

    #[inline(always)]
    fn undo_mapping(&self, w: &mut Work) {
        lend(w);
        global_undo_mapping();
    }

    #[inline(always)]
    fn has_socket(&self, w: &mut Work) -> bool {
        self.0.is_some_and(|context| {
            lend(w);
            global_has_socket(context.skb.skb) == YES
        })
    }
}

#[inline(always)]
const fn yes_or_no(yes: bool) -> u32 {
    if yes { YES } else { NO }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_visit() -> u32 {
    match room() {
        Some(w) => yes_or_no(expire::visit(&Kernel(None), w)),
        None => NO,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_write_pair(adopted: u32) -> u32 {
    let Some(w) = room() else {
        return DropReason::Unsupported as u32;
    };
    match insert::write_pair(&Kernel(None), w, adopted != 0) {
        Ok(Written::New) => YES,
        Ok(Written::Exists) => NO,
        Ok(Written::Blocked) => BLOCKED,
        Err(reason) => reason as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_displace(shift: u32) -> u32 {
    let Some(w) = room() else {
        return DropReason::Unsupported as u32;
    };
    match insert::displace(&Kernel(None), w, Pressure::from_shift(shift)) {
        Ok(same) => yes_or_no(same),
        Err(reason) => reason as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_try_port(number: u32) -> u32 {
    match room() {
        Some(w) => yes_or_no(port_allocation::try_port(&Kernel(None), w, number)),
        None => NO,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_undo_mapping() -> u32 {
    if let Some(w) = room() {
        port_allocation::undo_mapping(&Kernel(None), w);
    }
    YES
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn global_has_socket(skb: *mut __sk_buff) -> u32 {
    let context = TcContext::new(skb);
    match room() {
        Some(w) => yes_or_no(lookup::has_socket(&context, &w.socket)),
        None => NO,
    }
}
