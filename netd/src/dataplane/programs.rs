//! The names of the programs in the object, by the hooks they are for.

/// The program of a container's veth.
pub const CONTAINER_PROGRAM: &str = "from_container";
/// The program of the inner end of a network's device pair.
pub const GATEWAY_PROGRAM: &str = "from_host";
pub use crate::kernel::sandbox::RESOLVER_PROGRAM;

/// The cgroup programs; each is its link's name too.
pub const CGROUP_PROGRAMS: [&str; 10] = [
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
];

/// The programs of uplinks, with an Ethernet header and without.
pub const UPLINK_PROGRAMS: [&str; 2] = ["from_uplink", "from_uplink_l3"];

/// The programs that are loaded once something is there that they hang on: the verifier needs long for each of them.
pub const LATE_PROGRAMS: [&str; 2] = [UPLINK_PROGRAMS[1], LOOPBACK_PROGRAM];

/// The program of the host's loopback device.
pub const LOOPBACK_PROGRAM: &str = "from_loopback";
