//! Reads of the local state: confirmed by a quorum if demanded, parked until fresh enough, decided, answered.
//!
//! ```text
//!   Call ──index──► unasked ──read index──► asked ──quorum──► applying ──► judged ──fresh──► running ──► answer
//!     └──────────── no index ─────────────────────────────────────────────►  │ ▲
//!                                                                   parked ◄─┘ └─ the state moved on
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::LogIndex;
use meridian_proto::frame::{ReadDemand, ReadPart, ShardAnswer};

use crate::context::Ctx;
use crate::effect::Requester;
use crate::injection::InjectedBug;
use crate::time::Time;
use crate::{Command, ReadResult, ReadWhat};

/// Most reads in progress at one replica; further ones are refused.
const READS_WAITING: usize = 16_384;
/// Time after which an unconfirmed ReadIndex is repeated under a new context: raft-rs drops requests silently.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Time without confirmation after which a read is returned, so that its gateway can try another replica.
const INDEX_PATIENCE: Duration = Duration::from_millis(600);

/// A read in progress.
#[derive(Debug)]
pub(crate) struct ReadCall {
    from: Requester,
    what: ReadWhat,
    demand: ReadDemand,
    /// Arrival by the clock of ages.
    arrived: Duration,
    /// The answer is useless after that.
    deadline: Duration,
    waited: bool,
    /// Start of the confirmed ReadIndex, by the clock of ages: the read reflects every write acknowledged in the region
    /// before.
    confirmed: Option<Duration>,
}

impl ReadCall {
    pub(crate) fn new(from: Requester, what: ReadWhat, demand: ReadDemand, now: Time) -> Self {
        let deadline = now.mono.saturating_add(demand.left);
        Self { from, what, demand, arrived: now.age, deadline, waited: false, confirmed: None }
    }
}

/// The reads of a replica.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Every read in progress, by its requester.
    by_requester: BTreeMap<Requester, u64>,
    /// Reads not passed to the shell yet.
    calls: BTreeMap<u64, ReadCall>,
    /// Reads that wait for a ReadIndex request.
    unconfirmed: Vec<u64>,
    /// Open ReadIndex requests, with their time and reads.
    asked: BTreeMap<u64, Asked>,
    /// Reads that wait until the state reaches an index.
    applying: BTreeMap<LogIndex, Vec<u64>>,
    /// Reads that wait until the state is fresh enough.
    parked: Vec<u64>,
    /// Reads passed to the shell.
    running: BTreeMap<u64, Running>,
}

/// A read of a view of the state at the decision, or of a later one.
#[derive(Debug)]
struct Running {
    call: ReadCall,
    /// Whether the demand is met.
    kept: bool,
    /// Staleness at the decision.
    age: Duration,
    at: Duration,
}

#[derive(Debug)]
struct Asked {
    at: Time,
    calls: Vec<u64>,
}

/// Events about reads. `staleness` is the current one of this replica.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are of the large kind")]
pub(crate) enum Event {
    /// A gateway requests a read.
    Call { call: ReadCall, staleness: Duration },
    /// The requester no longer needs it: the client left, another replica answered, or the deadline expired.
    Cancel(Requester),
    /// raft-rs accepts ReadIndex requests.
    AskQuorum,
    /// A quorum confirmed a ReadIndex request: this index must be applied.
    Confirmed { context: u64, index: LogIndex, staleness: Duration },
    /// Entries were applied, or the state became fresher.
    StateMoved { staleness: Duration },
    /// The shell completed a read.
    Done { job: u64, result: ReadResult },
    /// The shell refused a read.
    Refused { job: u64, why: String },
    /// The state cannot be trusted: all reads in progress are returned, including completed ones.
    GiveBack(&'static str),
    /// Time has passed.
    Tick { staleness: Duration },
}

impl Reads {
    pub(crate) fn handle(&mut self, cx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Call { call, staleness } => self.call(cx, call, staleness),
            Event::Cancel(from) => self.cancel(cx, from),
            Event::AskQuorum => self.ask_quorum(cx),
            Event::Confirmed { context, index, staleness } => self.confirmed(cx, context, index, staleness),
            Event::StateMoved { staleness } => self.decide_waiting(cx, staleness),
            Event::Done { job, result } => self.done(cx, job, result),
            Event::Refused { job, why } => self.refused(cx, job, why),
            Event::GiveBack(why) => self.give_back_all(cx, why),
            Event::Tick { staleness } => self.tick(cx, staleness),
        }
    }

    /// Returns true if time has no effect.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { by_requester, calls, unconfirmed, asked, running, .. } = self;
        by_requester.is_empty() && calls.is_empty() && unconfirmed.is_empty() && asked.is_empty() && running.is_empty()
    }

    /// Returns true if reads wait for a ReadIndex request.
    pub(crate) fn wants_quorum(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Returns true if reads wait for the state.
    pub(crate) fn waits_for_state(&self) -> bool {
        !self.applying.is_empty() || !self.parked.is_empty()
    }

    /// Number of reads in progress.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.by_requester.len() + self.calls.len() + self.running.len()
    }

    fn call(&mut self, cx: &mut Ctx<'_>, call: ReadCall, staleness: Duration) {
        // The gateway repeats a call in case messages were lost.
        if self.by_requester.contains_key(&call.from) {
            return;
        }
        if self.by_requester.len() >= READS_WAITING {
            return cx.answer(call.from, ShardAnswer::Overloaded(format!("{READS_WAITING} reads are under way")));
        }
        let number = cx.numbers.allocate();
        self.by_requester.insert(call.from, number);
        let index = call.demand.index && !cx.settings.injects(InjectedBug::ReadWithoutIndex);
        self.calls.insert(number, call);
        if index {
            self.unconfirmed.push(number);
        } else {
            self.decide(cx, number, staleness);
        }
    }

    /// One ReadIndex request serves all reads that arrived since the last one.
    fn ask_quorum(&mut self, cx: &mut Ctx<'_>) {
        if self.unconfirmed.is_empty() || cx.facts.out_of_service {
            return;
        }
        let context = cx.numbers.allocate();
        if cx.raft.read_index(context).is_ok() {
            let calls = std::mem::take(&mut self.unconfirmed);
            self.asked.insert(context, Asked { at: cx.now, calls });
        }
    }

    fn confirmed(&mut self, cx: &mut Ctx<'_>, context: u64, index: LogIndex, staleness: Duration) {
        let Some(asked) = self.asked.remove(&context) else { return };
        let at = asked.at.age;
        for call in &asked.calls {
            if let Some(call) = self.calls.get_mut(call) {
                call.confirmed = Some(at);
            }
        }
        self.applying.entry(index).or_default().extend(asked.calls);
        self.decide_waiting(cx, staleness);
    }

    /// Decides reads that may be ready.
    fn decide_waiting(&mut self, cx: &mut Ctx<'_>, staleness: Duration) {
        let applied = cx.state.applied();
        while let Some(entry) = self.applying.first_entry() {
            if *entry.key() > applied {
                break;
            }
            for call in entry.remove() {
                self.decide(cx, call, staleness);
            }
        }
        for call in std::mem::take(&mut self.parked) {
            self.decide(cx, call, staleness);
        }
    }

    fn decide(&mut self, cx: &mut Ctx<'_>, number: u64, staleness: Duration) {
        let Some(call) = self.calls.get(&number) else { return };
        let waited = cx.now.age.saturating_sub(call.arrived);
        let age = age_of(cx, call, staleness);
        // The age at the arrival counts.
        let allowed = call.demand.max_age.map(|most| most.saturating_add(waited));
        let time_kept = allowed.is_none_or(|most| age <= most);
        let kept = time_kept && cx.covers(&call.demand.covers);
        let left = call.demand.wait.saturating_sub(waited);
        // While statements arrive, staleness stays about constant: an excess over the remaining wait cannot be waited
        // for.
        let needed = allowed.filter(|_| !time_kept).map_or(Duration::ZERO, |most| age.saturating_sub(most));
        if !kept && !left.is_zero() && needed <= left {
            if let Some(call) = self.calls.get_mut(&number) {
                call.waited = true;
            }
            self.parked.push(number);
            return;
        }
        let Some(call) = self.calls.remove(&number) else { return };
        if call.deadline <= cx.now.mono {
            self.by_requester.remove(&call.from);
            return;
        }
        let (what, deadline, at) = (call.what.clone(), call.deadline, cx.now.age);
        self.running.insert(number, Running { call, kept, age, at });
        cx.command(Command::Read { job: number, what, deadline });
    }

    fn cancel(&mut self, cx: &mut Ctx<'_>, from: Requester) {
        let Some(number) = self.by_requester.remove(&from) else { return };
        self.calls.remove(&number);
        if self.running.remove(&number).is_some() {
            cx.command(Command::CancelRead { job: number });
        }
    }

    fn refused(&mut self, cx: &mut Ctx<'_>, job: u64, why: String) {
        let Some(Running { call, .. }) = self.running.remove(&job) else { return };
        self.by_requester.remove(&call.from);
        cx.answer(call.from, ShardAnswer::Overloaded(why));
    }

    fn done(&mut self, cx: &mut Ctx<'_>, job: u64, result: ReadResult) {
        let Some(Running { call, kept, age, at }) = self.running.remove(&job) else { return };
        self.by_requester.remove(&call.from);
        let now = cx.now.age;
        let (age, took) = (age.saturating_add(now.saturating_sub(at)), now.saturating_sub(call.arrived));
        let part = ReadPart { body: result.body, kept, waited: call.waited, age, took, covers: result.covers };
        cx.answer(call.from, ShardAnswer::Part(part));
    }

    fn give_back_all(&mut self, cx: &mut Ctx<'_>, why: &str) {
        let Self { calls, running, .. } = std::mem::take(self);
        running.keys().for_each(|job| cx.command(Command::CancelRead { job: *job }));
        for call in calls.into_values().chain(running.into_values().map(|running| running.call)) {
            cx.answer(call.from, ShardAnswer::Busy(why.into()));
        }
    }

    fn tick(&mut self, cx: &mut Ctx<'_>, staleness: Duration) {
        self.end_overdue(cx);
        self.ask_again(cx);
        self.give_back_late(cx);
        self.decide_waiting(cx, staleness);
    }

    /// Removes reads after their deadline. Their gateways have answered by now, and the shell observes the deadline of
    /// running ones itself.
    fn end_overdue(&mut self, cx: &Ctx<'_>) {
        let now = cx.now.mono;
        let Self { by_requester, calls, running, .. } = self;
        let overdue =
            calls.values().chain(running.values().map(|running| &running.call)).filter(|call| call.deadline <= now);
        for from in overdue.map(|call| call.from).collect::<Vec<_>>() {
            if let Some(number) = by_requester.remove(&from) {
                calls.remove(&number);
                running.remove(&number);
            }
        }
    }

    fn ask_again(&mut self, cx: &Ctx<'_>) {
        let now = cx.now.mono;
        let late: Vec<u64> = (self.asked.iter())
            .filter(|(_, asked)| now.saturating_sub(asked.at.mono) >= ASK_AGAIN_AFTER)
            .map(|(context, _)| *context)
            .collect();
        for context in late {
            if let Some(asked) = self.asked.remove(&context) {
                self.unconfirmed.extend(asked.calls);
            }
        }
    }

    /// Returns reads that no quorum confirmed in time.
    fn give_back_late(&mut self, cx: &mut Ctx<'_>) {
        let now = cx.now.age;
        let late = |number: &u64| {
            let Some(call) = self.calls.get(number) else { return true };
            now.saturating_sub(call.arrived) >= INDEX_PATIENCE
        };
        let (back, stay): (Vec<u64>, Vec<u64>) = self.unconfirmed.iter().partition(|number| late(number));
        self.unconfirmed = stay;
        for number in back {
            if let Some(call) = self.calls.remove(&number) {
                self.by_requester.remove(&call.from);
                cx.answer(call.from, ShardAnswer::Busy("no quorum of the shard answers".into()));
            }
        }
    }
}

/// Age of a read. Data confirmed by a quorum of its own region is as old as the request, regardless of wall clocks.
fn age_of(cx: &Ctx<'_>, call: &ReadCall, staleness: Duration) -> Duration {
    let confirmed = call.confirmed.filter(|_| cx.state.is_primary()).map(|asked| cx.now.age.saturating_sub(asked));
    confirmed.map_or(staleness, |confirmed| confirmed.min(staleness))
}

#[cfg(test)]
mod tests;
