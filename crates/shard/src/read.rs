//! Answers of one shard: its part of a read that a gateway scatters.

use std::ops::Bound;

use meridian_ann::{Recall, SearchParams};
use meridian_model::{
    Answer, CollectionUid, Condition, Distance, Filter, Found, Names, PointId, Query, Record, Search, Select,
    VectorName,
};

use crate::collection::Point;
use crate::filter::{only_ids, passes};
use crate::meter::{ANSWER_BYTES, Meter, Stop};
use crate::payload;
use crate::vectors::{Estimate, NumberError, Passing, TooLong, check_numbers, nearer, normalize};
use crate::view::{CollectionView, View};

/// Points sampled to estimate the number of matches; the error of the share is mostly below 3 %.
const SAMPLE: usize = 256;
/// Standard deviations of that error that are allowed for: one sample in 30,000 is beyond.
const DEVIATIONS: f64 = 4.0;
/// Steps for copying one point into an answer, approximately.
const RECORD: usize = 32;

/// Refusal of a read. The texts about vectors equal those of Qdrant, which its clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No collection has that uid, or not yet.
    #[error("collection {0} is not known")]
    UnknownCollection(CollectionUid),
    /// The collection has no vector of that name.
    #[error("Not existing vector name error: {0}")]
    UnknownVector(VectorName),
    /// A query vector of another length.
    #[error("Vector dimension error: expected dim: {expected}, got {found}")]
    Dimension {
        /// The length in the definition.
        expected: u32,
        /// The length of the vector.
        found: usize,
    },
    /// An element (its index) is NaN or infinite.
    #[error("element {0} of the query vector is not a finite number")]
    NotFinite(usize),
    /// A query vector so long that its distance to a point might overflow.
    #[error("query vector: {0}")]
    TooLong(TooLong),
    /// The payloads and vectors exceed the limit of an answer.
    #[error(
        "the answer must hold at most {ANSWER_BYTES} bytes a shard; ask for fewer points, or leave out payloads and vectors"
    )]
    TooLarge,
    /// The caller's [`Stop`] ended it.
    #[error("the read was stopped before its end")]
    Stopped,
}

impl View {
    /// Answers from this shard's points. Hits are sorted by score, ties by id, so that a gateway can merge the answers
    /// of all shards.
    ///
    /// # Errors
    /// [`ReadError`]: the query does not fit the collection, or the answer is too large.
    pub fn read(&self, collection: CollectionUid, query: &Query) -> Result<Answer, ReadError> {
        self.read_until(collection, query, &|| false)
    }

    /// Like [`Self::read`]; `stop` can end it early.
    ///
    /// # Errors
    /// As for [`Self::read`], and [`ReadError::Stopped`].
    pub fn read_until(&self, collection: CollectionUid, query: &Query, stop: Stop<'_>) -> Result<Answer, ReadError> {
        let held = self.collections.get(&collection).ok_or(ReadError::UnknownCollection(collection))?;
        let meter = Meter::new(stop);
        let answer = match query {
            Query::Search(search) => Answer::Found(held.search(search, &meter)?),
            Query::Retrieve { ids, select } => Answer::Records(held.retrieve(ids, select, &meter)?),
            Query::Scroll { filter, from, limit, select } => {
                let (records, next) = held.scroll((filter.as_ref(), *from), *limit, select, &meter);
                Answer::Page(records, next)
            }
            Query::Count { filter: None } => Answer::Count(held.points()),
            Query::Count { filter: Some(filter) } => Answer::Count(held.passing(filter, None, &meter).count() as u64),
        };
        if meter.is_stopped() { Err(ReadError::Stopped) } else { Ok(answer) }
    }

    /// Approximate number of conditions and vectors that `query` evaluates if nothing ends it early; 0 where an index
    /// or a limit does.
    #[must_use]
    pub fn steps(&self, collection: CollectionUid, query: &Query) -> u64 {
        let Some(held) = self.collections.get(&collection) else { return 0 };
        let points = held.points();
        match query {
            Query::Count { filter: Some(filter) } if only_ids(filter).is_none() => {
                points.saturating_mul(conditions(filter))
            }
            Query::Search(Search { exact: true, .. }) => points,
            _ => 0,
        }
    }
}

fn conditions(filter: &Filter) -> u64 {
    let all = filter.must.iter().chain(&filter.should).chain(&filter.must_not);
    all.map(|condition| match condition {
        Condition::Nested(inner) => conditions(inner),
        _ => 1,
    })
    .sum()
}

/// Approximate size of a record, in bytes.
fn bytes_of(record: &Record) -> usize {
    let vectors = record.vectors.iter().flatten().map(|(name, vector)| name.len() + size_of_val(vector.as_slice()));
    size_of::<Record>() + vectors.sum::<usize>() + record.payload.as_ref().map_or(0, |payload| payload.0.len())
}

impl CollectionView {
    fn search(&self, search: &Search, meter: &Meter<'_>) -> Result<Vec<Found>, ReadError> {
        let Search { vector, using, filter, limit, ef, recall, exact, score_threshold, select } = search;
        let index = self.vectors.get(using).ok_or_else(|| ReadError::UnknownVector(using.clone()))?;
        let def = index.def();
        if vector.len() != def.dim as usize {
            return Err(ReadError::Dimension { expected: def.dim, found: vector.len() });
        }
        check_numbers(vector).map_err(|error| match error {
            NumberError::NotFinite(element) => ReadError::NotFinite(element),
            NumberError::TooLong(fault) => ReadError::TooLong(fault),
        })?;
        let mut vector = vector.clone();
        if def.distance == Distance::Cosine {
            normalize(&mut vector);
        }
        let rule = |slot: u32| match (filter, self.records.at(slot)) {
            (Some(filter), Some(point)) => passes(filter, point, meter),
            (None, Some(_)) => meter.go_on(1),
            (_, None) => false,
        };
        let passing = match filter {
            Some(filter) if only_ids(filter).is_some() => {
                Some(Passing::Slots(self.passing(filter, None, meter).map(|point| point.slot).collect()))
            }
            Some(_) => Some(Passing::Rule(&rule, self.estimate(&rule))),
            // A scan of all points evaluates the rule for each of them, and so can be stopped.
            None if *exact => {
                let all = Estimate { expected: self.points() as usize, fewest: 0 };
                Some(Passing::Rule(&rule, all))
            }
            None => None,
        };
        if meter.is_stopped() {
            return Err(ReadError::Stopped);
        }
        let limit = (*limit).min(self.points() as usize);
        let recall = recall.and_then(|thousandths| Recall::new(f64::from(thousandths) / 1_000.0));
        let params = SearchParams { ef: *ef, recall, exact: *exact, ..SearchParams::default() };
        let hits = index.search(&vector, limit, params, passing);
        let near_enough = |score: f32| match (score_threshold, def.distance) {
            (None, _) => true,
            (Some(threshold), Distance::Cosine | Distance::Dot) => score >= *threshold,
            (Some(threshold), Distance::Euclid | Distance::Manhattan) => score <= *threshold,
        };
        let found = hits.into_iter().filter(|(_, score)| near_enough(*score)).filter_map(|(slot, score)| {
            let point = self.records.at(slot)?;
            Some((point, score))
        });
        let mut found: Vec<_> = found.collect();
        found.sort_by(|(a, near), (b, far)| nearer(def.distance, *near, *far).then(a.id.cmp(&b.id)));
        let record = |(point, score)| Ok(Found { record: self.counted(point, select, meter)?, score });
        found.into_iter().map(record).collect()
    }

    fn retrieve(&self, ids: &[PointId], select: &Select, meter: &Meter<'_>) -> Result<Vec<Record>, ReadError> {
        let known = ids.iter().take_while(|_| meter.go_on(RECORD)).filter_map(|id| self.records.point(*id));
        known.map(|point| self.counted(point, select, meter)).collect()
    }

    /// A record, counted towards the size of the answer.
    fn counted(&self, point: &Point, select: &Select, meter: &Meter<'_>) -> Result<Record, ReadError> {
        let record = self.record(point, select);
        if meter.holds(bytes_of(&record)) { Ok(record) } else { Err(ReadError::TooLarge) }
    }

    fn scroll(
        &self,
        (filter, from): (Option<&Filter>, Option<PointId>),
        limit: usize,
        select: &Select,
        meter: &Meter<'_>,
    ) -> (Vec<Record>, Option<PointId>) {
        let everything = Filter::default();
        let mut passing = self.passing(filter.unwrap_or(&everything), from, meter);
        let mut page = Vec::new();
        while page.len() < limit
            && meter.go_on(RECORD)
            && let Some(point) = passing.next()
        {
            let record = self.record(point, select);
            // A page that would become too large ends here. It has at least one record, so that the next page advances.
            if !meter.holds(bytes_of(&record)) && !page.is_empty() {
                return (page, Some(point.id));
            }
            page.push(record);
        }
        let next = passing.next().map(|point| point.id);
        (page, next)
    }

    /// The matching points, by id. Cost: one look-up for each listed id if the filter lists ids, else all points. Ends
    /// early if `meter` says so.
    pub(crate) fn passing<'a>(
        &'a self,
        filter: &'a Filter,
        from: Option<PointId>,
        meter: &'a Meter<'a>,
    ) -> Box<dyn Iterator<Item = &'a Point> + 'a> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        let goes_on = |_: &&Point| meter.go_on(1);
        let pass = |point: &&Point| passes(filter, point, meter);
        match only_ids(filter) {
            Some(ids) => {
                let listed = ids.range((from, Bound::Unbounded)).filter_map(|id| self.records.point(*id));
                Box::new(listed.take_while(goes_on).filter(pass))
            }
            None => Box::new(self.records.range(from).take_while(goes_on).filter(pass)),
        }
    }

    /// Estimates the number of matches from one slot of each of [`SAMPLE`] parts; equal states give equal results. The
    /// slot within its part is pseudorandom, so that no pattern of slots biases the sample.
    fn estimate(&self, rule: &impl Fn(u32) -> bool) -> Estimate {
        let slots = self.records.slots().len();
        let parts = slots.min(SAMPLE);
        let place = |part: usize| {
            let (from, to) = (part * slots / parts, (part + 1) * slots / parts);
            from + scattered(part as u64) as usize % (to - from)
        };
        let passed = (0..parts).filter(|part| rule(place(*part) as u32)).count();
        estimated(passed, parts, slots)
    }

    fn record(&self, point: &Point, select: &Select) -> Record {
        let vectors = match &select.vectors {
            Names::None => None,
            names => Some(self.vectors_of(point.slot, names)),
        };
        let payload = payload::select(&point.payload, &select.payload);
        Record { id: point.id, version: point.stamp.seq.0, payload, vectors }
    }
}

/// Extrapolates the sample to all points.
fn estimated(passed: usize, tried: usize, all: usize) -> Estimate {
    if tried == all {
        return Estimate { expected: passed, fewest: passed };
    }
    // Half a match more on either side: a sample with none or only matches proves nothing.
    let share = (passed as f64 + 0.5) / (tried as f64 + 1.0);
    let deviation = (share * (1.0 - share) / tried as f64).sqrt();
    let fewest = ((share - DEVIATIONS * deviation).max(0.0) * all as f64) as usize;
    Estimate { expected: passed * all / tried, fewest }
}

/// The nth of a pseudorandom sequence (Steele, Lea, Flood, OOPSLA 2014, "SplitMix").
fn scattered(nth: u64) -> u64 {
    let mut x = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
