//! Why a packet was not delivered. One number from the map to the command line; numbers are only appended.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $sentence:literal;)*) => {
        /// Why a packet was not delivered.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $name = $number,)*
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// Short name for people and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }

            /// One sentence.
            pub const fn description(self) -> &'static str {
                match self { $(DropReason::$name => $sentence,)* }
            }

            /// The reason of a number, if there is one.
            pub const fn from_number(number: u32) -> Option<DropReason> {
                match number { $($number => Some(DropReason::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    UnknownDevice = 1, "unknown-device", "The interface has no endpoint (yet, or any more).";
    Malformed = 2, "malformed", "The packet's headers are cut short or contradict each other.";
    SpoofedMac = 3, "spoofed-mac", "The source Ethernet address is not the endpoint's.";
    SpoofedAddress = 4, "spoofed-address", "The source address is not the sender's to use.";
    SpoofedNeighbour = 5, "spoofed-neighbour", "An ARP or ND message claims an address that is not the endpoint's.";
    RouterAdvertisement = 6, "router-advertisement", "A router advertisement, redirect or DHCP server message from a container.";
    UnknownProtocol = 7, "unknown-protocol", "Neither IPv4, IPv6 nor ARP, or tagged for a VLAN.";
    FamilyDisabled = 8, "family-disabled", "The endpoint has no address of this family.";
    NoEndpoint = 9, "no-endpoint", "Nobody holds this address on the network.";
    Isolated = 10, "isolated", "The address belongs to another network.";
    Internal = 11, "internal", "The network is internal: nothing leaves and nothing enters.";
    NotPublished = 12, "not-published", "From outside to an address or port of a container that is not published.";
    NoFlow = 13, "no-flow", "Part of a connection of which netd has seen no beginning.";
    Martian = 14, "martian", "A loopback, multicast or unspecified address where none may be.";
    TtlExceeded = 15, "ttl-exceeded", "TTL or hop limit reached zero on the way through the host.";
    NoRoute = 16, "no-route", "The host has no route to the destination.";
    NoUplinkAddress = 17, "no-uplink-address", "The uplink has no address to masquerade with.";
    TooBig = 18, "too-big", "The packet is larger than the MTU of its way.";
    FlowTableFull = 19, "flow-table-full", "The flow table is full.";
    NoPort = 20, "no-port", "All outside ports are in use for this very destination.";
    FlowConflict = 21, "flow-conflict", "Another flow already uses the same outside addresses and ports.";
    Fragment = 22, "fragment", "A fragment whose first fragment did not come before it, or one too many.";
    StaleTarget = 23, "stale-target", "The endpoint of an established flow is gone.";
    Unsupported = 24, "unsupported", "A kernel operation on the packet failed.";
    NotForwarded = 25, "not-forwarded", "Forwarded by the host from elsewhere into a container network.";
    NeighbourControl = 26, "neighbour-control", "ARP, ND, MLD or IGMP chatter that netd answers itself or that needs no answer.";
    InterContainer = 27, "inter-container", "The network does not let its containers talk to each other (enable_icc=false).";
    Quota = 28, "quota", "The endpoint has as many flows as one endpoint may have.";
    Unsolicited = 29, "unsolicited", "From outside to a port of the masquerade pool that nobody inside speaks from.";
    Metadata = 30, "metadata", "To the cloud's metadata service, which the network does not let its containers reach.";
    TooManyBroadcasts = 31, "too-many-broadcasts", "More broadcasts than one endpoint may send in a tenth of a second.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i + 1);
            assert_eq!(DropReason::from_number(i as u32 + 1), Some(*reason));
            assert!(
                DropReason::ALL[..i]
                    .iter()
                    .all(|r| r.name() != reason.name())
            );
        }
        assert_eq!(DropReason::from_number(0), None);
    }
}
