//! What hangs on the hooks, as the kernel says: others may detach a link or remove a filter, and nobody tells.

use netd_common::abi::LOOPBACK_IFINDEX;

use super::{
    Dataplane, attach,
    hooks::{Hooks, link_of},
    link::Link,
    locked, programs,
};
use crate::{
    error::Result,
    kernel::filters::{Filter, Side},
};

/// A program and its hook.
#[derive(Clone, Debug)]
pub struct ProgramRow {
    /// Its name.
    pub name: String,
    /// Interface or cgroup.
    pub target: String,
    /// Index of the interface, if it is one.
    pub ifindex: Option<u32>,
    /// tcx, clsact or cgroup.
    pub hook: &'static str,
    /// The kernel's number for it; 0: it does not hang there, though it should.
    pub program_id: u32,
    /// On an interface of netd's own.
    pub own: bool,
}

impl ProgramRow {
    /// Whether it hangs there.
    pub fn hangs(&self) -> bool {
        self.program_id != 0
    }

    /// That it does not.
    pub fn loose(&self) -> String {
        format!(
            "program {} does not hang on {} any more",
            self.name, self.target
        )
    }

    fn new(name: &str, ifindex: u32, own: bool) -> Self {
        Self {
            name: name.to_owned(),
            target: attach::name_of(ifindex).unwrap_or_else(|_| ifindex.to_string()),
            ifindex: Some(ifindex),
            hook: "clsact",
            program_id: 0,
            own,
        }
    }
}

/// The number of the filter's program that `own` means.
fn number(filters: &[Filter], own: impl Fn(&Filter) -> bool) -> u32 {
    let program = filters.iter().find(|f| own(f));
    program
        .and_then(|f| f.program.as_ref())
        .map_or(0, |(_, id)| *id)
}

/// As [`number`], of a pinned link.
fn linked(link: &Link) -> u32 {
    link.program().ok().flatten().unwrap_or(0)
}

impl Dataplane {
    /// The programs that should hang on hooks, each with what the kernel says. Asks once for each.
    pub async fn programs(&self) -> Result<Vec<ProgramRow>> {
        let mut rows = Vec::new();
        let endpoints = locked(&self.tables).interfaces();
        for ifindex in endpoints {
            let name = programs::CONTAINER_PROGRAM;
            let mut row = ProgramRow::new(name, ifindex, true);
            // One that is gone meanwhile has none.
            let filters = self.netlink.filters(ifindex, Side::Ingress).await;
            row.program_id = number(&filters.unwrap_or_default(), attach::is(name));
            rows.push(row);
        }
        let hooks = self.hooks.lock().await;
        rows.extend(self.on_the_host(&hooks).await);
        Ok(rows)
    }

    /// Those of the host's hooks.
    pub(super) async fn on_the_host(&self, hooks: &Hooks) -> Vec<ProgramRow> {
        let mut rows = Vec::new();
        let mut hung: Vec<(u32, &str)> = Vec::new();
        for uplink in &hooks.uplinks {
            let name = programs::UPLINK_PROGRAMS[usize::from(!uplink.ethernet)];
            hung.push((uplink.ifindex, name));
        }
        if hooks.loopback == Some(true) {
            hung.push((LOOPBACK_IFINDEX, programs::LOOPBACK_PROGRAM));
        }
        for (ifindex, name) in hung {
            let mut row = ProgramRow::new(name, ifindex, false);
            if let Some(link) = hooks.pins.link(&link_of(ifindex)) {
                row.hook = "tcx";
                row.program_id = linked(link);
            } else {
                let filters = self.netlink.filters(ifindex, Side::Ingress).await;
                let own = |filter: &Filter| hooks.own_maps.own(filter);
                row.program_id = number(&filters.unwrap_or_default(), own);
            }
            rows.push(row);
        }
        for name in programs::CGROUP_PROGRAMS {
            rows.push(ProgramRow {
                name: name.to_owned(),
                target: hooks.cgroup.display().to_string(),
                ifindex: None,
                hook: "cgroup",
                program_id: hooks.pins.link(name).map_or(0, linked),
                own: false,
            });
        }
        rows
    }
}
