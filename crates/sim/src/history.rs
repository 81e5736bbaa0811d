//! What clients asked and got, and whether any order of events explains it.
//!
//! The ledger says in which order the changes of a point were committed. A history is linearizable if that order explains
//! it: every acknowledged write stands in it once, no write stands before one that was over when it began, and every read
//! can be placed behind all that was over when it began and before anything that began when it was over. The order is a
//! witness, so a history that passes is linearizable; that a read takes the earliest place it can loses nothing, for later
//! constraints only ask for later places.

use std::collections::BTreeMap;

use meridian_model::{CollectionUid, PointId, WriteId};

use crate::clock::Micros;
use crate::ledger::{Change, Ledger, class_of, value_of};

/// What a read saw of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// This counter.
    Value(u64),
    /// Some value.
    Present,
    /// Nothing.
    Absent,
    /// Nothing of this class of counters: what a delete by filter left.
    Without(u64),
}

impl Seen {
    /// What a payload shows.
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

/// A write, with all its repeats.
#[derive(Debug, Clone)]
pub struct WriteRecord {
    /// Whose.
    pub client: usize,
    /// Its id.
    pub id: WriteId,
    /// Points and what they become.
    pub changes: Vec<(PointId, Option<u64>)>,
    /// First asked.
    pub invoked: Micros,
    /// Acknowledged.
    pub acked: Option<Micros>,
    /// The secondary region that answered that it is visible there.
    pub visible: Option<usize>,
}

/// A delete by filter: of all points whose counter is of a class.
#[derive(Debug, Clone)]
pub struct FilteredRecord {
    /// Whose.
    pub client: usize,
    /// The trace that its changes carry.
    pub trace: u128,
    /// Which points match.
    pub class: u64,
    /// Asked.
    pub invoked: Micros,
    /// Acknowledged.
    pub acked: Option<Micros>,
    /// The secondary region in which it was said to be visible then.
    pub visible: Option<usize>,
}

/// A change that was refused: whoever was asked said that nothing was done.
#[derive(Debug, Clone)]
pub struct RefusedRecord {
    /// Its id.
    pub id: WriteId,
    /// Of a delete by filter of the checked collection: the trace that its changes would carry.
    pub trace: Option<u128>,
}

/// A read.
#[derive(Debug, Clone)]
pub struct ReadRecord {
    /// Whose.
    pub client: usize,
    /// When the gateway got it.
    pub invoked: Micros,
    /// When the answer came.
    pub returned: Micros,
    /// What it saw.
    pub seen: Vec<(PointId, Seen)>,
    /// It must see all that was acknowledged before it.
    pub linear: bool,
    /// It must not go back behind what reads of this region saw before.
    pub region: Option<usize>,
    /// It must see all that was acknowledged before this moment.
    pub fresh_to: Option<Micros>,
    /// It must see what its client wrote and saw before.
    pub session: bool,
    /// For people.
    pub about: String,
}

/// All that clients asked and got.
#[derive(Default)]
pub struct History {
    /// Writes, in the order they began.
    pub writes: Vec<WriteRecord>,
    /// Reads, in the order they ended.
    pub reads: Vec<ReadRecord>,
    /// Deletes by filter of the checked collection, in the order they began.
    pub filtered: Vec<FilteredRecord>,
    /// Changes that were refused, of any collection.
    pub refused: Vec<RefusedRecord>,
}

/// Something that happened to a point, for the check of it.
enum Moment<'a> {
    WriteBegins(usize),
    WriteAcked(usize),
    ReadBegins(usize),
    ReadEnds(usize, &'a ReadRecord, Seen),
}

/// Where a reader of a point stands: the least place in its order that may be seen now.
#[derive(Default)]
struct Floors {
    /// Of the primary region, and of strong reads anywhere.
    linear: usize,
    regions: BTreeMap<usize, usize>,
    sessions: BTreeMap<usize, usize>,
    /// Acknowledged writes: time, and the largest place acknowledged up to then.
    acked: Vec<(Micros, usize)>,
}

impl History {
    /// Takes the deletes by filter apart: each delete of a point becomes a write, and an acknowledged operation a read of
    /// all points that saw none of its class. What they deleted although it did not match is a fault.
    ///
    /// `is_trusted` says of an operation whether no replica that was made different could answer it.
    pub fn take_apart(
        &mut self,
        ledger: &Ledger,
        collection: CollectionUid,
        points: impl Iterator<Item = PointId> + Clone,
        is_trusted: impl Fn(&FilteredRecord) -> bool,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let by_trace: BTreeMap<u128, &FilteredRecord> =
            self.filtered.iter().map(|record| (record.trace, record)).collect();
        for ((_, point), changes) in ledger.points().filter(|((held, _), _)| *held == collection) {
            for (i, change) in changes.iter().enumerate() {
                let Some(record) = change.trace.and_then(|trace| by_trace.get(&trace)) else { continue };
                let before = i.checked_sub(1).and_then(|before| changes[before].value);
                if before.is_some_and(|value| class_of(value) != record.class) {
                    faults.push(format!(
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
        faults
    }

    /// What was refused and took place nevertheless.
    #[must_use]
    pub fn check_refused(&self, ledger: &Ledger) -> Vec<String> {
        let traces = ledger.traces();
        let took_place = |record: &&RefusedRecord| {
            ledger.has_write(record.id) || record.trace.is_some_and(|trace| traces.contains(&trace))
        };
        let fault = |record: &RefusedRecord| format!("a change was refused and took place: {record:?}");
        self.refused.iter().filter(took_place).map(fault).collect()
    }

    /// Checks all points; what no order explains.
    #[must_use]
    pub fn check(&self, ledger: &Ledger, collection: CollectionUid) -> Vec<String> {
        let mut faults = Vec::new();
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
            let order = ledger.changes(&(collection, point));
            let (writes, reads) = (writes.get(&point).unwrap_or(&none.0), reads.get(&point).unwrap_or(&none.1));
            self.check_point(point, order, writes, reads, &mut faults);
        }
        faults
    }

    fn check_point(
        &self,
        point: PointId,
        order: &[Change],
        writes: &[usize],
        reads: &[(usize, Seen)],
        faults: &mut Vec<String>,
    ) {
        // Place 0 is the state before the first change; change i stands at place i + 1.
        let mut place_of: BTreeMap<WriteId, usize> = BTreeMap::new();
        for (i, change) in order.iter().enumerate() {
            if place_of.insert(change.write, i + 1).is_some() {
                faults.push(format!("point {point}: write {:?} is committed twice", change.write));
            }
        }
        let mut began: BTreeMap<WriteId, Micros> = BTreeMap::new();
        let mut moments: Vec<(Micros, u8, Moment<'_>)> = Vec::new();
        for number in writes {
            let write = &self.writes[*number];
            began.insert(write.id, write.invoked);
            moments.push((write.invoked, 1, Moment::WriteBegins(*number)));
            if let Some(acked) = write.acked {
                moments.push((acked, 0, Moment::WriteAcked(*number)));
            }
        }
        for (number, seen) in reads {
            let read = &self.reads[*number];
            moments.push((read.invoked, 1, Moment::ReadBegins(*number)));
            moments.push((read.returned, 0, Moment::ReadEnds(*number, read, *seen)));
        }
        // Ends before begins of the same moment would ask too much: an end counts only for what begins later.
        moments.sort_by_key(|(at, rank, _)| (*at, 1 - *rank));
        let mut floors = Floors::default();
        let mut began_at: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        let mut region_began: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, _, moment) in moments {
            match moment {
                Moment::WriteBegins(number) => {
                    let write = &self.writes[number];
                    if let Some(place) = place_of.get(&write.id).filter(|place| **place <= floors.linear) {
                        let fault = format!(
                            "point {point}: write {:?} of {at} stands at {place}, behind place {} that was over before",
                            write.id, floors.linear
                        );
                        faults.push(fault);
                    }
                }
                Moment::WriteAcked(number) => {
                    let write = &self.writes[number];
                    let Some(place) = place_of.get(&write.id).copied() else {
                        faults.push(format!("point {point}: write {:?} was acknowledged at {at} and lost", write.id));
                        continue;
                    };
                    floors.linear = floors.linear.max(place);
                    let session = floors.sessions.entry(write.client).or_default();
                    *session = (*session).max(place);
                    if let Some(region) = write.visible {
                        let floor = floors.regions.entry(region).or_default();
                        *floor = (*floor).max(place);
                    }
                    let before = floors.acked.last().map_or(0, |(_, place)| *place);
                    floors.acked.push((at, before.max(place)));
                }
                Moment::ReadBegins(number) => {
                    let read = &self.reads[number];
                    began_at.insert((true, number), floors.linear);
                    let region = read.region.and_then(|region| floors.regions.get(&region)).copied();
                    region_began.insert(number, region.unwrap_or_default());
                }
                Moment::ReadEnds(number, read, seen) => {
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
                        let upto = floors.acked.partition_point(|(acked, _)| *acked < fresh_to);
                        ask(
                            upto.checked_sub(1).map_or(0, |last| floors.acked[last].1),
                            "as fresh as asked, or as it says",
                        );
                    }
                    if read.session {
                        ask(floors.sessions.get(&read.client).copied().unwrap_or_default(), "what its session knows");
                    }
                    let value = |place: usize| place.checked_sub(1).and_then(|i| order[i].value);
                    let began_before = |place: usize| {
                        let write = place.checked_sub(1).map(|i| order[i].write);
                        write.is_none_or(|write| began.get(&write).is_none_or(|began| *began <= read.returned))
                    };
                    // What replaced a point while it was being deleted may match too: the delete took place just before.
                    let overtaken = |place: usize| {
                        matches!(seen, Seen::Without(_)) && place < order.len() && began_before(place + 1)
                    };
                    let shows = |place: usize| seen.is(value(place)) || overtaken(place);
                    let place = (least..=order.len()).find(|place| shows(*place) && began_before(*place));
                    let Some(place) = place else {
                        let known = (0..=order.len()).filter(|place| seen.is(value(*place))).max();
                        let fault = format!(
                            "point {point}: {} from {} to {} saw {seen:?}, newest place {known:?} of {}, but is not {why}: \
                             place {least} or later was to be seen ({:?})",
                            read.about,
                            read.invoked,
                            read.returned,
                            order.len(),
                            least.checked_sub(1).map(|i| &order[i]),
                        );
                        faults.push(fault);
                        continue;
                    };
                    if read.linear {
                        floors.linear = floors.linear.max(place);
                    }
                    if let Some(region) = read.region {
                        let floor = floors.regions.entry(region).or_default();
                        *floor = (*floor).max(place);
                    }
                    let session = floors.sessions.entry(read.client).or_default();
                    *session = (*session).max(place);
                }
            }
        }
    }
}
