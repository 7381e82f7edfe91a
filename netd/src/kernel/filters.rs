//! The filters of an interface's clsact qdisc: hanging, listing and taking away. In the namespace of the netlink socket.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use futures::{StreamExt as _, TryStreamExt as _};
use nix::libc;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
    },
};

use super::{Netlink, links::retry};
use crate::error::{Error, Result};

/// Which side of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What it receives.
    Ingress,
    /// What it sends.
    Egress,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    const fn parent(self) -> TcHandle {
        TcHandle {
            major: TcHandle::CLSACT.major,
            minor: match self {
                Self::Ingress => TcHandle::MIN_INGRESS,
                Self::Egress => TcHandle::MIN_EGRESS,
            },
        }
    }
}

/// A filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Its priority; the lowest is asked first.
    pub priority: u16,
    /// Its handle within the priority; 0 for the entry of the priority itself.
    pub handle: u32,
    /// Name and kernel's number of its eBPF program, if it is one.
    pub program: Option<(String, u32)>,
}

/// A program to be hung.
#[derive(Clone, Copy, Debug)]
pub struct Hanging<'a> {
    /// Its name, by which a filter of ours may be known.
    pub name: &'a str,
    /// The loaded program.
    pub fd: BorrowedFd<'a>,
    /// One of ours is likely to hang there: it is looked for first, which is half the messages then, and one more otherwise.
    pub again: bool,
}

/// Priority of our filters where nobody else's stands.
const PRIORITY: u16 = 1;
/// Their handle.
const HANDLE: u32 = 1;
/// Every protocol, in the byte order of a packet.
const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// The kernel's word for a request that it refused.
fn refusal(e: &rtnetlink::Error) -> Option<i32> {
    match e {
        rtnetlink::Error::NetlinkError(e) => Some(-e.raw_code()),
        _ => None,
    }
}

fn header(ifindex: u32, side: Side, priority: u16) -> TcHeader {
    TcHeader {
        // The kernel counts interfaces from 1 in an `int`.
        index: ifindex.cast_signed(),
        handle: HANDLE.into(),
        parent: side.parent(),
        info: u32::from(priority) << 16 | u32::from(ALL),
        ..TcHeader::default()
    }
}

impl Netlink {
    /// A request that is answered by yes or no.
    async fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<(), rtnetlink::Error> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.clone().request(message)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(e) = answer.payload
                && e.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(e));
            }
        }
        Ok(())
    }

    /// The filters on one side of an interface; none where there is no qdisc to hold them. Errors: no such interface.
    pub async fn filters(&self, ifindex: u32, side: Side) -> Result<Vec<Filter>> {
        let list = || {
            let mut filters = self.handle.traffic_filter(ifindex.cast_signed());
            let asked = match side {
                Side::Ingress => filters.get().ingress(),
                Side::Egress => filters.get().egress(),
            };
            asked.execute().map_ok(|m| filter(&m)).try_collect()
        };
        retry(list)
            .await
            .map_err(|e| Error::internal(format!("listing the filters of interface {ifindex}"), e))
    }

    /// Hangs a program, on a clsact qdisc that is made if need be. The filter for which `own` says so gets the program in place;
    /// others' stay, and ours takes another priority. It costs nothing to hang, where a TCX link waits for an RCU grace
    /// period, and lives as long as the device. Says whether none of ours hung there.
    pub async fn hang(
        &self,
        program: Hanging<'_>,
        ifindex: u32,
        side: Side,
        own: impl Fn(&Filter) -> bool,
    ) -> Result<bool> {
        let fail = |e: &rtnetlink::Error| {
            Error::internal(
                format!("attaching {} to interface {ifindex}", program.name),
                e,
            )
        };
        let replace = async |found: &Filter| {
            let mut header = header(ifindex, side, found.priority);
            header.handle = found.handle.into();
            self.put(program, header, 0).await.map_err(|e| fail(&e))
        };
        if program.again
            && let Some(found) = self.filters(ifindex, side).await?.iter().find(|f| own(f))
        {
            return replace(found).await.map(|()| false);
        }
        match self.add_clsact(ifindex).await {
            Err(e) if refusal(&e) != Some(libc::EEXIST) => return Err(fail(&e)),
            _ => {}
        }
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let new = header(ifindex, side, PRIORITY);
        match self.put(program, new, create).await {
            Ok(()) => Ok(true),
            // One of that priority and handle is there (EEXIST), or one of another kind has the priority (EINVAL).
            Err(e) if matches!(refusal(&e), Some(libc::EEXIST | libc::EINVAL)) => {
                let there = self.filters(ifindex, side).await?;
                if let Some(found) = there.iter().find(|f| own(f)) {
                    return replace(found).await.map(|()| false);
                }
                let taken = |priority: &u16| there.iter().any(|f| f.priority == *priority);
                if !taken(&PRIORITY) {
                    return Err(fail(&e));
                }
                let free = (PRIORITY..u16::MAX).find(|priority| !taken(priority));
                let new = header(ifindex, side, free.unwrap_or(u16::MAX));
                self.put(program, new, create).await.map_err(|e| fail(&e))?;
                Ok(true)
            }
            Err(e) => Err(fail(&e)),
        }
    }

    async fn add_clsact(&self, ifindex: u32) -> std::result::Result<(), rtnetlink::Error> {
        let mut message = clsact(ifindex);
        message.attributes.push(TcAttribute::Kind("clsact".into()));
        self.ask(
            RouteNetlinkMessage::NewQueueDiscipline(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .await
    }

    async fn put(
        &self,
        program: Hanging<'_>,
        header: TcHeader,
        flags: u16,
    ) -> std::result::Result<(), rtnetlink::Error> {
        let options = vec![
            // A descriptor is no negative number.
            TcOption::Bpf(TcFilterBpfOption::ProgFd(
                program.fd.as_raw_fd().cast_unsigned(),
            )),
            TcOption::Bpf(TcFilterBpfOption::ProgName(program.name.into())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ];
        let attributes = vec![
            TcAttribute::Kind("bpf".into()),
            TcAttribute::Options(options),
        ];
        let message = TcMessage::from_parts(header, attributes);
        self.ask(RouteNetlinkMessage::NewTrafficFilter(message), flags)
            .await
    }

    /// Takes away the filters of which `own` says so; an interface that is gone has none. Says how many there were.
    pub async fn unhang(
        &self,
        ifindex: u32,
        side: Side,
        own: impl Fn(&Filter) -> bool,
    ) -> Result<usize> {
        let mut taken = 0;
        for found in self.filters(ifindex, side).await.unwrap_or_default() {
            if !own(&found) {
                continue;
            }
            let mut header = header(ifindex, side, found.priority);
            header.handle = found.handle.into();
            let message = TcMessage::from_parts(header, Vec::new());
            let done = self
                .ask(RouteNetlinkMessage::DelTrafficFilter(message), 0)
                .await;
            match done {
                Ok(()) => taken += 1,
                // Gone meanwhile, alone or with its interface.
                Err(e) if matches!(refusal(&e), Some(libc::ENOENT | libc::ENODEV)) => {}
                Err(e) => {
                    return Err(Error::internal(
                        format!("taking a filter off interface {ifindex}"),
                        e,
                    ));
                }
            }
        }
        Ok(taken)
    }

    /// Removes the clsact qdisc of an interface if no filter hangs there; others may have made it, but then they have no use of
    /// it. Says whether it did.
    pub async fn remove_empty_clsact(&self, ifindex: u32) -> Result<bool> {
        let fail = |e| {
            Error::internal(
                format!("removing the clsact qdisc of interface {ifindex}"),
                e,
            )
        };
        let qdiscs = self.handle.qdisc().get().index(ifindex.cast_signed());
        // The kernel lists all interfaces' whatever is asked.
        let mut there = false;
        let mut found = qdiscs.execute();
        while let Some(message) = found.try_next().await.map_err(fail)? {
            let clsact = |a: &TcAttribute| matches!(a, TcAttribute::Kind(k) if k == "clsact");
            there |= message.header.index == ifindex.cast_signed()
                && message.attributes.iter().any(clsact);
        }
        if !there {
            return Ok(false);
        }
        for side in Side::BOTH {
            if !self.filters(ifindex, side).await?.is_empty() {
                return Ok(false);
            }
        }
        let message = RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex));
        match self.ask(message, 0).await {
            Ok(()) => Ok(true),
            // Somebody else has removed it.
            Err(e) if matches!(refusal(&e), Some(libc::ENOENT | libc::EINVAL)) => Ok(false),
            Err(e) => Err(fail(e)),
        }
    }
}

fn clsact(ifindex: u32) -> TcMessage {
    let header = TcHeader {
        index: ifindex.cast_signed(),
        handle: TcHandle {
            major: TcHandle::CLSACT.major,
            minor: 0,
        },
        parent: TcHandle::CLSACT,
        ..TcHeader::default()
    };
    TcMessage::from_parts(header, Vec::new())
}

fn filter(message: &TcMessage) -> Filter {
    let options = message.attributes.iter().filter_map(|a| match a {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let (mut name, mut id) = (None, None);
    for option in options.flatten() {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(n)) => name = Some(n.clone()),
            TcOption::Bpf(TcFilterBpfOption::ProgId(n)) => id = Some(*n),
            _ => {}
        }
    }
    Filter {
        // The upper half of `tcm_info`; the lower one is the protocol.
        priority: (message.header.info >> 16) as u16,
        handle: message.header.handle.into(),
        program: name.zip(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_with_its_program() {
        let header = TcHeader {
            handle: 1.into(),
            info: 7 << 16 | 3,
            ..TcHeader::default()
        };
        let options = vec![
            TcOption::Bpf(TcFilterBpfOption::ProgName("from_uplink".into())),
            TcOption::Bpf(TcFilterBpfOption::ProgId(42)),
        ];
        let mut message = TcMessage::from_parts(header, vec![TcAttribute::Options(options)]);
        let program = Some(("from_uplink".into(), 42));
        let found = Filter {
            priority: 7,
            handle: 1,
            program,
        };
        assert_eq!(filter(&message), found);
        message.attributes.clear();
        assert_eq!(filter(&message).program, None);
    }
}
