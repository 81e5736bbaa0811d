//! Pods whose volume is another's, or of a newer release.

use meridian_model::{BehaviorVersion, ClusterId, PrimaryTerm, RegionName, ShardNumber};
use meridian_proto::frame::{Build, Hello};
use meridian_proto::topology::{Genesis, MembersAt, PodStatus};
use meridian_volume::Folder;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::credentials::{Credentials, tests};

/// The identity that the test configuration assigns, with replica id `id`.
fn configured_identity(config: &NodeConfig, id: u64) -> Identity {
    let genesis = Genesis {
        cluster: config.cluster_id,
        region: config.region.clone(),
        shard: config.shard,
        shards: config.shards,
        primary: config.region.clone(),
        primary_term: PrimaryTerm(1),
    };
    let group = config.replication_group.as_ref().map(|group| group.name.clone());
    Identity { genesis, replica: ReplicaId(id), founders: Vec::new(), group, behavior: BehaviorVersion::FIRST }
}

/// Starts a pod whose volume has this identity.
fn pod_with(config: &NodeConfig, identity: &Identity) -> Supervisor {
    let folder = config.data_dir.join(REPLICA_DIR);
    std::fs::create_dir_all(&folder).unwrap();
    initialize_volume(&RealDisk::open(&folder).unwrap(), identity, SEGMENT_BYTES).unwrap();
    pod(config)
}

/// A pod that has begun, whatever its volume holds.
fn pod(config: &NodeConfig) -> Supervisor {
    let credentials = Credentials::load(config).unwrap();
    let hello = Hello {
        cluster: config.cluster_id,
        region: config.region.clone(),
        node: None,
        address: "here:1".into(),
        build: Build::current(),
    };
    let hub = Hub::new(credentials.tls(), credentials.group_keys(), hello, CancellationToken::new(), |_| ());
    let supervisor = Supervisor::new(config.clone(), Arc::new(Metrics::new()), 1);
    supervisor.start(hub).unwrap();
    supervisor
}

/// No call changes the volume: each is refused for this reason.
async fn refuses_calls(pod: &Supervisor, config: &NodeConfig, reason: &str) {
    let group = MembersAt { applied: LogIndex(9), members: Vec::new() };
    for call in [
        TopologyCall::Join { identity: configured_identity(config, 9), group },
        TopologyCall::Bootstrap(configured_identity(config, 9)),
        TopologyCall::Remove { replica: ReplicaId(3), expected: LogIndex(0) },
    ] {
        let answer = pod.topology(call).await;
        assert!(matches!(&answer, TopologyAnswer::Refused(why) if why.contains(reason)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_pod_with_a_foreign_volume_reports_its_owner_and_changes_nothing() {
    let changes: [fn(&mut Identity); 5] = [
        |identity| identity.genesis.cluster = ClusterId(7),
        |identity| identity.genesis.region = RegionName::new("eu").unwrap(),
        |identity| identity.genesis.shard = ShardNumber::new(2).unwrap(),
        |identity| identity.genesis.shards = 2,
        |identity| identity.group = Some("another".into()),
    ];
    for change in changes {
        let (_folder, config) = tests::config();
        let mut found = configured_identity(&config, 3);
        change(&mut found);
        let pod = pod_with(&config, &found);
        assert!(pod.handle().read().is_none(), "the replica runs");
        let status = TopologyAnswer::status(PodStatus::Foreign { identity: found.clone() });
        assert_eq!(pod.topology(TopologyCall::Status).await, status);
        refuses_calls(&pod, &config, &found.to_string()).await;
        let disk = RealDisk::open(&config.data_dir.join(REPLICA_DIR)).unwrap();
        assert_eq!(inspect_volume(&disk).unwrap(), Folder::Replica(found));
    }
}

#[tokio::test]
async fn a_volume_initialized_before_its_group_runs() {
    let (_folder, config) = tests::config();
    let pod = pod_with(&config, &Identity { group: None, ..configured_identity(&config, 3) });
    assert!(pod.handle().read().is_some());
    let answer = pod.topology(TopologyCall::Status).await;
    let TopologyAnswer::Status { pod: PodStatus::Running(status), .. } = answer else { panic!("{answer:?}") };
    assert_eq!((status.identity.replica, status.identity.group), (ReplicaId(3), None));
}

#[tokio::test]
async fn a_pod_with_files_of_a_newer_release_says_so_and_touches_nothing() {
    // The identity is read first; a record of the log only when the folder is opened.
    for in_the_log in [false, true] {
        let (_folder, config) = tests::config();
        let folder = config.data_dir.join(REPLICA_DIR);
        std::fs::create_dir_all(&folder).unwrap();
        let disk = RealDisk::open(&folder).unwrap();
        initialize_volume(&disk, &configured_identity(&config, 3), SEGMENT_BYTES).unwrap();
        if in_the_log {
            let (mut log, _, _) = open_volume(&disk, &configured_identity(&config, 3), SEGMENT_BYTES).unwrap();
            log.persist(&[(1, vec![vec![9, 1, 0]])]).unwrap();
        } else {
            meridian_store::write_atomic(&disk, "identity", 9, b"of tomorrow").unwrap();
        }
        drop(disk); // it holds the lock on the folder
        let content = || {
            let names = ["identity", "log/mark", "log/slot-000001.wal"];
            names.map(|name| std::fs::read(folder.join(name)).unwrap())
        };
        let before = content();
        let pod = pod(&config);
        assert!(pod.handle().read().is_none(), "the replica runs");
        let answer = pod.topology(TopologyCall::Status).await;
        let TopologyAnswer::Status { pod: PodStatus::Newer { reason }, .. } = answer else { panic!("{answer:?}") };
        assert!(reason.contains("written by a newer release: format version 9, this build reads up to "), "{reason}");
        refuses_calls(&pod, &config, &reason).await;
        assert!(content() == before, "the volume was changed");
        let names: Vec<_> =
            std::fs::read_dir(&config.data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("retired")), "{names:?}");
    }
}
