//! The host's hooks: uplinks, the loopback device, the cgroup. What works on them waits for its turn at the kernel's
//! configuration and has a thread of its own meanwhile; nobody else waits but those who want the same.

use std::{path::PathBuf, sync::Arc};

use aya::Ebpf;
use netd_common::abi::LOOPBACK_IFINDEX;
use tokio::{runtime::Handle, sync::Mutex, task::spawn_blocking};

use super::{Dataplane, ProgramRow, UplinkSpec, attach, locked, pins::Pins, programs};
use crate::{
    error::{Error, Result},
    kernel::{Netlink, filters::Filter, rtnl},
};

/// What hangs on the host's hooks, and the programs for them.
pub struct Hooks {
    pub(super) object: Ebpf,
    pub(super) uplinks: Vec<UplinkSpec>,
    /// Whether the program of the loopback device hangs; unknown at first.
    pub(super) loopback: Option<bool>,
    pub(super) cgroup: PathBuf,
    pub(super) own_maps: attach::OwnMaps,
    pub(super) pins: Pins,
    netlink: Netlink,
    runtime: Handle,
}

impl Hooks {
    /// Nothing known to hang yet. `pins`: where links are pinned.
    pub fn new(
        object: Ebpf,
        cgroup: PathBuf,
        own_maps: attach::OwnMaps,
        pins: Pins,
        netlink: Netlink,
    ) -> Self {
        Self {
            object,
            uplinks: Vec::new(),
            loopback: None,
            cgroup,
            own_maps,
            pins,
            netlink,
            runtime: Handle::current(),
        }
    }

    /// Makes the pins whole, so that there is where to pin.
    fn restore_pins(&self) -> Result<()> {
        for text in self.pins.restore()? {
            tracing::warn!("{text}");
        }
        Ok(())
    }

    /// Hangs a program where an uplink's hangs.
    fn hang(&mut self, program: &str, ifindex: u32) -> Result<()> {
        self.restore_pins()?;
        let link = link_of(ifindex);
        let pin = self.pins.of_link(&link);
        let filter = attach::tcx_or(&mut self.object, program, ifindex, &pin)?;
        self.pins.hold_link(&link);
        let Some(fd) = filter else {
            return Ok(());
        };
        let own = |filter: &Filter| self.own_maps.own(filter);
        let hung = attach::uplink_filter(&self.netlink, program, &fd, ifindex, own);
        self.runtime.block_on(hung)
    }

    fn unhang(&mut self, ifindex: u32) {
        if !self.pins.remove_link(&link_of(ifindex)) {
            let own = |filter: &Filter| self.own_maps.own(filter);
            let side = crate::kernel::filters::Side::Ingress;
            let unhung = self
                .runtime
                .block_on(self.netlink.unhang(ifindex, side, own));
            if let Err(e) = unhung {
                tracing::warn!("{e}");
            }
        }
    }

    /// Hangs the programs of the cgroup.
    pub fn hang_cgroup(&mut self) -> Result<()> {
        self.restore_pins()?;
        let done = attach::cgroup(&mut self.object, &self.cgroup, &self.pins.links());
        for program in programs::CGROUP_PROGRAMS {
            self.pins.hold_link(program);
        }
        done
    }

    fn hang_uplink(&mut self, uplink: &UplinkSpec) -> Result<()> {
        let program = programs::UPLINK_PROGRAMS[usize::from(!uplink.ethernet)];
        self.hang(program, uplink.ifindex)
    }

    fn hangs(&self, uplink: &UplinkSpec) -> bool {
        let mut hung = self.uplinks.iter();
        hung.any(|u| u.ifindex == uplink.ifindex && u.ethernet == uplink.ethernet)
    }

    fn set_loopback(&mut self, wanted: bool) -> Result<()> {
        if wanted {
            self.hang(programs::LOOPBACK_PROGRAM, LOOPBACK_IFINDEX)?;
        } else {
            self.unhang(LOOPBACK_IFINDEX);
        }
        self.loopback = Some(wanted);
        Ok(())
    }

    /// Hangs again what others took off these interfaces, or the cgroup. Returns what was mended, and what failed.
    /// An uplink where that failed is none until it is set again.
    fn mend(&mut self, loose: &[ProgramRow]) -> (Vec<String>, Vec<Error>) {
        let (mut mended, mut failures) = (Vec::new(), Vec::new());
        let mut told = |row: &ProgramRow, done: Result<()>| match done {
            Ok(()) => mended.push(format!("hung program {} on {} anew", row.name, row.target)),
            Err(e) => failures.push(e),
        };
        let mut cgroup = None;
        for row in loose {
            match row.ifindex {
                None => cgroup = Some(row),
                Some(LOOPBACK_IFINDEX) => told(row, self.set_loopback(true)),
                Some(ifindex) => {
                    let there = self.uplinks.iter().position(|u| u.ifindex == ifindex);
                    if let Some(at) = there {
                        let uplink = self.uplinks.swap_remove(at);
                        let done = self.hang_uplink(&uplink);
                        if done.is_ok() {
                            self.uplinks.push(uplink);
                        } else {
                            self.unhang(ifindex);
                        }
                        // One that went meanwhile is no uplink.
                        if done.is_ok() || attach::name_of(ifindex).is_ok() {
                            told(row, done);
                        }
                    }
                }
            }
        }
        if let Some(row) = cgroup {
            told(row, self.hang_cgroup());
        }
        (mended, failures)
    }
}

/// The name of the pin of an interface's link.
pub fn link_of(ifindex: u32) -> String {
    if ifindex == LOOPBACK_IFINDEX {
        "loopback".to_owned()
    } else {
        format!("uplink-{ifindex}")
    }
}

/// The hooks, for one at a time.
pub type Shared = Arc<Mutex<Hooks>>;

/// Works on the hooks, in the task's turn, without holding up the runtime.
async fn work<R: Send + 'static>(
    mut hooks: tokio::sync::OwnedMutexGuard<Hooks>,
    how: impl FnOnce(&mut Hooks) -> R + Send + 'static,
) -> Result<R> {
    let turn = rtnl::turn().await;
    spawn_blocking(move || {
        let _turn = turn;
        how(&mut hooks)
    })
    .await
    .map_err(|e| Error::internal("work on the host's hooks", e))
}

impl Dataplane {
    /// Makes exactly these the uplinks. What fails for one is no matter for the others, and is tried again with the next
    /// call; returns what failed. A packet leaves by an uplink only when its program hangs, which sees the answers.
    pub async fn set_uplinks(&self, wanted: &[UplinkSpec]) -> Vec<Error> {
        let mut hooks = Arc::clone(&self.hooks).lock_owned().await;
        let known = locked(&self.tables).uplinks();
        let kept = |ifindex: u32| wanted.iter().any(|u| u.ifindex == ifindex);
        let settled = wanted.iter().all(|u| hooks.hangs(u)) && known.into_iter().all(kept);
        let entered = |u: &UplinkSpec| locked(&self.tables).set_uplink(u).is_ok();
        if settled && wanted.iter().all(entered) {
            // Nothing but the maps' entries, if that: no thread that may wait is needed.
            hooks.uplinks = wanted.to_vec();
            return Vec::new();
        }
        let tables = Arc::clone(&self.tables);
        let wanted = wanted.to_vec();
        let set = move |hooks: &mut Hooks| {
            let mut failures = Vec::new();
            let mut done: Vec<UplinkSpec> = Vec::new();
            for uplink in wanted {
                let hung = if hooks.hangs(&uplink) {
                    Ok(())
                } else {
                    hooks.hang_uplink(&uplink)
                };
                match hung.and_then(|()| locked(&tables).set_uplink(&uplink)) {
                    Ok(()) => done.push(uplink),
                    // One that went meanwhile is no uplink.
                    Err(_) if attach::name_of(uplink.ifindex).is_err() => {}
                    Err(e) => failures.push(e),
                }
            }
            let known = locked(&tables).uplinks();
            for ifindex in known {
                if !done.iter().any(|u| u.ifindex == ifindex) {
                    locked(&tables).remove_uplink(ifindex);
                    hooks.unhang(ifindex);
                }
            }
            hooks.uplinks = done;
            failures
        };
        work(hooks, set).await.unwrap_or_else(|e| vec![e])
    }

    /// The loopback device's program hangs while there is a publication, so that a host without any pays nothing.
    pub(super) async fn follow_publications(&self) -> Result<()> {
        let hooks = Arc::clone(&self.hooks).lock_owned().await;
        // Whoever comes last has seen the latest.
        let wanted = locked(&self.tables).any_published();
        if hooks.loopback == Some(wanted) {
            return Ok(());
        }
        work(hooks, move |hooks| hooks.set_loopback(wanted)).await?
    }

    /// Hangs again what others took off the host's hooks, and pins again what they unpinned. Returns what was mended, and what
    /// failed. Filters of netd's own veths are looked after with their endpoints and networks.
    pub async fn mend_hooks(&self) -> (Vec<String>, Vec<Error>) {
        let hooks = Arc::clone(&self.hooks).lock_owned().await;
        let pinned = hooks.pins.restore();
        let mut loose = self.on_the_host(&hooks).await;
        loose.retain(|row| !row.hangs());
        let mut mended = match pinned {
            Ok(mended) => mended,
            // What hangs, hangs on; nothing else can be hung.
            Err(e) => {
                let loose = loose.iter().map(ProgramRow::loose);
                let loose = loose.map(|text| Error::internal("the host's hooks", text));
                return (Vec::new(), std::iter::once(e).chain(loose).collect());
            }
        };
        if loose.is_empty() {
            return (mended, Vec::new());
        }
        let tables = Arc::clone(&self.tables);
        let done = work(hooks, move |hooks| {
            let done = hooks.mend(&loose);
            for row in &loose {
                // A packet leaves by an uplink only when its program hangs, which sees the answers.
                if let Some(ifindex) = row.ifindex
                    && ifindex != LOOPBACK_IFINDEX
                    && !hooks.uplinks.iter().any(|u| u.ifindex == ifindex)
                {
                    locked(&tables).remove_uplink(ifindex);
                }
            }
            done
        });
        let (hung, failures) = done.await.unwrap_or_else(|e| (Vec::new(), vec![e]));
        mended.extend(hung);
        (mended, failures)
    }
}
