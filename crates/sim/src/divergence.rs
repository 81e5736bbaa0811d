//! Replicas whose state becomes another than their group's: by what, here, nobody knows. Each time all points of one replica
//! get a payload of their own, so that whoever sees it can tell where it came from.

use meridian_model::Payload;
use meridian_replica::Replica;

use crate::clock::{MILLI, Micros};
use crate::faults::Healing;
use crate::ledger::{Group, value_of};
use crate::world::{CHECKSUM_EVERY, What, World};

/// Values from here on were written by no client.
const FIRST: u64 = 1 << 40;
/// Entries before the next comparison at which a state is changed: the fewer, the less can happen before it is noticed.
const AHEAD: u64 = 12;
/// Looks for such a moment before it is given up.
const LOOKS: u32 = 400;

/// One replica made different.
struct Divergence {
    pod: usize,
    group: Group,
    made: Micros,
    /// Its replica was told that it differs.
    told: Option<Micros>,
}

/// All replicas that were made different.
#[derive(Default)]
pub struct Divergences(Vec<Divergence>);

impl Divergences {
    /// Whether no client wrote this value.
    #[must_use]
    pub fn made(value: u64) -> bool {
        value >= FIRST
    }

    /// Whether a replica of the group was made different, ever.
    #[must_use]
    pub fn touched(&self, group: Group) -> bool {
        self.0.iter().any(|divergence| divergence.group == group)
    }

    /// When a replica of this region was first made different.
    #[must_use]
    pub fn first_of(&self, region: usize) -> Option<Micros> {
        self.0.iter().filter(|divergence| divergence.group.0 == region).map(|divergence| divergence.made).min()
    }

    /// The values in a replica that no client wrote.
    #[must_use]
    pub fn held_by(&self, replica: &Replica) -> Option<Vec<u64>> {
        if self.0.is_empty() {
            return None;
        }
        let state = replica.state();
        let values: Vec<u64> = state.payloads().filter_map(value_of).filter(|value| Self::made(*value)).collect();
        (!values.is_empty()).then_some(values)
    }
}

impl World {
    /// Some replica is to become different shortly before states are compared.
    pub fn plan_divergence(&mut self) -> Option<Micros> {
        let pod = self.spare()?;
        self.queue.push(self.now + 1, What::Heal(Healing::Diverge { pod, looks: 0 }));
        Some(3_000 * MILLI)
    }

    /// Makes a replica different, if the moment is right; else looks again a little later.
    pub fn diverge(&mut self, pod: usize, looks: u32) {
        let group = self.pods[pod].group();
        if self.calm || looks > LOOKS || !self.is_whole(group) {
            return;
        }
        // Pages of a seed are another region's to trust, and no checksum is between them.
        let hands_out = group.0 == self.primary && self.leader(group).is_some_and(|(leader, _)| leader == pod);
        let alone = self.agrees(group);
        let Some(process) = &mut self.pods[pod].process else { return };
        let applied = process.replica.state().applied().0;
        let soon = applied % CHECKSUM_EVERY >= CHECKSUM_EVERY.get() - AHEAD;
        if !soon || hands_out || !alone || !process.replica.is_ready() {
            let again = What::Heal(Healing::Diverge { pod, looks: looks + 1 });
            return self.queue.push(self.now + 5 * MILLI, again);
        }
        let value = FIRST + self.divergences.0.len() as u64;
        process.replica.diverge(&Payload(format!("{{\"n\":{value}}}").into()));
        self.divergences.0.push(Divergence { pod, group, made: self.now, told: None });
        self.counts.divergences += 1;
        self.log(|| format!("pod {pod} diverges by {value}, applied {applied}"));
    }

    /// Whether no replica of the group holds what nobody wrote. If one does, the group cannot spare another: who joins takes
    /// the leader's state for granted.
    pub fn agrees(&self, group: Group) -> bool {
        self.pods_of(group).into_iter().all(|pod| {
            let replica = self.pods[pod].process.as_ref().map(|process| &process.replica);
            replica.is_none_or(|replica| self.divergences.held_by(replica).is_none())
        })
    }

    /// Whether a replica was just told that it differs.
    pub fn note_divergence(&mut self, pod: usize) {
        if !self.divergences.0.iter().any(|divergence| divergence.pod == pod && divergence.told.is_none()) {
            return;
        }
        let Some(process) = &self.pods[pod].process else { return };
        if !process.replica.is_doubted() {
            return;
        }
        let (now, held) = (self.now, self.divergences.held_by(&process.replica).unwrap_or_default());
        for (number, divergence) in self.divergences.0.iter_mut().enumerate() {
            if divergence.pod == pod && held.contains(&(FIRST + number as u64)) {
                divergence.told.get_or_insert(now);
            }
        }
    }

    /// A client saw a value that no client wrote: the replica may not have been told by then.
    pub fn saw_wrong_value(&mut self, value: u64, asked: Micros, about: &str) {
        self.counts.wrong_reads += 1;
        let told = self.divergences.0.get((value - FIRST) as usize).and_then(|divergence| divergence.told);
        if told.is_some_and(|told| told < asked) {
            self.violation(format!("{value} was served after its replica knew that it is wrong: {about}"));
        }
    }
}
