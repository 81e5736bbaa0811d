use meridian_model::{Answer, Names, PlayedRelease, Query, Search, Select};
use proptest::prelude::*;

use super::*;
use crate::CollectionView;
use crate::fixture::{Region, actions};

const NEXT: BehaviorVersion = BehaviorVersion(2);

fn searches(state: &mut State) -> Vec<Answer> {
    let search = |using: &str, vector: Vec<f32>, exact| {
        let select = Select { vectors: Names::All, ..Select::default() };
        let (using, score_threshold) = (using.into(), None);
        Query::Search(Search {
            vector,
            using,
            filter: None,
            limit: 10,
            ef: Some(16),
            recall: None,
            exact,
            score_threshold,
            select,
        })
    };
    let queries = [search("", vec![1.0, -3.0], false), search("other", vec![0.0, 2.0, 9.0], true)];
    let view = state.view();
    let uids = view.collections().map(CollectionView::uid);
    uids.flat_map(|uid| queries.each_ref().map(|query| view.read(uid, query).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_at_any_point_changes_no_later_result(
        actions in actions(120),
        at in any::<prop::sample::Index>(),
    ) {
        let mut region = Region::new("us", 2);
        let mut follower = Region::new("eu", 1);
        region.run(&actions);
        follower.follow(&region, 3);
        for shard in region.shards.iter_mut().chain(&mut follower.shards) {
            let at = at.index(shard.log.len() + 1);
            let mut moved = crate::fixture::state(
                shard.state.origin().region.as_str(), shard.state.origin().shard.number(), shard.state.table().shards(),
            );
            for (i, entry) in shard.log.iter().enumerate() {
                if i == at {
                    let files = moved.snapshot();
                    let mut restored = State::restore(&files).unwrap();
                    prop_assert_eq!(restored.checksum(), moved.checksum());
                    prop_assert_eq!(restored.digest(), moved.digest());
                    prop_assert_eq!(searches(&mut restored), searches(&mut moved));
                    prop_assert_eq!(restored.snapshot(), files);
                    moved = restored;
                }
                moved.merge_index(i % 3);
                moved.apply(LogIndex(i as u64 + 1), entry);
            }
            prop_assert_eq!(moved.checksum(), shard.state.checksum());
            prop_assert_eq!(moved.digest(), shard.state.digest());
            prop_assert_eq!(searches(&mut moved), searches(&mut shard.state));
            let first = meridian_model::Position { epoch: Epoch(1), seq: Seq(1) };
            prop_assert_eq!(moved.locate(first), shard.state.locate(first));
        }
    }
}

fn a_snapshot() -> Vec<(String, Vec<u8>)> {
    let mut region = Region::new("us", 1);
    region.act(&crate::fixture::Action::Create { name: 0 });
    (0..20).for_each(|point| region.act(&crate::fixture::Action::Upsert { uid: 1, point, x: 1, y: point as i8 }));
    region.shards[0].state.snapshot()
}

/// The head of a file of the first behavior version.
const HEAD: [u8; 3] = [SNAPSHOT_VERSION, 1, 0];

fn seal(file: &mut Vec<u8>) {
    let hash = blake3::hash(file);
    file.extend(hash.as_bytes());
}

fn refused(files: &[(String, Vec<u8>)]) -> RestoreError {
    State::restore(files).err().expect("must be refused")
}

#[test]
fn a_missing_damaged_or_future_file_is_named() {
    let whole = a_snapshot();
    assert!(State::restore(&whole).is_ok());
    for nth in 0..whole.len() {
        let name = whole[nth].0.clone();
        let mut files = whole.clone();
        files.remove(nth);
        assert_eq!(refused(&files), RestoreError::Missing(name.clone()));
        for at in [1, 2, 3, 5, whole[nth].1.len() / 2, whole[nth].1.len() - 1] {
            let mut files = whole.clone();
            files[nth].1[at] ^= 1;
            assert_eq!(refused(&files), RestoreError::Damaged(name.clone()), "{at}");
        }
        let mut files = whole.clone();
        files[nth].1.truncate(7);
        assert_eq!(refused(&files), RestoreError::Damaged(name.clone()));
        files[nth].1 = whole[nth].1.clone();
        files[nth].1[0] = 1;
        let older = refused(&files);
        assert_eq!(older, RestoreError::Version { file: name.clone(), version: 1 });
        assert!(!older.is_damage() && !older.is_newer());
        files[nth].1[0] = SNAPSHOT_VERSION + 1;
        let source = VersionUnknown::format(SNAPSHOT_VERSION + 1, SNAPSHOT_VERSION);
        assert_eq!(refused(&files), RestoreError::VersionUnknown { file: name.clone(), source });
        let (sealed, _) = whole[nth].1.split_at(whole[nth].1.len() - HASH_BYTES);
        files[nth].1 = sealed.to_vec();
        files[nth].1[1..3].copy_from_slice(&2_u16.to_le_bytes());
        seal(&mut files[nth].1);
        let newer = refused(&files);
        let source = VersionUnknown::check(BehaviorVersion(2)).unwrap_err();
        assert_eq!(newer, RestoreError::VersionUnknown { file: name, source });
        assert!(newer.is_newer() && !newer.is_damage());
    }
}

#[test]
fn files_of_two_snapshots_do_not_mix() {
    let mut region = Region::new("us", 1);
    region.act(&crate::fixture::Action::Create { name: 0 });
    region.act(&crate::fixture::Action::Upsert { uid: 1, point: 1, x: 1, y: 1 });
    let mut files = a_snapshot();
    files[1] = region.shards[0].state.snapshot().swap_remove(1);
    assert!(matches!(refused(&files), RestoreError::Malformed { .. } | RestoreError::Checksum));
}

#[test]
fn a_slot_out_of_proportion_is_refused_before_memory_is_taken() {
    let mut files = a_snapshot();
    let sealed = files[1].1.clone();
    let (head, rows) = postcard::take_from_bytes::<PointsHead>(&sealed[3..sealed.len() - HASH_BYTES]).unwrap();
    let (row, rest) = postcard::take_from_bytes::<Row>(rows).unwrap();
    let mut check = |head: &PointsHead, row: &Row| {
        let mut sealed = postcard::to_extend(head, HEAD.to_vec()).unwrap();
        sealed = postcard::to_extend(row, sealed).unwrap();
        sealed.extend(rest);
        seal(&mut sealed);
        files[1].1 = sealed;
        State::restore(&files).map(drop)
    };
    check(&head, &row).unwrap();
    let far = Row { slot: u32::MAX - 1, payload: row.payload.clone(), origin: row.origin, ..row };
    assert!(matches!(check(&head, &far), Err(RestoreError::Malformed { .. })));
    for rows in [head.rows - 1, head.rows + 1, 1 << 31, u64::MAX] {
        let (def, origins, free) = (head.def.clone(), head.origins.clone(), head.free.clone());
        let head = PointsHead { uid: head.uid, def, origins, free, rows };
        assert!(matches!(check(&head, &row), Err(RestoreError::Malformed { .. })), "{rows}");
    }
}

#[test]
fn an_image_holds_its_applied_index_while_entries_are_applied() {
    let mut region = Region::new("us", 1);
    region.act(&crate::fixture::Action::Create { name: 0 });
    let upsert = |point, y| crate::fixture::Action::Upsert { uid: 1, point, x: 1, y };
    (0..20).for_each(|point| region.act(&upsert(point, point as i8)));
    let state = &mut region.shards[0].state;
    let (before, checksum, digest) = (state.snapshot(), state.checksum(), state.digest());
    let image = state.image();
    (0..20).for_each(|point| region.act(&upsert(point, 99)));
    region.shards[0].state.merge_index(1_000);
    let written: Vec<(String, Vec<u8>)> = image
        .files()
        .map(|file| {
            let mut bytes = Vec::new();
            file.write(&mut bytes).unwrap();
            (file.name(), bytes)
        })
        .collect();
    assert_eq!(written, before);
    let restored = State::restore(&written).unwrap();
    assert_eq!((restored.checksum(), restored.digest(), restored.applied()), (checksum, digest, image.applied()));
}

/// A reader that returns small pieces, and an error from one byte on.
struct Failing<'a> {
    bytes: &'a [u8],
    at: usize,
    fails_at: Option<usize>,
}

impl Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.fails_at.is_some_and(|at| self.at >= at) {
            return Err(io::Error::other("input/output error"));
        }
        let count = into.len().min(7).min(self.bytes.len() - self.at);
        into[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_is_no_damage() {
    let files = a_snapshot();
    let read = |fails: Option<(usize, usize)>| {
        State::read(|name| {
            let found = files.iter().enumerate().find(|(_, (file, _))| file == name);
            Ok(found.map(|(nth, (_, bytes))| {
                let fails_at = fails.filter(|(file, _)| *file == nth).map(|(_, at)| at);
                (Failing { bytes, at: 0, fails_at }, bytes.len() as u64)
            }))
        })
    };
    assert_eq!(read(None).unwrap().checksum(), State::restore(&files).unwrap().checksum());
    for (nth, (name, content)) in files.iter().enumerate() {
        let bytes = content.len();
        for at in [0, 1, 9, bytes / 2, bytes - 33, bytes - 1, bytes] {
            let fault = read(Some((nth, at))).err().expect("must be refused");
            let reason = format!("read snapshot file {name}: input/output error");
            assert_eq!((fault.to_string(), fault.is_damage()), (reason, false), "at {at}");
        }
    }
    let fault = State::read(|_| Err::<Option<(&[u8], u64)>, _>(io::ErrorKind::NotFound.into())).err().unwrap();
    assert!(fault.is_damage(), "a file that is gone is lost");
}

/// What a group has published and what it has not are two forms of the core file.
fn a_core_since_2(published: BehaviorVersion) -> Vec<(String, Vec<u8>)> {
    let mut files = a_snapshot();
    let sealed = &files[0].1;
    let mut file: CoreFile = postcard::from_bytes(&sealed[3..sealed.len() - HASH_BYTES]).unwrap();
    file.core.behavior = NEXT;
    files[0].1 = postcard::to_extend(&file, vec![SNAPSHOT_VERSION, 2, 0]).unwrap();
    files[0].1 = postcard::to_extend(&CoreSince2 { published }, std::mem::take(&mut files[0].1)).unwrap();
    seal(&mut files[0].1);
    files
}

#[test]
fn a_published_version_that_the_group_has_not_finalized_is_malformed() {
    let _next = PlayedRelease::knowing(BehaviorVersion(3));
    for published in [0, 3] {
        let fault = refused(&a_core_since_2(BehaviorVersion(published)));
        assert!(matches!(&fault, RestoreError::Malformed { reason, .. } if reason.contains("published")), "{fault}");
    }
    // The checksum in the file is that of the group before.
    assert_eq!(refused(&a_core_since_2(NEXT)), RestoreError::Checksum);
    let mut files = a_core_since_2(NEXT);
    let end = files[0].1.len() - HASH_BYTES - 1;
    files[0].1.truncate(end);
    seal(&mut files[0].1);
    assert!(matches!(refused(&files), RestoreError::Malformed { .. }), "a core without what version 2 adds");
}

#[test]
fn a_core_of_a_later_behavior_is_refused_though_its_head_is_known() {
    let mut files = a_snapshot();
    let sealed = &files[0].1;
    let mut core: CoreFile = postcard::from_bytes(&sealed[3..sealed.len() - HASH_BYTES]).unwrap();
    core.core.behavior = BehaviorVersion(2);
    files[0].1 = postcard::to_extend(&core, HEAD.to_vec()).unwrap();
    seal(&mut files[0].1);
    assert!(refused(&files).is_newer());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Golden: the core file and a points file of a small state, byte by byte. A change of these bytes is a new format
/// version. `MERIDIAN_WRITE_GOLDEN=1` writes the files.
#[test]
fn snapshot_files_are_the_bytes_they_always_were() {
    check_golden(&mut small_state(), "golden-v3.txt");
}

/// The same state after `Version(2)` and `Publish(2)`: the form of behavior version 2.
#[test]
fn snapshot_files_of_behavior_version_2_are_the_bytes_they_always_were() {
    let _next = PlayedRelease::knowing(NEXT);
    let mut region = small_state();
    let shard = &mut region.shards[0];
    shard.commit(crate::Entry::Version(NEXT));
    shard.commit(crate::Entry::Publish(NEXT));
    check_golden(&mut region, "golden-v3-behavior-2.txt");
    let files = region.shards[0].state.snapshot();
    let restored = State::restore(&files).unwrap();
    assert_eq!((restored.behavior(), restored.published()), (NEXT, NEXT));
    assert_eq!(restored.checksum(), region.shards[0].state.checksum());
    let _previous = PlayedRelease::knowing(BehaviorVersion::FIRST);
    assert!(refused(&files).is_newer());
}

fn small_state() -> Region {
    let mut region = Region::new("us", 1);
    region.act(&crate::fixture::Action::Create { name: 0 });
    (0..3).for_each(|point| region.act(&crate::fixture::Action::Upsert { uid: 1, point, x: 1, y: point as i8 }));
    region.act(&crate::fixture::Action::DeleteIf { uid: 1, points: vec![(1, false), (2, true)] });
    let shard = &mut region.shards[0];
    shard.commit(crate::Entry::BeginEpoch { epoch: Epoch(2) });
    shard.commit(crate::fixture::write(9, 1 << 20, vec![crate::fixture::delete(1, 0)]));
    region
}

fn check_golden(region: &mut Region, file: &str) {
    let files = region.shards[0].state.snapshot();
    let found: Vec<_> = files[..2].iter().map(|(name, bytes)| format!("{name} {}", hex(bytes))).collect();
    let path = format!("{}/src/snapshot/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MERIDIAN_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, found.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, golden.lines().collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn any_core_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut files = a_snapshot();
        files[0].1 = [&HEAD[..], &body].concat();
        seal(&mut files[0].1);
        // Either result is correct; a panic or a disproportionate allocation is not.
        let _ = State::restore(&files);
    }

    #[test]
    fn a_changed_core_is_read_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
        let mut files = a_snapshot();
        let end = files[0].1.len() - HASH_BYTES;
        files[0].1.truncate(end);
        let at = 3 + at.index(end - 3);
        files[0].1[at] = byte;
        seal(&mut files[0].1);
        let _ = State::restore(&files);
    }

    #[test]
    fn a_restart_in_any_epoch_changes_no_result(
        halves in prop::collection::vec(actions(30), 1..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut region = Region::new("us", 1);
        for (nth, half) in (1..).zip(&halves) {
            region.run(half);
            let outcome = region.shards[0].commit(crate::Entry::BeginEpoch { epoch: Epoch(nth + 1) }).outcome;
            prop_assert_eq!(outcome, crate::Outcome::EpochBegun(Epoch(nth + 1)));
        }
        let shard = &region.shards[0];
        let at = at.index(shard.log.len() + 1);
        let mut moved = crate::fixture::state("us", 1, 1);
        for (i, entry) in shard.log.iter().enumerate() {
            if i == at {
                moved = State::restore(&moved.snapshot()).unwrap();
            }
            moved.apply(LogIndex(i as u64 + 1), entry);
        }
        moved = State::restore(&moved.snapshot()).unwrap();
        prop_assert_eq!(moved.checksum(), shard.state.checksum());
        let (led, followed) = (crate::fixture::tail(&shard.state, &shard.log), crate::fixture::tail(&moved, &shard.log));
        prop_assert_eq!(&led, &followed);
        prop_assert!(led.is_sorted_by_key(meridian_model::Delta::position));
        for epoch in 1..=halves.len() as u32 {
            let seqs = led.iter().filter(|delta| delta.epoch == Epoch(epoch)).map(|delta| delta.seq.0);
            prop_assert!(seqs.eq(1..=shard.state.last_of(Epoch(epoch)).unwrap().0));
        }
    }
}
