//! Tests of the registration at an engine.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(PROGRAM), "").unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("etc/docker/daemon.json")
    }

    fn has(text: &str) -> Self {
        let place = Self::new();
        fs::create_dir_all(place.path("etc/docker")).unwrap();
        fs::write(place.file(), text).unwrap();
        place
    }

    fn setup_with(&self, address: &str, default: bool) -> Result<String> {
        run(&Command::Setup {
            daemon_json: self.file(),
            runtime: self.path(PROGRAM),
            address: address.into(),
            default,
        })
    }

    fn setup(&self) -> Result<String> {
        self.setup_with(ADDRESS, false)
    }

    fn remove(&self) -> Result<String> {
        let daemon_json = self.file();
        run(&Command::Remove { daemon_json })
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// The directory's name is another each time.
    fn shown(&self) -> String {
        let own = self.directory.path().display().to_string();
        self.text()
            .split_whitespace()
            .collect::<String>()
            .replace(&own, "DIR")
    }
}

#[test]
fn p05_setup_makes_the_file_and_remove_takes_it_away() {
    let place = Place::new();
    let said = place.setup().unwrap();
    assert!(
        said.contains("systemctl reload docker") && !said.contains("--default-runtime"),
        "{said}"
    );
    assert_eq!(
        place.shown(),
        r#"{"runtimes":{"netd":{"path":"DIR/netd-runc"}}}"#
    );
    assert_eq!(
        fs::metadata(place.file()).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert!(place.setup().unwrap().contains("already so"));
    let said = place.remove().unwrap();
    assert!(
        said.contains("Removed") && said.contains("systemctl restart docker"),
        "{said}"
    );
    assert!(!place.file().exists());
    assert!(place.remove().unwrap().contains("already so"));
}

#[test]
fn p05_what_else_stands_there_stays_in_its_order() {
    let before = r#"{"zeta":[1,2.5],"runtimes":{"b":{"path":"/b"},"a":{"path":"/a"}},"alpha":{"y":null,"x":18446744073709551615}}"#;
    let place = Place::has(before);
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).unwrap();
    place.setup_with("unix:///x.sock", true).unwrap();
    assert_eq!(
        place.shown(),
        r#"{"zeta":[1,2.5],"runtimes":{"b":{"path":"/b"},"a":{"path":"/a"},"netd":{"path":"DIR/netd-runc","runtimeArgs":["--netd-address","unix:///x.sock"]}},"alpha":{"y":null,"x":18446744073709551615},"default-runtime":"netd"}"#
    );
    // Another address takes the first one's place.
    place.setup().unwrap();
    assert!(!place.text().contains("x.sock") && place.text().contains(DEFAULT));
    place.remove().unwrap();
    assert_eq!(place.shown(), before);
    assert_eq!(
        fs::metadata(place.file()).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(fs::read_dir(place.path("etc/docker")).unwrap().count(), 1);
}

#[test]
fn p05_a_link_stays_one() {
    let place = Place::has("");
    fs::rename(place.file(), place.path("real.json")).unwrap();
    symlink("../../real.json", place.file()).unwrap();
    place.setup().unwrap();
    assert!(place.file().is_symlink() && place.path("real.json").is_file());
    assert!(place.text().contains(PROGRAM));
    place.remove().unwrap();
    assert_eq!(place.shown(), "{}");
    fs::remove_file(place.path("real.json")).unwrap();
    assert!(place.setup().unwrap_err().message.contains("daemon.json"));
}

#[test]
fn p05_what_is_refused_changes_nothing() {
    for (text, part) in [
        ("{\n  \"a\": 1,\n}", "line 3 column 1"),
        ("[]", "no JSON object"),
        (r#"{"runtimes": []}"#, "\"runtimes\" in it is no object"),
        (
            r#"{"runtimes": {"netd": {"path": "/usr/bin/other"}}}"#,
            "/usr/bin/other",
        ),
        (
            r#"{"runtimes": {"netd": {"runtimeType": "x"}}}"#,
            "another name",
        ),
        (r#"{"default-runtime": "nvidia"}"#, "nvidia"),
        (r#"{"default-runtime": 7}"#, "remove that first"),
    ] {
        let place = Place::has(text);
        let said = place.setup_with(ADDRESS, true).unwrap_err().message;
        assert!(
            said.contains(part) && said.contains("was not changed"),
            "{text}: {said}"
        );
        assert_eq!(place.text(), text);
    }
    // What is another's is not removed either.
    for text in [
        r#"{"runtimes":{"netd":{"path":"/o"}},"default-runtime":"netd"}"#,
        "{}",
        r#"{"runtimes":7}"#,
    ] {
        let place = Place::has(text);
        assert!(place.remove().unwrap().contains("already so"));
        assert_eq!(place.text(), text);
    }
}

#[test]
fn p05_a_runtime_that_is_none_is_refused() {
    let place = Place::new();
    let with = |runtime: PathBuf, address: &str| {
        let daemon_json = place.file();
        let address = address.into();
        let command = Command::Setup {
            daemon_json,
            runtime,
            address,
            default: false,
        };
        run(&command).unwrap_err().message
    };
    assert!(with("netd-runc".into(), ADDRESS).contains("absolute"));
    assert!(with(place.path("runc"), ADDRESS).contains("netd-runc"));
    assert!(with(place.path("none/netd-runc"), ADDRESS).contains("--runtime PATH"));
    assert!(with(place.path(PROGRAM), "https://x").contains("unix://"));
    assert!(!place.file().exists());
}
