//! Files of an authority: their modes, their names, and that nothing is overwritten.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;
use x509_parser::pem::parse_x509_pem;

use super::*;
use crate::{
    api::tls::{Tls, names},
    config::TlsFiles,
};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn pki(line: &str, directory: &Path) -> Result<String> {
    let line = line.replace("DIR", &directory.display().to_string());
    let line = Line::try_parse_from(line.split(' ')).map_err(|e| Error::invalid(e.to_string()))?;
    run(&line.command)
}

/// Every file below, with its mode and content.
fn files(directory: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, data) = (entry.path(), entry.metadata().unwrap());
        if data.is_dir() {
            assert_eq!(data.permissions().mode() & 0o777, 0o700, "{path:?}");
            all.extend(files(&path));
        } else {
            let mode = data.permissions().mode() & 0o777;
            all.push((path.clone(), mode, fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn p01_keys_are_private_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("pki");
    let made = pki("pki init DIR --host db.example --host 192.0.2.7", &root).unwrap();
    let all = files(&root);
    assert_eq!(made.lines().count(), all.len());
    for (path, mode, _) in &all {
        let key = path.to_string_lossy().ends_with("key.pem");
        assert_eq!(*mode, if key { 0o600 } else { 0o644 }, "{path:?}");
    }
    for again in [
        "pki init DIR",
        "pki server DIR",
        "pki client DIR admin",
        "pki init DIR --client other",
    ] {
        let said = pki(again, &root).unwrap_err().to_string();
        assert!(said.contains("not overwritten"), "{again}: {said}");
    }
    for bad in [
        "pki client DIR ../x",
        "pki client DIR .",
        "pki init DIR/x --host a/b",
    ] {
        assert!(pki(bad, &root).is_err(), "{bad}");
    }
    assert_eq!(files(&root), all, "something was written");
    pki("pki client DIR ci", &root).unwrap();
    assert_eq!(files(&root).len(), all.len() + 3);
    let text = fs::read(root.join("clients/ci/cert.pem")).unwrap();
    let (_, pem) = parse_x509_pem(&text).unwrap();
    assert_eq!(names(&pem.contents), ["ci"]);
    let text = fs::read(root.join("server/cert.pem")).unwrap();
    let (_, pem) = parse_x509_pem(&text).unwrap();
    assert!(names(&pem.contents).contains(&"db.example".to_owned()));
}

#[test]
fn p01_tls_files_are_read_anew_and_bad_ones_leave_what_was() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("pki");
    pki("pki init DIR", &root).unwrap();
    let files = TlsFiles {
        cert: root.join("server/cert.pem"),
        key: root.join("server/key.pem"),
        client_ca: root.join("ca.pem"),
    };
    let tls = Tls::new(files.clone()).unwrap();
    let first = tls.current();
    assert!(std::sync::Arc::ptr_eq(&first, &tls.current()));
    // A key that is another certificate's.
    pki("pki server DIR --name second", &root).unwrap();
    fs::copy(root.join("second/key.pem"), &files.key).unwrap();
    assert!(
        std::sync::Arc::ptr_eq(&first, &tls.current()),
        "bad files were taken"
    );
    assert!(Tls::new(files.clone()).is_err() && tls.replace(files.clone()).is_err());
    fs::copy(root.join("second/cert.pem"), &files.cert).unwrap();
    let second = tls.current();
    assert!(
        !std::sync::Arc::ptr_eq(&first, &second),
        "new files were not read"
    );
    for (path, what) in [
        (&files.cert, "certificate"),
        (&files.client_ca, "authority"),
    ] {
        let good = fs::read(path).unwrap();
        fs::write(path, "nothing").unwrap();
        let said = Tls::new(files.clone()).unwrap_err().to_string();
        assert!(said.contains(what) && said.contains("pki init"), "{said}");
        assert!(std::sync::Arc::ptr_eq(&second, &tls.current()));
        fs::write(path, good).unwrap();
        Tls::new(files.clone()).unwrap();
    }
}

#[test]
fn p01_names_are_alternative_ones_else_the_common_one() {
    let made = |alternative: Vec<SanType>| {
        let mut params = leaf("common", 1, ExtendedKeyUsagePurpose::ClientAuth);
        params.subject_alt_names = alternative;
        let key = KeyPair::generate().unwrap();
        names(params.self_signed(&key).unwrap().der())
    };
    assert_eq!(made(Vec::new()), ["common"]);
    let uri = SanType::URI("spiffe://site/ci".try_into().unwrap());
    assert_eq!(
        made(vec![uri, dns_name("ci.example").unwrap()]),
        ["spiffe://site/ci", "ci.example"]
    );
    assert!(names(b"no certificate").is_empty());
}
