//! Reads of the local state: confirmed by a quorum where asked, parked until fresh enough, judged, answered.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::{Distance, LogIndex, Query, VersionVector};
use meridian_proto::frame::{MatchQuery, PartBody, ReadDemand, ReadPart, ShardAnswer};
use meridian_shard::{Matches, ReadError, Stop, View};

use crate::clock::Time;
use crate::injection::InjectedBug;
use crate::shard_calls::Requester;
use crate::{Command, ReadResult, ReadWhat, Replica};

/// Reads that one replica may have under way; more are refused.
const READS_WAITING: usize = 16_384;
/// Asked again under a new number when a quorum has not answered in this time: the library drops silently.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// After this the read is given back, so that its gateway can try another replica.
const INDEX_PATIENCE: Duration = Duration::from_millis(600);

/// One read under way.
#[derive(Debug)]
pub(crate) struct ReadCall {
    from: Requester,
    what: ReadWhat,
    demand: ReadDemand,
    /// By the clock of ages.
    arrived: Duration,
    /// Nobody waits for the answer after that.
    deadline: Duration,
    waited: bool,
    /// When the quorum was asked, by the clock of ages: every write acknowledged in the region before is reflected.
    confirmed: Option<Duration>,
}

impl ReadCall {
    pub(crate) fn new(from: Requester, what: ReadWhat, demand: ReadDemand, now: Time) -> Self {
        let deadline = now.mono.saturating_add(demand.left);
        Self { from, what, demand, arrived: now.age, deadline, waited: false, confirmed: None }
    }
}

/// Where the reads of a replica stand.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Every read under way, by who waits for it.
    by_requester: BTreeMap<Requester, u64>,
    /// Not handed to the shell yet.
    calls: BTreeMap<u64, ReadCall>,
    /// Wait to be asked about.
    unasked: Vec<u64>,
    /// Asked about under a number, when, and for whom.
    asked: BTreeMap<u64, Asked>,
    /// Wait until the state reaches an index.
    applying: BTreeMap<LogIndex, Vec<u64>>,
    /// Wait until the state is fresh enough.
    parked: Vec<u64>,
    /// Handed to the shell.
    running: BTreeMap<u64, Running>,
}

/// A read of a view of the state as it was judged, or of a later one.
#[derive(Debug)]
struct Running {
    call: ReadCall,
    /// Whether the demand is kept.
    kept: bool,
    /// Staleness when it was judged, and when that was.
    age: Duration,
    at: Duration,
}

#[derive(Debug)]
struct Asked {
    at: Time,
    calls: Vec<u64>,
}

impl Replica {
    pub(crate) fn read(&mut self, call: ReadCall) {
        // A call that comes again while it is worked on is the gateway's precaution against lost messages.
        if self.reads.by_requester.contains_key(&call.from) {
            return;
        }
        if self.reads.by_requester.len() >= READS_WAITING {
            return self.answer(call.from, ShardAnswer::Overloaded(format!("{READS_WAITING} reads are under way")));
        }
        let number = self.number();
        self.reads.by_requester.insert(call.from, number);
        let index = call.demand.index && !self.settings.injects(InjectedBug::ReadWithoutIndex);
        self.reads.calls.insert(number, call);
        if index {
            self.reads.unasked.push(number);
        } else {
            self.judge_read(number);
        }
    }

    /// One question to the quorum serves all reads that came since the last.
    pub(crate) fn ask_for_read_indexes(&mut self) {
        if self.reads.unasked.is_empty() || self.out_of_service.is_some() {
            return;
        }
        let context = self.number();
        if self.raft.read_index(context).is_ok() {
            let calls = std::mem::take(&mut self.reads.unasked);
            self.reads.asked.insert(context, Asked { at: self.now, calls });
        }
    }

    pub(crate) fn read_index_confirmed(&mut self, context: u64, index: LogIndex) {
        let Some(asked) = self.reads.asked.remove(&context) else { return };
        let at = asked.at.age;
        for call in &asked.calls {
            if let Some(call) = self.reads.calls.get_mut(call) {
                call.confirmed = Some(at);
            }
        }
        self.reads.applying.entry(index).or_default().extend(asked.calls);
        self.recheck_reads();
    }

    /// The state moved on: some reads may be ready.
    pub(crate) fn recheck_reads(&mut self) {
        let applied = self.state.applied();
        while let Some(entry) = self.reads.applying.first_entry() {
            if *entry.key() > applied {
                break;
            }
            for call in entry.remove() {
                self.judge_read(call);
            }
        }
        for call in std::mem::take(&mut self.reads.parked) {
            self.judge_read(call);
        }
    }

    fn judge_read(&mut self, number: u64) {
        let Some(call) = self.reads.calls.get(&number) else { return };
        let waited = self.now.age.saturating_sub(call.arrived);
        let age = self.age_of(call);
        // What counts is the age at the arrival.
        let allowed = call.demand.max_age.map(|most| most.saturating_add(waited));
        let time_kept = allowed.is_none_or(|most| age <= most);
        let kept = time_kept && self.covers(self.state.vv(), &call.demand.covers);
        let left = call.demand.wait.saturating_sub(waited);
        // While statements come, staleness stays about what it is: more than is left cannot be waited for.
        let needed = allowed.filter(|_| !time_kept).map_or(Duration::ZERO, |most| age.saturating_sub(most));
        if !kept && !left.is_zero() && needed <= left {
            if let Some(call) = self.reads.calls.get_mut(&number) {
                call.waited = true;
            }
            self.reads.parked.push(number);
            return;
        }
        let Some(call) = self.reads.calls.remove(&number) else { return };
        if call.deadline <= self.now.mono {
            self.reads.by_requester.remove(&call.from);
            return;
        }
        let (what, deadline, at) = (call.what.clone(), call.deadline, self.now.age);
        self.reads.running.insert(number, Running { call, kept, age, at });
        self.out.push(Command::Read { job: number, what, deadline });
    }

    #[cfg(test)]
    pub(crate) fn reads_under_way(&self) -> usize {
        self.reads.by_requester.len() + self.reads.calls.len() + self.reads.running.len()
    }

    /// Its gateway waits no more: the client left, another replica answered, or the time is over.
    pub(crate) fn cancel_read(&mut self, from: Requester) {
        let Some(number) = self.reads.by_requester.remove(&from) else { return };
        self.reads.calls.remove(&number);
        if self.reads.running.remove(&number).is_some() {
            self.out.push(Command::CancelRead { job: number });
        }
    }

    pub(crate) fn read_refused(&mut self, job: u64, why: String) {
        let Some(Running { call, .. }) = self.reads.running.remove(&job) else { return };
        self.reads.by_requester.remove(&call.from);
        self.answer(call.from, ShardAnswer::Overloaded(why));
    }

    pub(crate) fn read_done(&mut self, job: u64, result: ReadResult) {
        let Some(Running { call, kept, age, at }) = self.reads.running.remove(&job) else { return };
        self.reads.by_requester.remove(&call.from);
        let now = self.now.age;
        let (age, took) = (age.saturating_add(now.saturating_sub(at)), now.saturating_sub(call.arrived));
        let part = ReadPart { body: result.body, kept, waited: call.waited, age, took, covers: result.covers };
        self.answer(call.from, ShardAnswer::Part(part));
    }

    /// Staleness of a read. What its own region confirmed by a quorum since is as old as the question, whatever the wall
    /// clocks say.
    fn age_of(&self, call: &ReadCall) -> Duration {
        let confirmed = call.confirmed.filter(|_| self.is_primary()).map(|asked| self.now.age.saturating_sub(asked));
        confirmed.map_or(self.staleness(), |confirmed| confirmed.min(self.staleness()))
    }

    /// Whether the positions that concern this shard are reached: another shard's own log is not its to reach.
    pub(crate) fn covers(&self, have: &VersionVector, wanted: &VersionVector) -> bool {
        let region = &self.identity.genesis.region;
        let own = self.me().shard;
        wanted
            .iter()
            .filter(|(origin, _)| origin.region != *region || origin.shard == own)
            .all(|(origin, position)| have.position(origin) >= position)
    }

    /// Gives back all reads under way, also those that are done: what they read cannot be trusted.
    pub(crate) fn fail_reads(&mut self, why: &str) {
        let Reads { calls, running, .. } = std::mem::take(&mut self.reads);
        self.out.extend(running.keys().map(|job| Command::CancelRead { job: *job }));
        for call in calls.into_values().chain(running.into_values().map(|running| running.call)) {
            self.answer(call.from, ShardAnswer::Busy(why.into()));
        }
    }

    pub(crate) fn tick_reads(&mut self) {
        self.end_overdue_reads();
        self.ask_again();
        self.give_back();
        self.recheck_reads();
    }

    /// Their gateways have answered by now; the shell keeps to the deadline of what it runs by itself.
    fn end_overdue_reads(&mut self) {
        let now = self.now.mono;
        let Reads { by_requester, calls, running, .. } = &mut self.reads;
        let overdue =
            calls.values().chain(running.values().map(|running| &running.call)).filter(|call| call.deadline <= now);
        for from in overdue.map(|call| call.from).collect::<Vec<_>>() {
            if let Some(number) = by_requester.remove(&from) {
                calls.remove(&number);
                running.remove(&number);
            }
        }
    }

    fn ask_again(&mut self) {
        let now = self.now.mono;
        let late: Vec<u64> = (self.reads.asked.iter())
            .filter(|(_, asked)| now.saturating_sub(asked.at.mono) >= ASK_AGAIN_AFTER)
            .map(|(context, _)| *context)
            .collect();
        for context in late {
            if let Some(asked) = self.reads.asked.remove(&context) {
                self.reads.unasked.extend(asked.calls);
            }
        }
    }

    fn give_back(&mut self) {
        let now = self.now.age;
        let reads = &mut self.reads;
        let late = |number: &u64| {
            let Some(call) = reads.calls.get(number) else { return true };
            now.saturating_sub(call.arrived) >= INDEX_PATIENCE
        };
        let (back, stay): (Vec<u64>, Vec<u64>) = reads.unasked.iter().partition(|number| late(number));
        reads.unasked = stay;
        for number in back {
            if let Some(call) = self.reads.calls.remove(&number) {
                self.reads.by_requester.remove(&call.from);
                self.answer(call.from, ShardAnswer::Busy("no quorum of the shard answers".into()));
            }
        }
    }
}

/// Reads the state: what the shell runs on any thread, beside others that read. `None` when `stop` ended it.
#[must_use]
pub fn execute(state: &View, what: &ReadWhat, stop: Stop<'_>) -> Option<ReadResult> {
    let body = match what {
        ReadWhat::Points(name, query) => match state.collection(name) {
            Some(held) => match state.read_until(held.uid(), query, stop) {
                Ok(answer) => {
                    let smallest_first = smallest_first(held.def(), query);
                    Some(PartBody::Answer { answer, smallest_first })
                }
                Err(ReadError::Stopped) => return None,
                Err(fault) => Some(PartBody::Wrong(fault.to_string())),
            },
            None => None,
        },
        ReadWhat::List => Some(PartBody::Collections(state.collections().map(|held| held.def().clone()).collect())),
        ReadWhat::Describe(name) => state.collection(name).map(|held| PartBody::Collection {
            uid: held.uid(),
            def: held.def().clone(),
            points: held.points(),
            indexed: held.indexed(),
        }),
        ReadWhat::Match(query) if query.table != state.table() => Some(PartBody::NotOwner(state.table())),
        ReadWhat::Match(MatchQuery { collection, filter, from, limit, .. }) => {
            let Ok(found) = state.matches(*collection, (filter, *from), *limit, stop) else { return None };
            let Matches { points, next, read_at } = found;
            Some(PartBody::Matched { points, next, read_at })
        }
    };
    Some(ReadResult { body, covers: state.vv().clone() })
}

/// About how much [`execute`] has to look at when nothing ends it early; see [`View::steps`].
#[must_use]
pub fn steps(state: &View, what: &ReadWhat) -> u64 {
    match what {
        ReadWhat::Points(name, query) => state.collection(name).map_or(0, |held| state.steps(held.uid(), query)),
        ReadWhat::List | ReadWhat::Describe(_) | ReadWhat::Match(_) => 0,
    }
}

fn smallest_first(def: &meridian_model::CollectionDef, query: &Query) -> bool {
    let Query::Search(search) = query else { return false };
    let distance = def.vectors.get(&search.using).map(|vector| vector.distance);
    matches!(distance, Some(Distance::Euclid | Distance::Manhattan))
}
