//! Any bytes as packets from containers and from outside: no panic, no private source outside, no checksum spoilt.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../netd-common/tests/model/got.rs"]
mod got;
#[path = "../../netd-common/tests/model/invariants.rs"]
mod invariants;
#[path = "../../netd-common/tests/pipeline/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the model asks more of it")]
#[path = "../../netd-common/tests/model/packet.rs"]
mod packet;
#[allow(dead_code, reason = "the model asks more of it")]
#[path = "../../netd-common/tests/model/setup.rs"]
mod setup;
#[allow(dead_code, reason = "tests without a clock need more of it")]
#[path = "../../netd-common/tests/model/subject.rs"]
mod subject;

fuzz_target!(|data: &[u8]| invariants::judge(data));
