//! The maps. Their layout is `netd_common::abi`; sizes marked 1 are set by the loader from the configuration.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, Queue, RingBuf},
};
use netd_common::{
    abi::{
        AddressKey, ClockEntry, Counters, Device, DropCount, DropKey, ErrorBudget, Flow, FlowKey,
        FragmentKey, FragmentPorts, GatewayNetwork, Home, HomeKey, HostAddress, Mapping,
        MappingKey, MemberKey, Network, OutsidePort, Publication, PublicationData, Rates, Settings,
        SocketPeer, SocketPeerKey, SubnetData, Target, Totals, TrustedKey, Uplink, Usage,
    },
    addr::Addr,
    work::Work,
};

#[map]
pub static DEVICES: HashMap<u32, Device> = HashMap::pinned(1, 0);
#[map]
pub static NETWORKS: HashMap<u32, Network> = HashMap::pinned(1, 0);
#[map]
pub static GATEWAYS: HashMap<u32, GatewayNetwork> = HashMap::pinned(1, 0);
#[map]
pub static ADDRESSES: HashMap<AddressKey, Target> = HashMap::pinned(1, 0);
#[map]
pub static SUBNETS: LpmTrie<SubnetData, u32> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static MEMBERS: HashMap<MemberKey, u32> = HashMap::pinned(1, 0);
#[map]
pub static UPLINKS: HashMap<u32, Uplink> = HashMap::pinned(1024, 0);
#[map]
pub static TRUSTED: HashMap<TrustedKey, u32> = HashMap::pinned(4096, 0);
#[map]
pub static HOST_ADDRESSES: HashMap<Addr, HostAddress> = HashMap::pinned(1, 0);
#[map]
pub static PUBLICATIONS: LpmTrie<PublicationData, Publication> =
    LpmTrie::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static HOMES: HashMap<HomeKey, Home> = HashMap::pinned(1, 0);
#[map]
pub static FLOWS: HashMap<FlowKey, Flow> = HashMap::pinned(1, 0);
#[map]
pub static CLOCK: Queue<ClockEntry> = Queue::pinned(1, 0);
#[map]
pub static MAPPINGS: HashMap<MappingKey, Mapping> = HashMap::pinned(1, 0);
#[map]
pub static OUTSIDE_PORTS: HashMap<OutsidePort, MappingKey> = HashMap::pinned(1, 0);
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> = LruHashMap::pinned(16384, 0);
#[map]
pub static EXEMPT: LpmTrie<SubnetData, u32> = LpmTrie::pinned(1024, BPF_F_NO_PREALLOC);
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::pinned(1, 0);
#[map]
pub static USAGE: Array<Usage> = Array::pinned(1, 0);
#[map]
pub static TOTALS: Array<Totals> = Array::pinned(1, 0);
#[map]
pub static RATES: PerCpuArray<Rates> = PerCpuArray::pinned(1, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(262_144, 0);
#[map]
pub static DROPS: PerCpuHashMap<DropKey, DropCount> = PerCpuHashMap::pinned(1, 0);
#[map]
pub static ERRORS: PerCpuArray<ErrorBudget> = PerCpuArray::pinned(1, 0);
#[map]
pub static SOCKET_PEERS: LruHashMap<SocketPeerKey, SocketPeer> = LruHashMap::pinned(16384, 0);
#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
pub static SCRATCH: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);
