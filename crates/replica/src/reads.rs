//! Reads of the local state: confirmed by a quorum where asked, parked until fresh enough, judged, answered.
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
    unconfirmed: Vec<u64>,
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

/// Something happened that concerns reads. Staleness is that of this replica at this moment.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most of them are of the large kind")]
pub(crate) enum Event {
    /// A gateway wants a read.
    Call { call: ReadCall, staleness: Duration },
    /// It waits no more: the client left, another replica answered, or the time is over.
    Cancel(Requester),
    /// The consensus library takes questions.
    AskQuorum,
    /// A quorum confirmed a question: what stood at this index when it was asked is to be applied.
    Confirmed { context: u64, index: LogIndex, staleness: Duration },
    /// The state moved on, or became fresher.
    StateMoved { staleness: Duration },
    /// The shell has read.
    Done { job: u64, result: ReadResult },
    /// It did not begin to.
    Refused { job: u64, why: String },
    /// What was read cannot be trusted: all reads under way are given back, also those that are done.
    GiveBack(&'static str),
    /// Time passed.
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

    /// Whether there is nothing that time changes.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { by_requester, calls, unconfirmed, asked, running, .. } = self;
        by_requester.is_empty() && calls.is_empty() && unconfirmed.is_empty() && asked.is_empty() && running.is_empty()
    }

    /// Whether reads wait to be asked about.
    pub(crate) fn wants_quorum(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Whether reads wait for the state.
    pub(crate) fn waits_for_state(&self) -> bool {
        !self.applying.is_empty() || !self.parked.is_empty()
    }

    /// Reads under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.by_requester.len() + self.calls.len() + self.running.len()
    }

    fn call(&mut self, cx: &mut Ctx<'_>, call: ReadCall, staleness: Duration) {
        // A call that comes again while it is worked on is the gateway's precaution against lost messages.
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

    /// One question to the quorum serves all reads that came since the last.
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

    /// Some reads may be ready.
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
        // What counts is the age at the arrival.
        let allowed = call.demand.max_age.map(|most| most.saturating_add(waited));
        let time_kept = allowed.is_none_or(|most| age <= most);
        let kept = time_kept && cx.covers(&call.demand.covers);
        let left = call.demand.wait.saturating_sub(waited);
        // While statements come, staleness stays about what it is: more than is left cannot be waited for.
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

    /// Their gateways have answered by now; the shell keeps to the deadline of what it runs by itself.
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

    /// No quorum confirmed them in time.
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

/// Staleness of a read. What its own region confirmed by a quorum since is as old as the question, whatever the wall clocks say.
fn age_of(cx: &Ctx<'_>, call: &ReadCall, staleness: Duration) -> Duration {
    let confirmed = call.confirmed.filter(|_| cx.state.is_primary()).map(|asked| cx.now.age.saturating_sub(asked));
    confirmed.map_or(staleness, |confirmed| confirmed.min(staleness))
}

#[cfg(test)]
mod tests;
