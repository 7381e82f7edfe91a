//! What RFC 4787, 5382, 5508, 6888 and 7857 want of a NAT, asked with real packets: of netd and of Linux's own NAT alike.
//!
//! [`probes`] holds one function for each requirement. It makes and reads the packets itself ([`packet`], [`station`]), on a
//! [`site`] of either kind, and returns what it saw.

pub mod document;
pub mod errors;
pub mod exchange;
pub mod life;
pub(crate) mod linux;
mod numbers;
pub mod packet;
pub mod probes;
mod read;
pub mod session;
pub mod site;
pub mod station;

use std::fmt;

use anyhow::{Context, Result, ensure};

pub use exchange::Transport;
pub use linux::nft;
pub use packet::Packet;
pub use probes::all;
pub use site::{Ends, Kind, Setup, Site};
pub use station::Station;

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the requirement says.
    Meets,
    /// Some of it; what not.
    Partly(String),
    /// Nothing of it; what instead.
    Fails(String),
    /// It could not be tried; why.
    Untried(String),
}

impl Verdict {
    /// The first word of its column in the document.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Meets => "yes",
            Self::Partly(_) => "partly",
            Self::Fails(_) => "no",
            Self::Untried(_) => "–",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meets => f.write_str(self.word()),
            Self::Partly(why) | Self::Fails(why) | Self::Untried(why) => {
                write!(f, "{}: {why}", self.word())
            }
        }
    }
}

/// The parts of a requirement, and which hold.
#[derive(Clone, Debug, Default)]
pub struct Checks(Vec<(String, bool)>);

impl Checks {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn that(&mut self, what: impl Into<String>, holds: bool) {
        self.0.push((what.into(), holds));
    }

    /// What all of them say together.
    pub fn verdict(self) -> Verdict {
        let total = self.0.len();
        let failed: Vec<String> = self
            .0
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(what, _)| what)
            .collect();
        match failed.len() {
            0 => Verdict::Meets,
            count if count == total => Verdict::Fails(failed.join("; ")),
            _ => Verdict::Partly(failed.join("; ")),
        }
    }
}

/// One requirement.
#[derive(Clone, Copy)]
pub struct Probe {
    /// As the document names it.
    pub id: &'static str,
    /// In few words.
    pub requirement: &'static str,
    /// Of the test that asks netd.
    pub test: &'static str,
    /// What the site must be set to.
    pub setup: fn() -> Setup,
    /// Asks.
    pub run: fn(&Site) -> Result<Verdict>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.test)
    }
}

impl Probe {
    /// Asks a site of this kind, made for it alone.
    ///
    /// # Errors
    /// When the site cannot be made, or the probe could not be carried out.
    pub fn ask(&self, kind: Kind) -> Result<Verdict> {
        let site = Site::new(kind, &(self.setup)())?;
        (self.run)(&site).with_context(|| format!("{self:?}"))
    }
}

/// The probe of a test.
///
/// # Errors
/// When there is none.
pub fn probe(test: &str) -> Result<Probe> {
    let found = all().into_iter().find(|probe| probe.test == test);
    found.with_context(|| format!("no probe for {test}"))
}

/// netd does all that a probe asks for.
///
/// # Errors
/// What it does not.
pub fn meets(test: &str) -> Result<()> {
    let verdict = probe(test)?.ask(Kind::Netd)?;
    ensure!(verdict == Verdict::Meets, "{verdict}");
    Ok(())
}
