//! Images made of busybox, without a registry.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    Api, Suite,
    cache::Entry,
    fetch::{Installed, checked},
};
use crate::Scope;

/// Names of the image that sleeps, runs shells and has all of busybox.
pub const PLAIN: [&str; 3] = ["busybox", "alpine", "ubuntu"];

/// Names of the image that serves HTTP on port 80: `/` says `ok`, `/cgi-bin/name` the container's host name,
/// `/cgi-bin/client` the address that asks.
pub const WEB: [&str; 2] = ["web", "nginx"];

/// What all images have.
const PATH: &str = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Changes when the tree does.
const RECIPE: &str = "busybox tree 2";

/// Imports [`PLAIN`] and [`WEB`], all with the tag `latest`.
///
/// # Errors
/// What the engine says, or when busybox cannot be fetched.
pub fn import(api: &Api) -> Result<()> {
    let archive = archive()?;
    let bytes = fs::read(&archive).with_context(|| archive.display().to_string())?;
    one(api, &bytes, &PLAIN, &["CMD [\"sh\"]", PATH])?;
    // As the first process it ends at SIGTERM only if it says so.
    let serve = r#"CMD ["sh","-c","trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait"]"#;
    one(api, &bytes, &WEB, &[serve, PATH, "EXPOSE 80"])
}

/// Imports the tree with these lines of a Dockerfile under the first name, and gives it the others.
///
/// # Errors
/// What the engine says.
pub fn variant(api: &Api, name: &str, lines: &[&str]) -> Result<()> {
    let bytes = fs::read(archive()?)?;
    one(api, &bytes, &[name], &[&[PATH], lines].concat())
}

fn one(api: &Api, archive: &[u8], names: &[&str], lines: &[&str]) -> Result<()> {
    let (first, others) = names.split_first().context("an image without a name")?;
    let changes: String = lines
        .iter()
        .map(|line| format!("&changes={}", escaped(line)))
        .collect();
    let path = format!("/images/create?fromSrc=-&repo={first}&tag=latest{changes}");
    let answer = api.send("POST", &path, "application/x-tar", archive)?;
    // Progress is reported after the status, and so is a failure.
    ensure!(
        answer.status() == 200 && !answer.text().contains("\"error\""),
        "importing image {first}: {} {}",
        answer.status(),
        answer.text()
    );
    for other in others {
        api.post(
            &format!("/images/{first}:latest/tag?repo={other}&tag=latest"),
            &serde_json::Value::Null,
        )?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The tree as an archive, made once.
fn archive() -> Result<PathBuf> {
    let entry = Entry::new("images")?;
    entry.make(RECIPE, |directory| {
        let tree = directory.join("tree");
        let _ = fs::remove_dir_all(&tree);
        plant(&tree)?;
        let new = directory.join("tree.tar");
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-cf"])
            .arg(&new)
            .arg("-C")
            .arg(&tree)
            .arg(".");
        checked(&mut tar)?;
        fs::remove_dir_all(&tree)?;
        Ok(String::new())
    })?;
    Ok(entry.directory().join("tree.tar"))
}

fn plant(tree: &Path) -> Result<()> {
    let places = [
        "bin",
        "sbin",
        "etc",
        "tmp",
        "root",
        "proc",
        "sys",
        "dev",
        "mnt",
        "usr/bin",
        "usr/sbin",
        "var/tmp",
        "www/cgi-bin",
    ];
    for place in places {
        fs::create_dir_all(tree.join(place))?;
    }
    let own = tree.join("bin/busybox");
    fs::copy(Installed::of(Suite::Sid)?.program("busybox")?, &own)?;
    let listed = Scope::machine().run(&[&own.display().to_string(), "--list"])?;
    ensure!(listed.ok, "busybox --list: {}", listed.text());
    // It lists itself, and as a link to itself would be none.
    for applet in listed.stdout.lines().filter(|name| *name != "busybox") {
        symlink("busybox", tree.join("bin").join(applet))?;
    }
    let text = |name: &str, text: &str, mode: u32| -> Result<()> {
        let path = tree.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(mode),
        )?)
    };
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
    text("etc/passwd", users, 0o644)?;
    text("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    text("www/index.html", "ok\n", 0o644)?;
    let script =
        |what: &str| format!("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{what}\n");
    text("www/cgi-bin/name", &script("hostname"), 0o755)?;
    // A version 4 address comes in the form that version 6 sockets have for it.
    let client = "echo \"$REMOTE_ADDR\" | sed 's/[][]//g; s/^::ffff://'";
    text("www/cgi-bin/client", &script(client), 0o755)?;
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(())
}
