//! A socket buffer as `netd_common` sees packets.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_F_INVALIDATE_HASH, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use core::mem::MaybeUninit;
use netd_common::packet::Packet;

/// Bytes taken off the front of a packet to be quoted: more than its IP header (with IPv6's rarer extensions and IPv4's
/// fullest options the checksum is the device's business after all).
const TAKEN: u32 = 64;

/// A socket buffer at a TC hook.
pub struct Skb<'a>(pub &'a TcContext);

impl Packet for Skb<'_> {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: the context's pointer is valid while the program runs.
        unsafe { (*self.0.skb.skb).gso_size }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes or fails; it fails beyond the packet's end.
        unsafe {
            if bpf_skb_load_bytes(self.0.as_ptr(), offset, bytes.as_mut_ptr().cast(), N as u32) == 0
            {
                Some(bytes.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        // SAFETY: the helper writes 4 N bytes or fails; it fails beyond the packet's end.
        unsafe {
            if bpf_skb_load_bytes(
                self.0.as_ptr(),
                offset,
                words.as_mut_ptr().cast(),
                4 * N as u32,
            ) == 0
            {
                Some(words.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Option<()> {
        let flags = u64::from(BPF_F_INVALIDATE_HASH);
        // SAFETY: the helper reads N bytes of `bytes` and fails beyond the packet's end.
        let done = unsafe {
            bpf_skb_store_bytes(
                self.0.skb.skb,
                offset,
                bytes.as_ptr().cast(),
                N as u32,
                flags,
            )
        };
        if done == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn store_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> Option<()> {
        let flags = u64::from(BPF_F_INVALIDATE_HASH);
        // SAFETY: the helper reads 4 N bytes of `words` and fails beyond the packet's end.
        let done = unsafe {
            bpf_skb_store_bytes(
                self.0.skb.skb,
                offset,
                words.as_ptr().cast(),
                4 * N as u32,
                flags,
            )
        };
        if done == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn fix_transport(&mut self, offset: u32, diff: u32, pseudo: bool, udp: bool) -> Option<()> {
        let mut flags = 0;
        if pseudo {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        if udp {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        // SAFETY: takes numbers only; size 0 means that `to` is a difference.
        let done = unsafe {
            bpf_l4_csum_replace(self.0.as_ptr().cast(), offset, 0, u64::from(diff), flags)
        };
        if done == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn header_changed(&mut self, diff: u32) {
        // The kernel refuses where no sum was made (most packets), and that is well. The flag BPF_F_IPV6 of
        // `bpf_l4_csum_replace` (Linux 6.16) would do for addresses what this does everywhere.
        // SAFETY: takes numbers only.
        unsafe { bpf_csum_update(self.0.as_ptr().cast(), diff) };
    }

    #[inline(always)]
    fn push_ethernet(&mut self, ether_type: [u8; 2]) -> Option<()> {
        // SAFETY: takes numbers only.
        if unsafe { bpf_skb_change_head(self.0.as_ptr().cast(), 14, 0) } != 0 {
            return None;
        }
        self.store(12, &ether_type)
    }

    #[inline(always)]
    fn quote(&mut self, l3: u32, keep: u32, room: u32) -> Option<()> {
        let skb: *mut __sk_buff = self.0.as_ptr().cast();
        // SAFETY: takes numbers only. It ends segmentation too.
        if unsafe { bpf_skb_change_tail(skb, l3 + keep, 0) } != 0 {
            return None;
        }
        // SAFETY: takes numbers only.
        let adjust = |by: i32| unsafe { bpf_skb_adjust_room(skb, by, BPF_ADJ_ROOM_MAC, 0) == 0 };
        // A device that is still to compute the transport checksum would write it into the middle of the error. It is
        // excused once the place where the sum begins has been cut away; what is cut is put back.
        if keep < TAKEN + 40 {
            return adjust(room as i32).then_some(());
        }
        let head: [u32; TAKEN as usize / 4] = self.load_words(l3)?;
        if !adjust(-(TAKEN as i32)) || !adjust((TAKEN + room) as i32) {
            return None;
        }
        self.store_words(l3 + room, &head)
    }
}
