//! What netd does otherwise than promised, and is known: while one of these is set, the model lets it be. Each is to go.

/// An ICMP error from outside that comes from a container's or the host's own address is let in (X07).
pub const FORGED_ERRORS: bool = false;
/// An ICMP error about a flow that is over is translated.
pub const LATE_ERRORS: bool = false;
/// SCTP to the pool's ports, which are not translated and may be the host's own, is dropped.
pub const SCTP_PORTS: bool = false;
/// A mapping lets in whom it let in before until its last flow is found to be over.
pub const OVER_MAPPINGS: bool = true;
/// What an outside port lets in from whoever sends it: its flow may go with the first answer, its answers and errors may go
/// out to the host's own address (4787-8, 4787-9, 5508-7).
pub const INDEPENDENT: bool = false;
/// Later fragments to a subnet's broadcast address and to a gateway's link-local one are dropped (D01).
pub const FRAGMENTS: bool = false;
/// A datagram to a neighbour, from a socket that has asked the same one by its published port as well, leaves by another source
/// port (D01): the neighbour could not tell the two apart.
pub const DIRECT_SHIFT: bool = true;
/// A packet that comes late is judged by the state that it makes: a RST or FIN after a silence ends the flow before it is
/// forwarded, others revive what was over (5382-5).
pub const LATE_STATE: bool = false;
