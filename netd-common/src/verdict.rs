//! What the decisions answer: what is to be done with a packet.

use crate::{addr::Addr, drop_reason::DropReason};

/// What to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not ours: the host's stack goes on with it.
    Pass,
    /// Refused and counted.
    Drop(DropReason),
    /// Straight into the namespace behind the veth with this host end (`bpf_redirect_peer`).
    Peer(u32),
    /// To the host's stack as if received by this interface.
    Ingress(u32),
    /// Received by this interface, by which it came, once more: it waits.
    Again(u32),
    /// Sent out of this interface as it is.
    Egress(u32),
    /// Sent out of this interface, to this neighbour (`bpf_redirect_neigh`).
    Neighbour(u32, Addr),
    /// To a process of the host at a loopback address, by the loopback device.
    Local,
    /// Refused and counted, and sent out of this interface: it has become the ICMP error that says so.
    Back(u32, DropReason),
    /// A copy to each member of this network and, with the second field, to that interface's ingress.
    Replicate(u32, u32),
}

/// What is left to do with a packet once it is judged, or at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Next {
    /// [`Verdict::Pass`].
    #[default]
    Pass = 0,
    /// [`Verdict::Peer`].
    Peer,
    /// [`Verdict::Ingress`].
    Ingress,
    /// [`Verdict::Egress`].
    Egress,
    /// [`Verdict::Replicate`].
    Replicate,
    /// It belongs to `Work::flow`; to the outside it leaves along `Work::route`.
    Forward,
    /// It is an ICMP error about a packet of the other direction of `Work::flow`.
    Error,
    /// It begins a flow to the outside along `Work::route`, with these further [`crate::abi::flow_flags`].
    CreateOutgoing,
    /// It begins a flow by the publication `Work::found`.
    CreatePublished,
    /// [`Verdict::Again`].
    Again,
    /// [`Verdict::Neighbour`], with the next hop of `Work::route`.
    Neighbour,
    /// [`Verdict::Local`].
    Local,
    /// [`Verdict::Back`].
    Back,
    /// Refused.
    Drop,
}

/// What is left to do with a packet, with the numbers of the verdict. Not an enum with fields: the compiler would copy
/// those that a variant does not have from registers that the verifier knows to be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What.
    pub next: Next,
    /// First number of the verdict, or 0.
    pub first: u32,
    /// Second number of the verdict, or 0.
    pub second: u32,
}

impl Step {
    /// A step without numbers.
    pub const fn new(next: Next) -> Self {
        Self::to(next, 0)
    }

    /// Refused for this reason.
    pub const fn refused(reason: DropReason) -> Self {
        Self::to(Next::Drop, reason as u32)
    }

    /// What a finished step means, with the next hop of `Work::route`. The programs carry out the step itself: a verdict has fields that some variants lack.
    pub fn verdict(self, next_hop: Addr) -> Result<Verdict, DropReason> {
        let reason = |n| DropReason::from_number(n).unwrap_or(DropReason::Unsupported);
        Ok(match self.next {
            Next::Pass => Verdict::Pass,
            Next::Peer => Verdict::Peer(self.first),
            Next::Ingress => Verdict::Ingress(self.first),
            Next::Again => Verdict::Again(self.first),
            Next::Egress => Verdict::Egress(self.first),
            Next::Replicate => Verdict::Replicate(self.first, self.second),
            Next::Neighbour => Verdict::Neighbour(self.first, next_hop),
            Next::Local => Verdict::Local,
            Next::Back => Verdict::Back(self.first, reason(self.second)),
            Next::Drop => return Err(reason(self.first)),
            Next::Forward | Next::Error | Next::CreateOutgoing | Next::CreatePublished => {
                return Err(DropReason::Unsupported);
            }
        })
    }

    /// A step with one number.
    pub const fn to(next: Next, first: u32) -> Self {
        Self {
            next,
            first,
            second: 0,
        }
    }
}
