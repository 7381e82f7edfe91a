//! Any bytes as a request to the Docker socket: what goes on to the engine is what was judged, and no container that is made comes
//! to be on a network of the engine's own.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| netd_docker::judge::request(data));
