//! Checks after the last fault: the regions are equal, and all counts match.

use std::collections::BTreeMap;

use meridian_model::{Answer, Fields, Names, OriginShard, PointId, Query, Select, ShardNumber};
use meridian_proto::frame::PartBody;
use meridian_replica::{ReadWhat, execute};
use meridian_shard::Digest;

use crate::clients::{MAIN, POINTS, name};
use crate::committed_log::value_of;
use crate::history::FilteredRecord;
use crate::world::World;

impl World {
    /// Whether all replicas have everything and no client waits.
    pub fn has_converged(&self) -> bool {
        self.clients.are_idle() && self.first_difference().is_none()
    }

    /// Describes all pods, for debugging.
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
                out += &format!(
                    " link_statuses {:?} vv {:?}",
                    process.replica.link_statuses(),
                    process.replica.state().vv()
                );
            }
        }
        out
    }

    /// The first difference between replicas or regions.
    pub fn first_difference(&self) -> Option<String> {
        for group in self.groups() {
            if !self.is_whole(group) {
                return Some(format!("{group:?} is not whole"));
            }
            let committed = self.committed.sequences(group);
            for pod in self.pods_of(group).into_iter().filter(|pod| self.pods[*pod].wanted) {
                let Some(process) = &self.pods[pod].process else { return Some(format!("pod {pod} is down")) };
                if !process.replica.is_ready() {
                    return Some(format!("pod {pod} is not ready"));
                }
                if let Some(values) = self.divergences.held_by(&process.replica) {
                    return Some(format!("pod {pod} still holds the injected values {values:?}"));
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
                        (state.vv().position(&origin).seq.0, self.committed.sequences((self.primary, shard)));
                    if have != all {
                        return Some(format!("pod {pod}: {have} of {all} changes of {origin}"));
                    }
                }
            }
        }
        self.inconsistent_collections()
    }

    /// A shard with other collections than shard 1 of its region.
    fn inconsistent_collections(&self) -> Option<String> {
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

    /// Checks that are possible only at the end.
    pub fn check_final_state(&mut self) {
        let mut digests: Vec<Vec<Digest>> = Vec::new();
        for region in 0..self.regions.len() {
            let mut region_digests: Vec<Digest> = Vec::new();
            for shard in ShardNumber::all(self.shards[region]) {
                let mut shard_digests: Vec<Digest> = Vec::new();
                for pod in self.pods_of((region, shard)) {
                    let Some(process) = self.pods[pod].process.as_ref().filter(|_| self.pods[pod].wanted) else {
                        continue;
                    };
                    shard_digests.push(process.replica.state().digest());
                }
                if shard_digests.iter().any(|digest| *digest != shard_digests[0]) {
                    self.violation(format!("the replicas of shard {shard} of region {region} differ"));
                    return;
                }
                region_digests.push(shard_digests[0]);
            }
            digests.push(region_digests);
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
        let Some(main) = self.committed.created(MAIN) else {
            return self.violation("the collection was never created".into());
        };
        let diverged = self.divergences.first_of(self.primary);
        let points = (0..POINTS).map(PointId::Num);
        let is_trusted =
            |record: &FilteredRecord| diverged.is_none_or(|at| record.acked.is_some_and(|acked| acked < at));
        let violations = self.history.expand_filtered_deletes(&self.committed, main, points, is_trusted);
        for violation in violations.into_iter().take(5) {
            self.violation(violation);
        }
        for violation in self.history.check_refused(&self.committed).into_iter().take(5) {
            self.violation(violation);
        }
        let excess = self.clock_excess();
        for read in &mut self.history.reads {
            // Clock differences above the clock bound make answers staler by as much.
            read.fresh_to = read.fresh_to.map(|moment| moment.saturating_sub(excess));
        }
        let violations = self.history.check(&self.committed, main);
        for violation in violations.into_iter().take(5) {
            self.violation(violation);
        }
    }

    /// Every replica holds the newest value of each of its points, and nothing else.
    fn check_contents(&mut self) {
        let Some(main) = self.committed.created(MAIN) else { return };
        let mut newest: BTreeMap<PointId, u64> = BTreeMap::new();
        for ((collection, point), changes) in self.committed.points() {
            if let (true, Some(value)) = (*collection == main, changes.last().and_then(|change| change.value)) {
                newest.insert(*point, value);
            }
        }
        let ids: Vec<PointId> = (0..POINTS).map(PointId::Num).collect();
        let select = Select { payload: Fields::All, vectors: Names::None };
        let what = ReadWhat::Points(name(MAIN), Query::Retrieve { ids, select });
        let mut violations = Vec::new();
        for (number, pod) in self.pods.iter().enumerate() {
            let Some(process) = pod.process.as_ref().filter(|_| pod.wanted) else { continue };
            let state = process.replica.state();
            let result = execute(&process.replica.views().newest(), &what, &|| false);
            let Some(PartBody::Answer { answer: Answer::Records(records), .. }) = result.and_then(|result| result.body)
            else {
                violations.push(format!("pod {number} lacks the collection"));
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
                let differences: Vec<_> = (0..POINTS)
                    .map(PointId::Num)
                    .filter(|point| held.get(point) != expected.get(point))
                    .map(|point| (point, held.get(&point), expected.get(&point)))
                    .collect();
                violations.push(format!("pod {number} holds other values than were committed last: {differences:?}"));
            }
        }
        violations.into_iter().take(3).for_each(|violation| self.violation(violation));
    }
}
