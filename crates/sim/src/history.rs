//! The history of client operations, and the linearizability check.
//!
//! The committed log gives the order of each point's changes. It is a witness: a history is linearizable if every
//! acknowledged write is in that order once, no write precedes one that had completed before it began, and every read
//! fits behind everything that completed before it began and before everything that began after it completed. A read
//! takes the earliest possible position, which loses nothing, since later constraints only move positions forward.

use std::collections::BTreeMap;

use meridian_model::{CollectionUid, PointId, WriteId};

use crate::clock::Micros;
use crate::committed_log::{Change, CommittedLog, class_of, value_of};

/// Result of a read for one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The counter.
    Value(u64),
    /// The point exists; its counter is unknown.
    Present,
    /// The point does not exist.
    Absent,
    /// The point does not exist, or its counter is of another class: the result of a delete by filter.
    Without(u64),
}

impl Seen {
    /// Result from a payload.
    #[must_use]
    pub fn of(payload: Option<&str>) -> Self {
        payload.and_then(value_of).map_or(Self::Present, Self::Value)
    }

    fn is(self, value: Option<u64>) -> bool {
        match self {
            Self::Value(seen) => value == Some(seen),
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Without(class) => value.is_none_or(|value| class_of(value) != class),
        }
    }
}

/// A write, with all its attempts.
#[derive(Debug, Clone)]
pub struct WriteRecord {
    /// Index of the client.
    pub client: usize,
    /// Id of the write.
    pub id: WriteId,
    /// Changed points and their new counters; `None` deletes.
    pub changes: Vec<(PointId, Option<u64>)>,
    /// Time of the first attempt.
    pub invoked: Micros,
    /// Time of the acknowledgement.
    pub acked: Option<Micros>,
    /// The secondary region that reported the write as visible.
    pub visible: Option<usize>,
}

/// A delete by filter: deletes all points whose counter is of one class.
#[derive(Debug, Clone)]
pub struct FilteredRecord {
    /// Index of the client.
    pub client: usize,
    /// Trace id of its changes.
    pub trace: u128,
    /// The class that matches.
    pub class: u64,
    /// Time of the request.
    pub invoked: Micros,
    /// Time of the acknowledgement.
    pub acked: Option<Micros>,
    /// The secondary region that reported it as visible.
    pub visible: Option<usize>,
}

/// A change that was refused: it must never take effect.
#[derive(Debug, Clone)]
pub struct RefusedRecord {
    /// Id of the write.
    pub id: WriteId,
    /// Trace id of a delete by filter of the checked collection.
    pub trace: Option<u128>,
}

/// A read.
#[derive(Debug, Clone)]
pub struct ReadRecord {
    /// Index of the client.
    pub client: usize,
    /// Time at which the gateway received it.
    pub invoked: Micros,
    /// Time of the response.
    pub returned: Micros,
    /// Results by point.
    pub seen: Vec<(PointId, Seen)>,
    /// Whether it must be linearizable.
    pub linear: bool,
    /// Region within which reads must be monotonic.
    pub region: Option<usize>,
    /// It must see all writes acknowledged before this time.
    pub fresh_to: Option<Micros>,
    /// Whether it must see everything that its client wrote and saw before.
    pub session: bool,
    /// Description for violation messages.
    pub about: String,
}

/// All operations of clients.
#[derive(Default)]
pub struct History {
    /// Writes, in order of their first attempt.
    pub writes: Vec<WriteRecord>,
    /// Reads, in order of their response.
    pub reads: Vec<ReadRecord>,
    /// Deletes by filter of the checked collection, in order of their request.
    pub filtered: Vec<FilteredRecord>,
    /// Refused changes of any collection.
    pub refused: Vec<RefusedRecord>,
}

/// An event in the history of one point.
enum HistoryEvent<'a> {
    WriteBegins(usize),
    WriteAcked(usize),
    ReadBegins(usize),
    ReadEnds(usize, &'a ReadRecord, Seen),
}

/// Lower bounds of the positions that reads of one point may return.
#[derive(Default)]
struct LowerBounds {
    /// For the primary region, and for strong reads anywhere.
    linear: usize,
    regions: BTreeMap<usize, usize>,
    sessions: BTreeMap<usize, usize>,
    /// Acknowledged writes: time, and the largest position acknowledged up to then.
    acked: Vec<(Micros, usize)>,
}

impl History {
    /// Expands deletes by filter: each deleted point becomes a write, and an acknowledged operation becomes a read that
    /// finds no point of its class. Returns the deletes of points that did not match, which are violations.
    ///
    /// `is_trusted` excludes operations that a diverged replica may have answered.
    pub fn expand_filtered_deletes(
        &mut self,
        committed: &CommittedLog,
        collection: CollectionUid,
        points: impl Iterator<Item = PointId> + Clone,
        is_trusted: impl Fn(&FilteredRecord) -> bool,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        let by_trace: BTreeMap<u128, &FilteredRecord> =
            self.filtered.iter().map(|record| (record.trace, record)).collect();
        for ((_, point), changes) in committed.points().filter(|((held, _), _)| *held == collection) {
            for (i, change) in changes.iter().enumerate() {
                let Some(record) = change.trace.and_then(|trace| by_trace.get(&trace)) else { continue };
                let before = i.checked_sub(1).and_then(|before| changes[before].value);
                if before.is_some_and(|value| class_of(value) != record.class) {
                    violations.push(format!(
                        "point {point}: a delete by filter of class {} deleted {before:?}, which never matched ({record:?})",
                        record.class
                    ));
                }
                let FilteredRecord { client, invoked, acked, visible, .. } = **record;
                let changes = vec![(*point, None)];
                self.writes.push(WriteRecord { client, id: change.write, changes, invoked, acked, visible });
            }
        }
        for record in self.filtered.iter().filter(|record| is_trusted(record)) {
            let Some(returned) = record.acked else { continue };
            self.reads.push(ReadRecord {
                client: record.client,
                invoked: record.invoked,
                returned,
                seen: points.clone().map(|point| (point, Seen::Without(record.class))).collect(),
                linear: true,
                region: record.visible,
                fresh_to: None,
                session: false,
                about: format!("{record:?}"),
            });
        }
        violations
    }

    /// Refused changes that took effect nevertheless.
    #[must_use]
    pub fn check_refused(&self, committed: &CommittedLog) -> Vec<String> {
        let traces = committed.traces();
        let took_place = |record: &&RefusedRecord| {
            committed.has_write(record.id) || record.trace.is_some_and(|trace| traces.contains(&trace))
        };
        let violation = |record: &RefusedRecord| format!("a change was refused and took place: {record:?}");
        self.refused.iter().filter(took_place).map(violation).collect()
    }

    /// Checks all points; returns violations.
    #[must_use]
    pub fn check(&self, committed: &CommittedLog, collection: CollectionUid) -> Vec<String> {
        let mut violations = Vec::new();
        let mut writes: BTreeMap<PointId, Vec<usize>> = BTreeMap::new();
        for (number, write) in self.writes.iter().enumerate() {
            for (point, _) in &write.changes {
                writes.entry(*point).or_default().push(number);
            }
        }
        let mut reads: BTreeMap<PointId, Vec<(usize, Seen)>> = BTreeMap::new();
        for (number, read) in self.reads.iter().enumerate() {
            for (point, seen) in &read.seen {
                reads.entry(*point).or_default().push((number, *seen));
            }
        }
        let mut points: Vec<PointId> = writes.keys().chain(reads.keys()).copied().collect();
        points.sort_unstable();
        points.dedup();
        let none = (Vec::new(), Vec::new());
        for point in points {
            let order = committed.changes(&(collection, point));
            let (writes, reads) = (writes.get(&point).unwrap_or(&none.0), reads.get(&point).unwrap_or(&none.1));
            self.check_point(point, order, writes, reads, &mut violations);
        }
        violations
    }

    fn check_point(
        &self,
        point: PointId,
        order: &[Change],
        writes: &[usize],
        reads: &[(usize, Seen)],
        violations: &mut Vec<String>,
    ) {
        // Position 0 is the initial state; change i has position i + 1.
        let mut place_of: BTreeMap<WriteId, usize> = BTreeMap::new();
        for (i, change) in order.iter().enumerate() {
            if place_of.insert(change.write, i + 1).is_some() {
                violations.push(format!("point {point}: write {:?} is committed twice", change.write));
            }
        }
        let mut began: BTreeMap<WriteId, Micros> = BTreeMap::new();
        let mut moments: Vec<(Micros, u8, HistoryEvent<'_>)> = Vec::new();
        for number in writes {
            let write = &self.writes[*number];
            began.insert(write.id, write.invoked);
            moments.push((write.invoked, 1, HistoryEvent::WriteBegins(*number)));
            if let Some(acked) = write.acked {
                moments.push((acked, 0, HistoryEvent::WriteAcked(*number)));
            }
        }
        for (number, seen) in reads {
            let read = &self.reads[*number];
            moments.push((read.invoked, 1, HistoryEvent::ReadBegins(*number)));
            moments.push((read.returned, 0, HistoryEvent::ReadEnds(*number, read, *seen)));
        }
        // Begins sort before ends of the same time: an end constrains only operations that begin later.
        moments.sort_by_key(|(at, rank, _)| (*at, 1 - *rank));
        let mut bounds = LowerBounds::default();
        let mut began_at: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        let mut region_began: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, _, moment) in moments {
            match moment {
                HistoryEvent::WriteBegins(number) => {
                    let write = &self.writes[number];
                    if let Some(place) = place_of.get(&write.id).filter(|place| **place <= bounds.linear) {
                        let violation = format!(
                            "point {point}: write {:?} of {at} stands at {place}, behind place {} that was over before",
                            write.id, bounds.linear
                        );
                        violations.push(violation);
                    }
                }
                HistoryEvent::WriteAcked(number) => {
                    let write = &self.writes[number];
                    let Some(place) = place_of.get(&write.id).copied() else {
                        violations
                            .push(format!("point {point}: write {:?} was acknowledged at {at} and lost", write.id));
                        continue;
                    };
                    bounds.linear = bounds.linear.max(place);
                    let session = bounds.sessions.entry(write.client).or_default();
                    *session = (*session).max(place);
                    if let Some(region) = write.visible {
                        let floor = bounds.regions.entry(region).or_default();
                        *floor = (*floor).max(place);
                    }
                    let before = bounds.acked.last().map_or(0, |(_, place)| *place);
                    bounds.acked.push((at, before.max(place)));
                }
                HistoryEvent::ReadBegins(number) => {
                    let read = &self.reads[number];
                    began_at.insert((true, number), bounds.linear);
                    let region = read.region.and_then(|region| bounds.regions.get(&region)).copied();
                    region_began.insert(number, region.unwrap_or_default());
                }
                HistoryEvent::ReadEnds(number, read, seen) => {
                    let mut least = 0;
                    let mut why = "";
                    let mut ask = |place: usize, reason| {
                        if place > least {
                            (least, why) = (place, reason);
                        }
                    };
                    if read.linear {
                        ask(began_at.get(&(true, number)).copied().unwrap_or_default(), "linearizable");
                    }
                    if read.region.is_some() {
                        ask(region_began.get(&number).copied().unwrap_or_default(), "monotone in its region");
                    }
                    if let Some(fresh_to) = read.fresh_to {
                        let upto = bounds.acked.partition_point(|(acked, _)| *acked < fresh_to);
                        ask(
                            upto.checked_sub(1).map_or(0, |last| bounds.acked[last].1),
                            "as fresh as asked, or as it says",
                        );
                    }
                    if read.session {
                        ask(bounds.sessions.get(&read.client).copied().unwrap_or_default(), "what its session knows");
                    }
                    let value = |place: usize| place.checked_sub(1).and_then(|i| order[i].value);
                    let began_before = |place: usize| {
                        let write = place.checked_sub(1).map(|i| order[i].write);
                        write.is_none_or(|write| began.get(&write).is_none_or(|began| *began <= read.returned))
                    };
                    // A point that is replaced during a delete by filter may match again; the delete then took effect
                    // just before.
                    let overtaken = |place: usize| {
                        matches!(seen, Seen::Without(_)) && place < order.len() && began_before(place + 1)
                    };
                    let shows = |place: usize| seen.is(value(place)) || overtaken(place);
                    let place = (least..=order.len()).find(|place| shows(*place) && began_before(*place));
                    let Some(place) = place else {
                        let known = (0..=order.len()).filter(|place| seen.is(value(*place))).max();
                        let violation = format!(
                            "point {point}: {} from {} to {} saw {seen:?}, newest place {known:?} of {}, but is not {why}: \
                             place {least} or later was to be seen ({:?})",
                            read.about,
                            read.invoked,
                            read.returned,
                            order.len(),
                            least.checked_sub(1).map(|i| &order[i]),
                        );
                        violations.push(violation);
                        continue;
                    };
                    if read.linear {
                        bounds.linear = bounds.linear.max(place);
                    }
                    if let Some(region) = read.region {
                        let floor = bounds.regions.entry(region).or_default();
                        *floor = (*floor).max(place);
                    }
                    let session = bounds.sessions.entry(read.client).or_default();
                    *session = (*session).max(place);
                }
            }
        }
    }
}
