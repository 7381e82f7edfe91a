//! The decisions about whole packets, with maps in memory: what goes in, what must come out, byte for byte where it
//! matters. Packets are built and checked by etherparse, which knows nothing of our code.

mod errors;
mod forged;
mod fragments;
mod gateway;
mod loopback;
mod masquerade;
mod memory;
mod mss;
mod resolver;
mod rush;
mod shift;
mod socket;
mod stale;
mod world;
