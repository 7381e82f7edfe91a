//! Compiles `netd/v1/*.proto` without a system `protoc`.
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "netd/v1/flow.proto",
        "netd/v1/network.proto",
        "netd/v1/sandbox.proto",
        "netd/v1/system.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let bytes = prost_build_bytes(&descriptors);
    fs::write(out.join("descriptors.bin"), bytes)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

/// The descriptor set as the reflection service serves it.
fn prost_build_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
