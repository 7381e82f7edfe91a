//! The docker CLI against netd's socket, and the same against the engine itself.

use anyhow::ensure;
use netd_tests::engine::{Front, Suite};

use crate::Outcome;

#[test]
fn p04_the_cli_works() -> Outcome {
    let front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    let said = cli.ok("run --rm --network bridge busybox ip -4 -o addr show eth0")?;
    ensure!(said.contains("eth0"), "{said}");
    front.close()
}
