//! An OCI runtime in front of another one: containers that netd has a sandbox for are connected between `create` and `start`, so
//! that their first instruction finds its network. Everything else is the other runtime's, word for word.

pub mod attach;
pub mod bundle;
pub mod client;
pub mod command_line;
pub mod create;
pub mod delete;
pub mod failure;
pub mod hook;
pub mod log;
pub mod marker;
pub mod process;
pub mod replace;
pub mod setup;
pub mod start;
