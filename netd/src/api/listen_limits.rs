//! How many handshakes and connections there are at once, over TCP: of each address, of each client, and in all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Handshakes at once.
const HANDSHAKES: usize = 256;
/// Of these, from one IPv4 address or IPv6 network of 64 bits.
const HANDSHAKES_OF_ONE: usize = 64;
/// Connections at once.
const CONNECTIONS: usize = 256;
/// Of these, with certificates of one name.
const CONNECTIONS_OF_ONE: usize = 32;

/// What there is now.
#[derive(Debug, Default)]
pub struct Limits {
    taken: Mutex<HashMap<Key, usize>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Handshakes,
    HandshakesOf(IpAddr),
    Connections,
    ConnectionsOf(String),
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    limits: Arc<Limits>,
    keys: [Key; 2],
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.limits.lock();
        for key in &self.keys {
            if let Some(count) = taken.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(key);
                }
            }
        }
    }
}

impl Limits {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, wanted: [(Key, usize); 2]) -> Option<Slot> {
        let mut taken = self.lock();
        let full = |(key, most): &(Key, usize)| taken.get(key).is_some_and(|count| count >= most);
        if wanted.iter().any(full) {
            return None;
        }
        let keys = wanted.map(|(key, _)| key);
        for key in &keys {
            *taken.entry(key.clone()).or_default() += 1;
        }
        let limits = Arc::clone(self);
        Some(Slot { limits, keys })
    }

    /// A place for a handshake with this address.
    pub fn handshake(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let near = match address.to_canonical() {
            // Who has a network of 64 bits has all its addresses.
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        };
        self.take([
            (Key::Handshakes, HANDSHAKES),
            (Key::HandshakesOf(near), HANDSHAKES_OF_ONE),
        ])
    }

    /// A place for a connection of this client.
    pub fn connection(self: &Arc<Self>, name: &str) -> Option<Slot> {
        self.take([
            (Key::Connections, CONNECTIONS),
            (Key::ConnectionsOf(name.to_owned()), CONNECTIONS_OF_ONE),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_one_client_leaves_room_for_others() {
        let limits = Arc::new(Limits::default());
        let greedy: Vec<Slot> = (0..1000).map_while(|_| limits.connection("a")).collect();
        assert_eq!(greedy.len(), CONNECTIONS_OF_ONE);
        let other = limits.connection("b");
        assert!(other.is_some());
        drop(greedy);
        assert!(limits.connection("a").is_some());
        let near = |last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 1, 2, 3, last));
        let many: Vec<Slot> = (0..1000).map_while(|n| limits.handshake(near(n))).collect();
        assert_eq!(many.len(), HANDSHAKES_OF_ONE);
        let far: Vec<Slot> = (0..1000u32)
            .map_while(|n| limits.handshake(IpAddr::V4(n.into())))
            .collect();
        assert_eq!(many.len() + far.len(), HANDSHAKES);
        drop((many, far, other));
        assert!(limits.lock().is_empty(), "something is left");
    }
}
