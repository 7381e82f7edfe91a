//! What a client who watches flows has been told, and what it has not.

use std::collections::HashMap;

use netd_proto::v1::flow_change::Kind;

use crate::dataplane::{FlowRow, Place};

/// Flows that one client may watch; a flow takes some 200 bytes here.
pub const MOST: usize = 32_768;

/// A flow that the client knows of.
struct Told {
    row: FlowRow,
    /// The look that last saw it.
    look: u64,
}

/// The flows that a client knows of.
#[derive(Default)]
pub struct Known {
    flows: HashMap<Place, Told>,
    look: u64,
}

/// What a look at the flow table found changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// What to tell.
    pub all: Vec<(Kind, FlowRow)>,
    /// How many do not fit.
    pub left_out: u64,
    began: usize,
}

impl Known {
    /// Begins a look: each flow of the table then goes to [`Known::see`].
    pub fn begin(&mut self) -> Changes {
        self.look += 1;
        Changes::default()
    }

    /// A flow that is there.
    pub fn see(&mut self, row: FlowRow, changes: &mut Changes) {
        let room = self.flows.len() + changes.began < MOST;
        match self.flows.get_mut(&row.place()) {
            Some(told) => {
                told.look = self.look;
                if differs(&told.row, &row) {
                    changes.all.push((Kind::Updated, row));
                }
            }
            None if room => {
                changes.began += 1;
                changes.all.push((Kind::Began, row));
            }
            None => changes.left_out += 1,
        }
    }

    /// Ends a look: what it did not see has ended.
    pub fn end(&self, changes: &mut Changes) {
        let gone = self.flows.values().filter(|told| told.look != self.look);
        changes
            .all
            .extend(gone.map(|told| (Kind::Ended, told.row.clone())));
    }

    /// The client was told; what it was not told is found again by the next look.
    pub fn told(&mut self, kind: Kind, row: FlowRow) {
        let place = row.place();
        match kind {
            Kind::Ended => {
                self.flows.remove(&place);
            }
            _ if self.flows.len() < MOST || self.flows.contains_key(&place) => {
                let look = self.look;
                self.flows.insert(place, Told { row, look });
            }
            _ => {}
        }
    }
}

/// Whether there is something to tell; time passes for all of them.
fn differs(one: &FlowRow, other: &FlowRow) -> bool {
    one.state != other.state
        || one.packets != other.packets
        || one.flags != other.flags
        || (one.src, one.sport, one.dst, one.dport)
            != (other.src, other.sport, other.dst, other.dport)
}

#[cfg(test)]
mod tests {
    use netd_common::{
        abi::FlowKey,
        addr::{Addr, Be16},
        conntrack::lifetime::State,
    };

    use super::*;

    fn row(port: u16, packets: u64) -> FlowRow {
        FlowRow {
            key: FlowKey {
                sport: Be16::new(port),
                ..FlowKey::default()
            },
            src: Addr::UNSPECIFIED,
            dst: Addr::UNSPECIFIED,
            sport: Be16::ZERO,
            dport: Be16::ZERO,
            target: 0,
            flags: 0,
            begun: 1,
            last_seen: 1,
            end: 2,
            packets: [packets, 0],
            bytes: [0; 2],
            state: State::Opening,
        }
    }

    fn look(known: &mut Known, rows: &[FlowRow]) -> Vec<(Kind, u16)> {
        let mut changes = known.begin();
        for row in rows {
            known.see(row.clone(), &mut changes);
        }
        known.end(&mut changes);
        assert_eq!(changes.left_out, 0);
        let mut told: Vec<_> = changes
            .all
            .iter()
            .map(|(kind, row)| (*kind, row.key.sport.get()))
            .collect();
        told.sort();
        told
    }

    #[test]
    fn p01_what_was_not_told_comes_again() {
        let mut known = Known::default();
        assert_eq!(look(&mut known, &[row(1, 1)]), [(Kind::Began, 1)]);
        assert_eq!(look(&mut known, &[row(1, 2)]), [(Kind::Began, 1)]);
        known.told(Kind::Began, row(1, 2));
        assert_eq!(look(&mut known, &[row(1, 2)]), []);
        assert_eq!(look(&mut known, &[row(1, 3)]), [(Kind::Updated, 1)]);
        assert_eq!(look(&mut known, &[row(1, 4)]), [(Kind::Updated, 1)]);
        known.told(Kind::Updated, row(1, 4));
        assert_eq!(
            look(&mut known, &[row(2, 1)]),
            [(Kind::Began, 2), (Kind::Ended, 1)]
        );
        assert_eq!(look(&mut known, &[]), [(Kind::Ended, 1)]);
        known.told(Kind::Ended, row(1, 4));
        assert_eq!(look(&mut known, &[]), []);
    }

    #[test]
    fn p01_a_flow_with_the_same_addresses_is_another_one() {
        let mut known = Known::default();
        known.told(Kind::Began, row(1, 1));
        let later = FlowRow {
            begun: 9,
            ..row(1, 1)
        };
        assert_eq!(
            look(&mut known, &[later]),
            [(Kind::Began, 1), (Kind::Ended, 1)]
        );
    }

    #[test]
    fn p01_memory_has_a_bound() {
        let mut known = Known::default();
        for begun in 0..MOST as u64 + 5 {
            known.told(Kind::Began, FlowRow { begun, ..row(1, 1) });
        }
        assert_eq!(known.flows.len(), MOST);
        let mut changes = known.begin();
        known.see(row(2, 1), &mut changes);
        assert_eq!((changes.all.len(), changes.left_out), (0, 1));
    }
}
