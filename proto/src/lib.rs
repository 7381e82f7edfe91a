//! The `netd.v1` gRPC API: messages, clients and servers generated from `proto/netd/v1/*.proto`.
//!
//! This crate knows nothing of the daemon; the comments in the `.proto` files are the reference.

pub mod bounds;
pub mod text;

pub use prost::Message;

/// Version 1 of the API.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::all,
        reason = "generated; the .proto files carry the documentation"
    )]
    tonic::include_proto!("netd.v1");

    /// Encoded `FileDescriptorSet` of the API, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
