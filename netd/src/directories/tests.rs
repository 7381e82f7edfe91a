//! Tests of the directories: taken, refused, cleaned. They take instances of their own, as root on bpffs.

use std::{collections::BTreeSet, os::unix::net::UnixListener};

use tempfile::TempDir;

use super::*;
use crate::{error::Kind, kernel::Netns};

/// An instance of the test's own, with directories that do not exist yet.
fn instance(name: &str) -> (TempDir, Instance) {
    let scratch = tempfile::tempdir().unwrap();
    let at = |part: &str| Some(scratch.path().join(part));
    let name = format!("u{}-{name}", std::process::id());
    let instance = Instance::new(&name, at("state"), at("run"), None).unwrap();
    (scratch, instance)
}

/// The refusal of a second one, with the words that it must have.
fn refused(instance: &Instance, words: &[&str]) {
    let error = hold(instance).expect_err("it was taken");
    let text = error.to_string();
    assert!(error.hint.is_some(), "no way out: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Everything in a directory, by its path.
fn tree(path: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(tree(&entry.path()));
        }
        all.insert(entry.path());
    }
    all
}

#[test]
fn b2_directories_are_made_marked_and_removed_with_nothing_left() {
    let (scratch, instance) = instance("made");
    // Whatever the umask: of the thread alone, for others run beside it.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let held = hold(&instance).unwrap();
    assert!(held.new_state());
    assert_eq!((mode(&instance.run), mode(&instance.state)), (0o711, 0o700));
    drop(held);
    assert!(!instance.pin_root().exists() && !name::owner_path(&instance.pin_root()).exists());
    let held = hold(&instance).unwrap();
    assert!(!held.new_state());
    drop(held);
    hold_existing(&instance).unwrap().remove().unwrap();
    assert_eq!(tree(scratch.path()), BTreeSet::new());
    // Nothing is there: a purge makes nothing.
    hold_existing(&instance).unwrap().remove().unwrap();
    assert_eq!(tree(scratch.path()), BTreeSet::new());
}

#[test]
fn b2_a_second_one_is_refused_and_leaves_the_first_alone() {
    let (scratch, first) = instance("first");
    let held = hold(&first).unwrap();
    let before = tree(scratch.path());
    let pid = format!("pid {}", std::process::id());
    let run = first.run.display().to_string();
    let state = first.state.display().to_string();
    let other = |part: &str| scratch.path().join(part);
    // The same name, elsewhere.
    let mut second = first.clone();
    (second.run, second.state) = (other("run2"), other("deep/state2"));
    refused(&second, &[&pid, &first.name, &state, "--instance"]);
    assert_eq!(hold_existing(&second).unwrap_err().kind, Kind::Conflict);
    // Another name, with one of its directories.
    second.name = format!("{}x", first.name);
    second.run = first.run.clone();
    refused(&second, &[&pid, &first.name, &run, "--run"]);
    (second.run, second.state) = (other("run2"), first.state.clone());
    refused(&second, &[&pid, &first.name, &state, "--state"]);
    assert_eq!(tree(scratch.path()), before);
    assert!(!second.pin_root().exists());
    // Nor does it take them when the first does not run.
    drop(held);
    refused(&second, &[&first.name, &state, "--purge"]);
    assert_eq!(tree(scratch.path()), before);
    // The same with directories of its own.
    second.state = other("state2");
    let both = [hold(&first).unwrap(), hold(&second).unwrap()];
    for held in both {
        held.remove().unwrap();
    }
    assert_eq!(tree(scratch.path()), BTreeSet::new());
}

#[test]
fn b2_what_others_have_is_refused_and_stays() {
    let (scratch, instance) = instance("others");
    for make in [
        // /tmp, a project, /run with the namespaces of ip-netns(8).
        &(|run: &Path| fs::write(run.join("notes"), "x").unwrap()) as &dyn Fn(&Path),
        &|run| fs::create_dir_all(run.join("files/site")).unwrap(),
        &|run| {
            fs::create_dir(run.join("netns")).unwrap();
            fs::write(run.join("netns/blue"), "").unwrap();
        },
        &|run| fs::write(run.join("netd.lock"), "of another program\n").unwrap(),
        &|run| fs::write(run.join("netd.sock"), "").unwrap(),
        &|run| fs::set_permissions(run, Permissions::from_mode(0o777)).unwrap(),
    ] {
        fs::create_dir(&instance.run).unwrap();
        fs::set_permissions(&instance.run, Permissions::from_mode(0o755)).unwrap();
        make(&instance.run);
        let (before, bits) = (tree(scratch.path()), mode(&instance.run));
        let run = instance.run.display().to_string();
        refused(&instance, &["run directory", &run, "--run"]);
        hold_existing(&instance).expect_err("purged");
        assert_eq!((tree(scratch.path()), mode(&instance.run)), (before, bits));
        fs::remove_dir_all(&instance.run).unwrap();
    }
    // The same with an empty one, or one of netd's form: it is taken, and keeps its mode.
    let id = "0a".repeat(32);
    for make in [
        &(|_: &Path| {}) as &dyn Fn(&Path),
        &|run| fs::create_dir_all(run.join("files").join(&id)).unwrap(),
        &|run| {
            fs::create_dir(run.join("netns")).unwrap();
            drop(UnixListener::bind(run.join("netd.sock")).unwrap());
            fs::write(run.join("netd.lock"), "").unwrap();
        },
    ] {
        fs::create_dir(&instance.run).unwrap();
        fs::set_permissions(&instance.run, Permissions::from_mode(0o750)).unwrap();
        make(&instance.run);
        let held = hold(&instance).unwrap();
        assert_eq!(mode(&instance.run), 0o750);
        held.remove().unwrap();
        assert!(instance.run.exists() && !instance.state.exists());
        fs::remove_dir_all(&instance.run).unwrap();
    }
    // What stood in a state directory of a version without marks.
    fs::create_dir(&instance.state).unwrap();
    fs::write(instance.state.join("netd.redb"), "x").unwrap();
    fs::write(instance.state.join("netd.lock"), "4711\n").unwrap();
    let held = hold(&instance).unwrap();
    assert!(!held.new_state());
    drop(held);
    assert!(instance.state.join("netd.redb").exists());
}

/// Links and pins outlive the daemon: another state would take them for left over.
#[test]
fn b2_the_pins_of_another_state_are_not_taken_over() {
    let (scratch, first) = instance("pins");
    let held = hold(&first).unwrap();
    let version = first.pin_root().join("1");
    fs::create_dir(&version).unwrap();
    drop(held);
    assert!(version.exists());
    let mut second = first.clone();
    second.state = scratch.path().join("elsewhere");
    second.run = scratch.path().join("run2");
    let before = tree(scratch.path());
    let state = first.state.display().to_string();
    refused(&second, &[&first.name, &state, "--state"]);
    hold_existing(&second).expect_err("purged");
    assert_eq!(tree(scratch.path()), before);
    assert!(version.exists());
    // The state was moved there, or is gone: then it is.
    fs::rename(&first.state, &second.state).unwrap();
    drop(hold(&second).unwrap());
    fs::remove_dir_all(&second.state).unwrap();
    second.state = scratch.path().join("again");
    let held = hold(&second).unwrap();
    fs::remove_dir(&version).unwrap();
    held.remove().unwrap();
    assert!(!first.pin_root().exists());
}

#[test]
fn b2_paths_that_no_socket_fits_in_are_refused_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |length: usize| {
        let root = scratch.path().join("");
        let root = root.display().to_string();
        PathBuf::from(format!("{root}{}", "x".repeat(length - root.len())))
    };
    let short = || Some(scratch.path().join("short"));
    for (state, run) in [(short(), Some(at(96))), (Some(at(96)), short())] {
        let refused = Instance::new("x", state, run, None).unwrap_err();
        assert!(refused.to_string().contains("95 bytes"), "{refused}");
    }
    let (run, same) = (at(95), short());
    let instance = Instance::new("x", short(), Some(run.clone()), None).unwrap();
    fs::create_dir(&run).unwrap();
    // The limit is the kernel's.
    drop(UnixListener::bind(instance.run.join("keeper.sock")).unwrap());
    UnixListener::bind(instance.run.join("keeper.socke")).expect_err("longer");
    let one = Instance::new("x", same.clone(), same, None).unwrap_err();
    assert!(one.message.contains("one directory"), "{one}");
}

#[test]
fn b2_directories_follow_the_instances_name() {
    let of = |name: &str| {
        let instance = Instance::new(name, None, None, None).unwrap();
        [instance.state, instance.run].map(|path| path.display().to_string())
    };
    assert_eq!(of("default"), ["/var/lib/netd", "/run/netd"]);
    assert_eq!(of("b"), ["/var/lib/netd@b", "/run/netd@b"]);
    for name in ["", "a.b", "a/b", "@b", &"x".repeat(33)] {
        Instance::new(name, None, None, None).expect_err(name);
    }
}

#[test]
fn b2_only_files_of_netds_form_are_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let id = |digit: char| digit.to_string().repeat(64);
    for name in [&id('1'), &id('2'), &id('3'), "site", &id('A'), &id('g')] {
        fs::create_dir(path(name)).unwrap();
        for file in FILES {
            fs::write(path(name).join(file), "x").unwrap();
        }
    }
    // Somebody has put something there; and a link leads elsewhere.
    fs::write(path(&id('3')).join("notes"), "x").unwrap();
    std::os::unix::fs::symlink(path("site"), path(&id('4'))).unwrap();
    fs::write(path(&id('5')), "a file").unwrap();
    let done = clean_files(scratch.path(), |wanted| wanted == id('1'));
    let removed = |c: &&Cleaned| matches!(c, Cleaned::Removed(_));
    let gone: Vec<String> = done
        .iter()
        .filter(removed)
        .map(Cleaned::to_string)
        .collect();
    assert_eq!(gone.len(), 1, "{done:?}");
    assert!(gone[0].contains(&id('2')), "{gone:?}");
    assert!(!path(&id('2')).exists());
    for name in [&id('1'), "site", &id('A'), &id('g')] {
        assert_eq!(fs::read_dir(path(name)).unwrap().count(), 3, "{name}");
    }
    assert!(path(&id('3')).join("notes").exists());
    assert!(path(&id('4')).is_symlink() && path(&id('5')).is_file());
    remove_files(scratch.path(), "../site").expect_err("no id");
    remove_files(scratch.path(), &id('6')).unwrap();
}

/// Also: what is no namespace does not fail the others.
#[test]
fn b2_only_namespaces_of_known_names_are_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for name in ["kept", "stray", "theirs"] {
        Netns::create(&path(name)).unwrap();
    }
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("text"), "x").unwrap();
    // A place that was never mounted on, as after a kill or a reboot.
    fs::write(path("place"), "").unwrap();
    let known = |name: &str| name != "theirs";
    let done = clean_namespaces(scratch.path(), known, |name| name == "kept");
    let left: BTreeSet<PathBuf> = tree(scratch.path());
    let expected = ["kept", "theirs", "directory", "text"].map(path);
    assert_eq!(left, BTreeSet::from(expected), "{done:?}");
    for name in ["kept", "theirs"] {
        Netns::open(&path(name)).unwrap();
        Netns::remove(&path(name)).unwrap();
    }
    for name in ["directory", "text"] {
        let refused = Netns::remove(&path(name)).unwrap_err();
        assert!(refused.message.contains(name), "{refused}");
    }
}
