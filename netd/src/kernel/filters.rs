//! The filters of an interface's clsact qdisc, as the kernel lists them. In the namespace of the calling thread.

use rtnetlink::{
    packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::error::{Error, Result};

/// Which side of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What it receives.
    Ingress,
    /// What it sends.
    Egress,
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

/// The filters on one side of an interface; none where there is no qdisc to hold them.
pub fn list(ifindex: u32, side: Side) -> Result<Vec<Filter>> {
    dump(ifindex, side)
        .map_err(|e| Error::internal(format!("listing the filters of interface {ifindex}"), e))
}

fn dump(ifindex: u32, side: Side) -> std::io::Result<Vec<Filter>> {
    let header = TcHeader {
        index: i32::try_from(ifindex).map_err(std::io::Error::other)?,
        parent: TcHandle {
            major: TcHandle::CLSACT.major,
            minor: match side {
                Side::Ingress => TcHandle::MIN_INGRESS,
                Side::Egress => TcHandle::MIN_EGRESS,
            },
        },
        ..TcHeader::default()
    };
    let question = TcMessage::from_parts(header, Vec::new());
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetTrafficFilter(question));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(std::io::Error::other)?;
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(e) => return Err(e.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(m)) => {
                    found.push(filter(&m));
                }
                _ => {}
            }
            // Messages are aligned to four bytes (RFC 3549, 2.2).
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
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
