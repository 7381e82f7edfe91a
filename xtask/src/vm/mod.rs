//! The built daemon and its programs on other kernels, in virtual machines of one process each.
//!
//! The verifier of every kernel is another one, so that what loads here may be refused there. A guest has no disk and no
//! network card: all it needs is in its initramfs, whose first process is `init.sh`.

mod debian;
mod guest;
mod image;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail, ensure};

use crate::{run, setup};
use debian::Packages;
use guest::Processor;

/// Linux series: the oldest that netd supports, and the next with long support.
const SERIES: [&str; 2] = ["6.1", "6.12"];

const USAGE: &str = "usage: cargo xtask vm [--kernel 6.1|6.12] [--keep]
  --kernel  only this one
  --keep    leave the guest's initramfs, and print the command that boots it";

/// `cargo xtask vm`.
pub fn vm(words: &[&str]) -> Result<()> {
    let (mut series, mut keep) = (SERIES.to_vec(), false);
    let mut rest = words;
    while let [word, more @ ..] = rest {
        rest = match (*word, more) {
            ("--keep", more) => {
                keep = true;
                more
            }
            ("--kernel", [wanted, more @ ..]) if SERIES.contains(wanted) => {
                series = vec![wanted];
                more
            }
            _ => bail!("{USAGE}"),
        };
    }
    let (_, failed) = boot(&series, keep)?;
    ensure!(
        failed == 0,
        "netd does not do on every kernel what it must; the consoles in {} tell more",
        place().display()
    );
    Ok(())
}

/// As one of the tests: how many of the oldest kernel's checks passed and failed.
pub fn oldest() -> Result<(u64, u64)> {
    boot(&SERIES[..1], false)
}

/// Boots kernels of these series, one after the other; how many checks passed and failed. A guest that did not come to its end
/// is one more that failed.
fn boot(series: &[&str], keep: bool) -> Result<(u64, u64)> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the guests are x86-64 machines that run this machine's programs, and this one is {}",
        std::env::consts::ARCH
    );
    setup::setup()?;
    setup::packages(&["qemu-system-x86"])?;
    let place = place();
    fs::create_dir_all(&place)?;
    // Before the build, which takes longer: what cannot be had is known at once.
    let mut packages = Packages::default();
    let busybox = packages.busybox()?;
    let kernels = series
        .iter()
        .map(|series| packages.kernel(series))
        .collect::<Result<Vec<_>>>()?;
    // The build of the tests, so that nothing is built twice.
    run::cargo(&[
        "build",
        "--workspace",
        "--locked",
        "--features",
        run::FEATURES,
    ])?;
    let mut processor = Processor::best();
    let (mut sums, mut passed, mut failed) = (Vec::new(), 0, 0);
    for kernel in &kernels {
        println!("\nkernel {}", kernel.version);
        let initramfs = image::build(kernel, &busybox)?;
        let log = place.join(format!("console-{}.log", kernel.version));
        let ended = guest::run(kernel, &initramfs, &log, &mut processor);
        if keep {
            let words = guest::words(kernel, &initramfs, processor);
            let words: Vec<String> = words.into_iter().map(quoted).collect();
            println!("it can be booted again: {}", words.join(" "));
        } else {
            // Large, and made anew each time.
            let _ = fs::remove_file(&initramfs);
        }
        let ended = ended?;
        println!("console: {}", log.display());
        passed += ended.passed;
        failed += ended.failed + u64::from(ended.fault.is_some());
        let fault = ended.fault.map(|fault| format!("; {fault}"));
        sums.push(format!(
            "{}: {} passed, {} failed{}",
            kernel.version,
            ended.passed,
            ended.failed,
            fault.unwrap_or_default()
        ));
    }
    println!("\n{}", sums.join("\n"));
    Ok((passed, failed))
}

/// Where all of it lies.
fn place() -> PathBuf {
    run::target().join("vm")
}

/// A path as a word of a command line.
fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A word for a shell, if it has more than one part.
fn quoted(word: String) -> String {
    if word.contains(' ') {
        format!("'{word}'")
    } else {
        word
    }
}
