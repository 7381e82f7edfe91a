//! P05: a sandbox's files are there before it has a process, and stay the same ones until it is removed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use netd_tests::World;

use crate::{
    Outcome,
    name_files::{hosts, own, path, resolv_conf, wants, world},
    show,
};

const KEYS: [&str; 3] = ["ResolvConfPath", "HostsPath", "HostnamePath"];

fn files(world: &World, sandbox: &str) -> anyhow::Result<Vec<PathBuf>> {
    KEYS.iter().map(|key| path(world, sandbox, key)).collect()
}

fn inodes(files: &[PathBuf]) -> anyhow::Result<Vec<u64>> {
    let inode = |path: &PathBuf| {
        Ok(fs::metadata(path)
            .context(path.display().to_string())?
            .ino())
    };
    files.iter().map(inode).collect()
}

#[test]
fn p05_files_stay_the_same_from_creation_to_removal() -> Outcome {
    let (mut world, file) = world("search a.example\n")?;
    world.ctl("network create --ipv6 front")?;
    world
        .ctl("sandbox create --stopped --network front --hostname w --add-host db:192.0.2.7 web")?;
    let paths = files(&world, "web")?;
    let first = inodes(&paths)?;
    let extra = vec!["192.0.2.7\tdb".to_owned()];
    ensure!(resolv_conf(&world, "web")?.contains("search a.example"));
    ensure!(fs::read_to_string(&paths[2])? == "w\n");
    wants(&hosts(&world, "web")?, &extra)?;
    fs::write(file.path(), "search b.example\n")?;
    world.ctl("sandbox start web")?;
    ensure!(resolv_conf(&world, "web")?.contains("search b.example"));
    let addresses = own(&show::handle(&world, "web")?, "eth0", "w")?;
    ensure!(addresses.len() == 2, "{addresses:?}");
    wants(&hosts(&world, "web")?, &[extra.clone(), addresses].concat())?;
    world.ctl("sandbox stop web")?;
    wants(&hosts(&world, "web")?, &extra)?;
    // What is changed while it is stopped is followed.
    world.ctl("sandbox update --hostname v --add-host x:192.0.2.8 web")?;
    ensure!(fs::read_to_string(&paths[2])? == "v\n");
    wants(&hosts(&world, "web")?, &["192.0.2.8\tx".to_owned()])?;
    ensure!(inodes(&paths)? == first && files(&world, "web")? == paths);

    // A daemon's start and a request mend them, in place.
    fs::write(&paths[2], "nonsense")?;
    ensure!(
        world
            .ctl("system reconcile")?
            .contains("wrote the files of sandbox")
    );
    world.kill()?;
    fs::write(&paths[2], "nonsense")?;
    world.start()?;
    ensure!(fs::read_to_string(&paths[2])? == "v\n");
    ensure!(inodes(&paths)? == first);
    // As after a reboot, when RUN is empty.
    world.kill()?;
    fs::remove_dir_all(paths[0].parent().context("no directory")?)?;
    world.start()?;
    ensure!(fs::read_to_string(&paths[2])? == "v\n" && paths[0].exists() && paths[1].exists());
    world.ctl("sandbox rm web")?;
    ensure!(!paths[0].parent().is_some_and(Path::exists));
    world.close()
}

#[test]
fn p05_a_stopped_sandbox_for_the_host_network_has_no_files() -> Outcome {
    let world = World::new()?;
    let directory = |name: &str| -> anyhow::Result<PathBuf> {
        let shown = show::sandbox(&world, name)?;
        let id = shown["Id"].as_str().context("no id")?.to_owned();
        Ok(world.run_directory().join("files").join(id))
    };
    world.ctl("sandbox create --stopped --network host hosty")?;
    ensure!(!directory("hosty")?.exists());
    ensure!(show::sandbox(&world, "hosty")?["HostsPath"] == "");
    world.ctl("sandbox start hosty")?;
    world.ctl("sandbox stop hosty")?;
    ensure!(!directory("hosty")?.exists());
    Ok(())
}

#[test]
fn p05_killed_between_the_record_and_the_files_leaves_both_or_none() -> Outcome {
    let (mut world, _file) = world("")?;
    world.ctl("sandbox create --stopped keep")?;
    let kept = path(&world, "keep", "HostsPath")?;
    world.kill()?;
    world.start_with(&[("NETD_FAILPOINT", "converged")])?;
    ensure!(world.ctl("sandbox create --stopped late").is_err());
    world.wait_for_end()?;
    world.start()?;
    let all = world.run_directory().join("files");
    let there = show::sandbox(&world, "late").is_ok();
    ensure!(fs::read_dir(&all)?.count() == 1 + usize::from(there));
    ensure!(kept.exists());
    Ok(())
}
