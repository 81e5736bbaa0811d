use meridian_model::{ReplicaId, ShardNumber};
use meridian_store::SnapshotId;

use super::*;
use crate::testing::Bench;

const MS: Duration = Duration::from_millis(1);
/// Entries between two snapshots.
const EVERY: u64 = 3;

/// The snapshots of a leader of a group of one, with their context.
struct Fixture {
    bench: Bench,
    snapshots: Snapshots,
}

impl Fixture {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.settings.snapshot_every = EVERY;
        bench.settings.log_kept = 0;
        bench.lead();
        let newest = bench.state.applied().0;
        Self { bench, snapshots: Snapshots::found(newest, None) }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.bench.lend(|cx| self.snapshots.handle(cx, event))
    }

    /// Takes a snapshot, which the shell writes; returns its index.
    fn take(&mut self) -> u64 {
        let effects = self.handle(Event::Take);
        let [Effect::TakeSnapshot { index, .. }] = effects.as_slice() else { panic!("none is taken") };
        self.handle(Event::Taken { id: *index, manifest: Some(b"files".to_vec()) });
        *index
    }
}

fn other() -> NodeId {
    NodeId { shard: ShardNumber::FIRST, replica: ReplicaId(2) }
}

fn offered(index: u64) -> Event {
    let snapshot = Snapshot { index, term: 1, members: Members::of([1, 2]), manifest: b"files".to_vec().into() };
    Event::Offered { from: other(), snapshot }
}

fn wants() -> Event {
    Event::InstallWants { file: "points".into(), offset: 0, len: 9 }
}

/// The numbers of calls for chunks.
fn chunk_calls(effects: &[Effect]) -> Vec<u64> {
    let call = |effect: &Effect| match effect {
        Effect::Command(Command::Send(_, PeerMessage::Call(call, Call::Chunk { .. }))) => Some(*call),
        _ => None,
    };
    effects.iter().filter_map(call).collect()
}

#[test]
fn a_snapshot_is_taken_after_so_many_entries_and_the_log_behind_it_is_let_go() {
    let mut fixture = Fixture::new();
    assert!(!fixture.snapshots.has_work(fixture.bench.state.applied()));
    fixture.bench.commit(EVERY - 1);
    assert!(fixture.handle(Event::Tick).is_empty());
    fixture.bench.commit(1);
    let applied = fixture.bench.state.applied().0;
    let effects = fixture.handle(Event::Tick);
    assert!(matches!(effects.as_slice(), [Effect::TakeSnapshot { index, .. }] if *index == applied));
    assert!(fixture.snapshots.is_taking());
    assert!(fixture.handle(Event::Tick).is_empty(), "one at a time");
    let effects = fixture.handle(Event::Taken { id: applied, manifest: Some(b"files".to_vec()) });
    assert!(matches!(effects.as_slice(), [Effect::CompactLog { keep_from }] if *keep_from == applied + 1));
    assert_eq!((fixture.snapshots.newest(), fixture.bench.counters.snapshots_taken), (applied, 1));
}

#[test]
fn no_snapshot_of_untrusted_state_or_without_capacity() {
    let mut fixture = Fixture::new();
    fixture.bench.commit(EVERY);
    let sound = fixture.bench.facts;
    for facts in [
        crate::context::Facts { in_doubt: true, ..sound },
        crate::context::Facts { out_of_service: true, ..sound },
        crate::context::Facts { memory_short: true, ..sound },
        crate::context::Facts { has_space: false, ..sound },
    ] {
        fixture.bench.facts = facts;
        assert!(fixture.handle(Event::Tick).is_empty(), "{facts:?}");
    }
    fixture.bench.facts = crate::context::Facts { has_space: false, snapshot_frees_space: true, ..sound };
    assert_eq!(fixture.handle(Event::Tick).len(), 1, "it gives space back");
}

#[test]
fn one_that_could_not_be_written_is_tried_again_later() {
    let mut fixture = Fixture::new();
    fixture.bench.commit(EVERY);
    fixture.handle(Event::Tick);
    let id = fixture.bench.state.applied().0;
    assert!(fixture.handle(Event::Taken { id, manifest: None }).is_empty());
    fixture.bench.pass(RETRY_AFTER - MS);
    assert!(fixture.handle(Event::Tick).is_empty());
    fixture.bench.pass(MS);
    assert_eq!(fixture.handle(Event::Tick).len(), 1);
}

#[test]
fn one_taken_in_doubt_is_given_to_nobody() {
    let mut fixture = Fixture::new();
    fixture.bench.commit(EVERY);
    fixture.handle(Event::Tick);
    fixture.bench.facts.in_doubt = true;
    let id = fixture.bench.state.applied().0;
    assert!(fixture.handle(Event::Taken { id, manifest: Some(b"files".to_vec()) }).is_empty());
    fixture.bench.facts.in_doubt = false;
    assert!(fixture.handle(Event::Wanted { from: other(), call: 7, at_least: LogIndex(id) }).is_empty());
}

#[test]
fn a_replica_that_wants_a_snapshot_gets_the_next_one_that_is_new_enough() {
    let mut fixture = Fixture::new();
    fixture.bench.commit(1);
    let first = fixture.take();
    let wanted = |at_least| Event::Wanted { from: other(), call: 7, at_least: LogIndex(at_least) };
    let answer = |effects: &[Effect]| {
        let answers = effects.iter().filter(|effect| {
            matches!(effect, Effect::Command(Command::Send(to, PeerMessage::Answer(7, CallAnswer::Snapshot(Some(_))))) if *to == other())
        });
        answers.count()
    };
    assert_eq!(answer(&fixture.handle(wanted(first))), 1, "it is there");
    assert!(fixture.handle(wanted(first + 1)).is_empty());
    assert!(fixture.handle(Event::Tick).is_empty(), "not applied yet");
    fixture.bench.commit(1);
    let effects = fixture.handle(Event::Tick);
    assert!(matches!(effects.as_slice(), [Effect::TakeSnapshot { .. }]), "taken for it");
    let effects = fixture.handle(Event::Taken { id: first + 1, manifest: Some(b"files".to_vec()) });
    assert_eq!(answer(&effects), 1);
}

#[test]
fn an_offered_snapshot_is_fetched_piece_by_piece() {
    let mut fixture = Fixture::new();
    let effects = fixture.handle(offered(90));
    assert!(matches!(effects.as_slice(), [Effect::Command(Command::Install { id: 90, .. })]));
    assert!(fixture.handle(offered(90)).is_empty(), "it is on its way");
    let call = chunk_calls(&fixture.handle(wants()))[0];
    assert!(
        fixture.handle(Event::Chunk { call: call + 1, bytes: Some(Vec::new()) }).is_empty(),
        "of an earlier attempt"
    );
    let effects = fixture.handle(Event::Chunk { call, bytes: Some(b"123456789".to_vec()) });
    assert!(matches!(effects.as_slice(), [Effect::Command(Command::InstallChunk { offset: 0, .. })]));
    assert!(fixture.snapshots.is_installing());
}

#[test]
fn a_missing_piece_is_requested_again_until_the_installation_fails() {
    let mut fixture = Fixture::new();
    fixture.handle(offered(90));
    let first = chunk_calls(&fixture.handle(wants()))[0];
    fixture.bench.pass(PATIENCE - MS);
    assert!(fixture.handle(Event::Tick).is_empty());
    fixture.bench.pass(MS);
    assert_ne!(chunk_calls(&fixture.handle(Event::Tick)), [first], "under a new number");
    fixture.bench.pass(GIVE_UP);
    fixture.handle(Event::Tick);
    assert!(!fixture.snapshots.is_installing());
}

#[test]
fn an_installation_ends_when_the_sender_has_a_newer_one_or_its_files_do_not_fit() {
    for gone in [true, false] {
        let mut fixture = Fixture::new();
        fixture.handle(offered(90));
        let call = chunk_calls(&fixture.handle(wants()))[0];
        let event = if gone { Event::Chunk { call, bytes: None } } else { Event::InstallFailed };
        assert!(fixture.handle(event).is_empty());
        assert!(!fixture.snapshots.is_installing());
    }
}

#[test]
fn a_snapshot_that_does_not_fit_on_the_disk_is_not_fetched() {
    let mut fixture = Fixture::new();
    fixture.bench.facts.free_bytes = Some(fixture.bench.settings.disk_reserve.last_bytes - 1);
    assert!(fixture.handle(offered(90)).is_empty());
}

fn meta(needs: BehaviorVersion) -> SnapshotMeta {
    SnapshotMeta {
        needs,
        index: 9,
        term: 1,
        voters: vec![1, 2],
        learners: Vec::new(),
        addresses: BTreeMap::new(),
        membership_version: LogIndex(0),
    }
}

/// Offers a snapshot with these meta bytes: returns the reason for which the replica leaves service, if it does, and
/// whether it installs.
fn offered_with(meta: Vec<u8>) -> (Option<String>, bool) {
    let manifest = Manifest { id: SnapshotId(9), meta, files: Vec::new() }.encode().unwrap();
    let snapshot = Snapshot { index: 9, term: 1, members: Members::of([1, 2]), manifest: manifest.into() };
    let effects = Fixture::new().handle(Event::Offered { from: other(), snapshot });
    let reason = |effect: &Effect| if let Effect::LeaveService(reason) = effect { Some(reason.clone()) } else { None };
    let installs = |effect: &Effect| matches!(effect, Effect::Command(Command::Install { .. }));
    (effects.iter().find_map(reason), effects.iter().any(installs))
}

#[test]
fn a_snapshot_that_needs_more_is_refused_before_it_is_fetched() {
    assert_eq!(offered_with(meta(BehaviorVersion::FIRST).encode()), (None, true));
    let newer = "VersionUnknown: snapshot 9: written by a newer release: ";
    let behavior = format!("{newer}behavior version 2, this build knows up to 1; run the newer release");
    assert_eq!(offered_with(meta(BehaviorVersion(2)).encode()), (Some(behavior), false));
    let format = format!("{newer}format version 3, this build reads up to 2; run the newer release");
    assert_eq!(offered_with(vec![3]), (Some(format), false));
}
