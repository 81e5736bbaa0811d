//! When faults have stopped: are the regions equal, and does everything add up?

use std::collections::BTreeMap;

use meridian_model::{Answer, Fields, Names, OriginShard, PointId, Query, Select, ShardNumber};
use meridian_proto::frame::PartBody;
use meridian_replica::{ReadWhat, execute};
use meridian_shard::Digest;

use crate::clients::{MAIN, POINTS, name};
use crate::history::FilteredRecord;
use crate::ledger::value_of;
use crate::world::World;

impl World {
    /// Whether everybody has everything.
    pub fn is_quiet(&self) -> bool {
        self.clients.are_idle() && self.unequal().is_none()
    }

    /// All pods, for people.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        for (number, pod) in self.pods.iter().enumerate() {
            let (wanted, lost, tampered, starting) = (pod.wanted, pod.is_lost(), pod.tampered, pod.starting);
            out += &format!("\n  pod {number} {:?} wanted {wanted} lost {lost} tampered {tampered}", pod.group());
            out += &format!(" starting {starting} {:?}", pod.node());
            if let Some(process) = &pod.process {
                let status = process.replica.status();
                let ids = |members: &[meridian_proto::topology::Member]| {
                    members.iter().map(|member| member.replica.0).collect::<Vec<_>>()
                };
                let (voters, learners) = (ids(&status.voters), ids(&status.learners));
                out += &format!(" {:?} term {} voters {voters:?} learners {learners:?}", status.role, status.term);
                out += &format!(" commit {} applied {} leader {:?}", status.commit, status.applied, status.leader);
                out += &format!(" fault {:?} {:?} syncing {}", status.fault, status.followers, process.syncing);
                out += &format!(" chased {:?} vv {:?}", process.replica.chased(), process.replica.state().vv());
            }
        }
        out
    }

    /// What is not equal yet.
    pub fn unequal(&self) -> Option<String> {
        for group in self.groups() {
            if !self.is_whole(group) {
                return Some(format!("{group:?} is not whole"));
            }
            let committed = self.ledger.sequences(group);
            for pod in self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].wanted) {
                let Some(process) = &self.pods[pod].process else { return Some(format!("pod {pod} is down")) };
                if !process.replica.is_ready() {
                    return Some(format!("pod {pod} is not ready"));
                }
                if let Some(values) = self.divergences.held_by(&process.replica) {
                    return Some(format!("pod {pod} still holds {values:?}, which nobody wrote"));
                }
                let state = process.replica.state();
                let own = state.next_seq().0 - 1;
                if own != committed {
                    return Some(format!("pod {pod}: {own} of {committed} own changes"));
                }
                if group.0 == self.primary {
                    continue;
                }
                for shard in ShardNumber::all(self.shards[self.primary]) {
                    let origin = OriginShard { region: self.regions[self.primary].clone(), shard };
                    let (have, all) =
                        (state.vv().position(&origin).seq.0, self.ledger.sequences((self.primary, shard)));
                    if have != all {
                        return Some(format!("pod {pod}: {have} of {all} changes of {origin}"));
                    }
                }
            }
        }
        self.half_defined()
    }

    /// Shards of one region that hold other collections than shard 1.
    fn half_defined(&self) -> Option<String> {
        for region in 0..self.regions.len() {
            let mut first = None;
            for (number, pod) in self.pods.iter().enumerate().filter(|(_, pod)| pod.region == region && pod.wanted) {
                let Some(process) = &pod.process else { continue };
                let held: Vec<u64> = process.replica.state().collections().map(|held| held.uid().0).collect();
                if *first.get_or_insert_with(|| held.clone()) != held {
                    return Some(format!("pod {number} holds the collections {held:?}, others {first:?}"));
                }
            }
        }
        None
    }

    /// Everything that can only be judged at the end.
    pub fn check_finally(&mut self) {
        let mut digests: Vec<Vec<Digest>> = Vec::new();
        for region in 0..self.regions.len() {
            let mut of_region: Vec<Digest> = Vec::new();
            for shard in ShardNumber::all(self.shards[region]) {
                let mut of_shard: Vec<Digest> = Vec::new();
                for pod in self.pods_of((region, shard)) {
                    let Some(process) = self.pods[pod].process.as_ref().filter(|_| self.pods[pod].wanted) else {
                        continue;
                    };
                    of_shard.push(process.replica.state().digest());
                }
                if of_shard.iter().any(|digest| *digest != of_shard[0]) {
                    self.violation(format!("the replicas of shard {shard} of region {region} differ"));
                    return;
                }
                of_region.push(of_shard[0]);
            }
            digests.push(of_region);
        }
        let sums: Vec<Digest> = digests.iter().map(|shards| shards.iter().copied().sum()).collect();
        if sums[0] != sums[1] {
            let mut held = String::new();
            for (number, pod) in self.pods.iter().enumerate() {
                let Some(process) = pod.process.as_ref().filter(|_| pod.wanted) else { continue };
                let state = process.replica.state();
                let of = |c: &meridian_shard::Collection| (c.def().name.to_string(), c.uid().0, c.points(), c.digest());
                let collections: Vec<_> = state.collections().map(of).collect();
                held += &format!("; pod {number} {:?}: {collections:?}", pod.group());
            }
            self.violation(format!("the regions differ{held}"));
        }
        self.check_contents();
        let Some(main) = self.ledger.created(MAIN) else {
            return self.violation("the collection was never created".into());
        };
        let diverged = self.divergences.first_of(self.primary);
        let points = (0..POINTS).map(PointId::Num);
        let is_trusted =
            |record: &FilteredRecord| diverged.is_none_or(|at| record.acked.is_some_and(|acked| acked < at));
        let faults = self.history.take_apart(&self.ledger, main, points, is_trusted);
        for fault in faults.into_iter().take(5) {
            self.violation(fault);
        }
        for fault in self.history.check_refused(&self.ledger).into_iter().take(5) {
            self.violation(fault);
        }
        let excess = self.clock_excess();
        for read in &mut self.history.reads {
            // Clocks further apart than the machines are told make answers staler by as much.
            read.fresh_to = read.fresh_to.map(|moment| moment.saturating_sub(excess));
        }
        let faults = self.history.check(&self.ledger, main);
        for fault in faults.into_iter().take(5) {
            self.violation(fault);
        }
    }

    /// Every replica holds the newest change of each of its points, and nothing else.
    fn check_contents(&mut self) {
        let Some(main) = self.ledger.created(MAIN) else { return };
        let mut newest: BTreeMap<PointId, u64> = BTreeMap::new();
        for ((collection, point), changes) in self.ledger.points() {
            if let (true, Some(value)) = (*collection == main, changes.last().and_then(|change| change.value)) {
                newest.insert(*point, value);
            }
        }
        let ids: Vec<PointId> = (0..POINTS).map(PointId::Num).collect();
        let select = Select { payload: Fields::All, vectors: Names::None };
        let what = ReadWhat::Points(name(MAIN), Query::Retrieve { ids, select });
        let mut faults = Vec::new();
        for (number, pod) in self.pods.iter().enumerate() {
            let Some(process) = pod.process.as_ref().filter(|_| pod.wanted) else { continue };
            let state = process.replica.state();
            let result = execute(&process.replica.views().newest(), &what, &|| false);
            let Some(PartBody::Answer { answer: Answer::Records(records), .. }) = result.and_then(|result| result.body)
            else {
                faults.push(format!("pod {number} does not know the collection"));
                continue;
            };
            let held: BTreeMap<PointId, u64> = (records.iter())
                .filter_map(|record| Some((record.id, value_of(&record.payload.as_ref()?.0)?)))
                .collect();
            let expected: BTreeMap<PointId, u64> = (newest.iter())
                .filter(|(point, _)| state.table().shard_of(**point) == pod.shard)
                .map(|(point, value)| (*point, *value))
                .collect();
            if held != expected {
                let odd: Vec<_> = (0..POINTS)
                    .map(PointId::Num)
                    .filter(|point| held.get(point) != expected.get(point))
                    .map(|point| (point, held.get(&point), expected.get(&point)))
                    .collect();
                faults.push(format!("pod {number} holds other values than were committed last: {odd:?}"));
            }
        }
        faults.into_iter().take(3).for_each(|fault| self.violation(fault));
    }
}
