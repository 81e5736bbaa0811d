//! The memory that a snapshot, and a start from one, add to that of the state. It is measured by the kernel, the only
//! counter of both mappings and the allocator. A snapshot may add a quarter; an eighth is allowed here, and the rest is
//! for concurrent writes. The file has one test, so that no other one adds to the measurement.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use meridian_model::{
    BehaviorVersion, CollectionDef, CollectionName, CollectionUid, Distance, Hlc, HnswParams, LogIndex, Op, Payload,
    PointId, PrimaryTerm, RegionName, RequestIndexes, ShardNumber, TableVersion, VectorDef, Vectors, WriteId,
};
use meridian_shard::{Entry, Identity, State, Write};

const POINTS: u64 = 100_000;
const BATCH: u64 = 500;
const DIM: u32 = 8;
/// Passes the folder of the snapshot to the process that starts from it.
const FOLDER: &str = "MERIDIAN_MEMORY_TEST";

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

/// Peak memory of the process while `act` runs, in bytes.
fn peak(act: impl FnOnce()) -> u64 {
    // Resets the peak (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    act();
    status("VmHWM:")
}

#[track_caller]
fn assert_within_an_eighth(what: &str, peak: u64, state: u64) {
    println!("{what}: {state} bytes without, {peak} at most");
    assert!(peak <= state + state / 8, "{what}: {peak} bytes at most, {state} without");
}

fn apply(state: &mut State, ops: Vec<Op>) {
    let index = state.applied().0 + 1;
    let (id, hlc) = (WriteId(index.into()), Hlc(index * 1_000_000));
    let write = Write {
        id,
        part: 0,
        table: TableVersion(1),
        term: PrimaryTerm(1),
        sent_at: LogIndex(u64::MAX),
        ops,
        indexes: RequestIndexes::default(),
        hlc,
        trace: None,
    };
    state.apply(LogIndex(index), &Entry::Write(write));
}

/// Many points with small vectors: records are most of the state.
fn filled() -> State {
    let region = RegionName::new("us").unwrap();
    let primary = (PrimaryTerm(1), region.clone());
    let (shard, behavior) = (ShardNumber::FIRST, BehaviorVersion::FIRST);
    let mut state = State::new(Identity { region, shard, shards: 1, primary, behavior }).unwrap();
    // Graph work would take minutes, and nothing here depends on it.
    state.defer_merging(true);
    let vector = VectorDef { dim: DIM, distance: Distance::Dot, hnsw: HnswParams::default() };
    let def = CollectionDef {
        name: CollectionName::new("words").unwrap(),
        vectors: BTreeMap::from([(String::new(), vector)]),
    };
    let collection = CollectionUid(1);
    apply(&mut state, vec![Op::CreateCollection { uid: collection, def }]);
    for first in (0..POINTS).step_by(BATCH as usize) {
        let upsert = |point: u64| Op::Upsert {
            collection,
            point: PointId::Num(point),
            vectors: Vectors::unnamed((0..DIM).map(|at| (point * 31 + u64::from(at)) as f32).collect()),
            payload: Payload(format!(r#"{{"number":{point},"text":"{}"}}"#, "x".repeat(40)).into()),
        };
        apply(&mut state, (first..first + BATCH).map(upsert).collect());
    }
    state
}

fn start(folder: &Path) {
    let before = status("VmRSS:");
    let mut started = None;
    let most = peak(|| {
        let open = |name: &str| {
            let file = File::open(folder.join(name))?;
            let bytes = file.metadata()?.len();
            Ok(Some((file, bytes)))
        };
        started = Some(State::read(open).unwrap());
    });
    let after = status("VmRSS:");
    assert!(started.is_some_and(|state| state.collections().all(|collection| collection.points() == POINTS)));
    assert_within_an_eighth("a start", most - before, after - before);
}

#[test]
fn a_snapshot_and_a_start_add_at_most_an_eighth() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return start(Path::new(&folder));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let empty = status("VmRSS:");
    let mut state = filled();
    let before = status("VmRSS:");
    let most = peak(|| {
        let image = state.image();
        for file in image.files() {
            file.write(&mut File::create(folder.join(file.name())).unwrap()).unwrap();
        }
    });
    let name = "a_snapshot_and_a_start_add_at_most_an_eighth";
    // Another process, since the allocator of this one may keep freed memory.
    let mut again = Command::new(std::env::current_exe().unwrap());
    let started = again.args(["--exact", name, "--nocapture"]).env(FOLDER, &folder).status().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_within_an_eighth("a snapshot", most - empty, before - empty);
    assert!(started.success(), "the start failed");
}
