//! Compiles `netd/v1/*.proto` without a system `protoc`, and writes the check of the requests' bounds from their options.

#[path = "build/bounds.rs"]
mod bounds;

use std::{env, fs, path::PathBuf};

const FILES: [&str; 9] = [
    "netd/v1/bounds.proto",
    "netd/v1/endpoint.proto",
    "netd/v1/event.proto",
    "netd/v1/flow.proto",
    "netd/v1/name.proto",
    "netd/v1/network.proto",
    "netd/v1/port.proto",
    "netd/v1/sandbox.proto",
    "netd/v1/system.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES.into_iter().chain(["build"]) {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // As the reflection service serves it, with its options.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    let code = bounds::code(&compiler.descriptor_pool())?;
    fs::write(out.join("bounds.rs"), code)?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
