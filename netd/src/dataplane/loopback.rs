//! The program of the host's loopback device.

use std::path::PathBuf;

use super::{Dataplane, State, attach, counters};
use crate::{error::Result, kernel::filters::Filter};

impl Dataplane {
    fn loopback_pin(&self) -> PathBuf {
        self.links.join("loopback")
    }

    /// The loopback device's program hangs while there is a publication, so that a host without any pays nothing.
    pub(super) fn follow_publications(&self, state: &mut State) -> Result<()> {
        let wanted = state.tables.published_blocks() > 0;
        if state.loopback == Some(wanted) {
            return Ok(());
        }
        let pin = self.loopback_pin();
        let own = |filter: &Filter| self.own_maps.own(filter);
        if wanted {
            let program = attach::LOOPBACK_PROGRAM;
            attach::uplink(&mut state.object, program, attach::LOOPBACK, &pin, own)?;
        } else {
            attach::no_uplink(attach::LOOPBACK, &pin, own);
        }
        state.loopback = Some(wanted);
        Ok(())
    }

    /// Where it hangs, if it does.
    pub(super) fn loopback_row(&self, state: &State) -> Option<counters::ProgramRow> {
        let hook = if self.loopback_pin().exists() {
            "tcx"
        } else {
            "clsact"
        };
        (state.loopback == Some(true)).then(|| counters::loopback(&state.object, hook))
    }
}
