//! A reference model of NAT, written from what is promised and not from the code, and random sequences of packets and
//! events that hold netd-common to it: the verdict, and every byte of what comes out.

mod begin;
mod build;
mod errors;
mod expect;
mod generator;
mod got;
mod invariants;
mod inward;
mod mapped;
#[path = "../pipeline/memory.rs"]
mod memory;
mod mutated;
mod open;
mod packet;
mod print;
mod rewrite;
mod rules;
mod run;
mod sequences;
mod sessions;
mod setup;
mod state;
mod step;
mod strategies;
mod subject;
