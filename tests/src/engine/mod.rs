//! Real Docker Engines and real clients of them, in network namespaces.
//!
//! Debian's archive has an engine of three ages; [`fetch`] puts them into a directory of the build without touching the
//! machine's own packages, [`clients`] does so with the clients that are written in Python or come from PyPI. [`Engine`]
//! runs one of them in a namespace, beside others; [`Cli`] runs clients against its socket or against any other.

pub mod api;
mod apt;
mod cache;
mod cgroups;
pub mod cli;
pub mod clients;
pub mod fetch;
pub mod front;
pub mod image;
pub mod options;
pub mod pair;
mod remains;
pub mod run;
mod storage;

use std::fmt;

pub use api::Api;
pub use cli::{Cli, Compose};
pub use fetch::Installed;
pub use front::Front;
pub use options::Options;
pub use pair::Pair;
pub use run::Engine;

/// The Debian suite that an engine or a CLI is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Engine 20.10 (API 1.41).
    Bookworm,
    /// Engine 26.1 (API 1.45).
    Trixie,
    /// Engine 28.5 (API 1.51) or newer: this suite moves.
    Sid,
}

impl Suite {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];

    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// The major versions of the engine that are expected of it.
    pub fn majors(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Self::Bookworm => 20..=20,
            Self::Trixie => 26..=26,
            Self::Sid => 28..=u32::MAX,
        }
    }

    /// What is taken of it.
    fn packages(self) -> Vec<&'static str> {
        let mut all = vec!["docker.io", "containerd", "runc"];
        match self {
            Self::Bookworm => all.push("tini"),
            Self::Trixie => all.extend(["docker-cli", "tini"]),
            // The newest CLI is the one that the others are driven by, and the images are made of this busybox.
            Self::Sid => all.extend([
                "docker-cli",
                "docker-compose",
                "docker-buildx",
                "tini-static",
                "busybox-static",
            ]),
        }
        if self != Self::Bookworm {
            // For runc, the only one that wants a newer C library than the oldest release has.
            all.extend([
                "libc6",
                "libseccomp2",
                "patchelf",
                "libstdc++6",
                "libgcc-s1",
            ]);
        }
        all
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
