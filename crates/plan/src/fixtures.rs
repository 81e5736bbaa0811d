//! Named resources; each test case is one field away from one of them.

use meridian_crd::{ReplicationLink, VectorCluster};
use meridian_model::{ClusterId, ReplicaId};
use meridian_proto::topology::{Genesis, Identity, ReplicaStatus};

use crate::{Settings, ValidCluster};

pub const ALONE: &str = "
apiVersion: meridiandb.io/v1alpha1
kind: VectorCluster
metadata: {name: vector-search, namespace: us-east, uid: 5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e11, generation: 1}
spec:
  region: us-east
  shards: 2
  replicasPerShard: 3
  storage: {size: 1Gi}
";

pub const GROUPED: &str = "
apiVersion: meridiandb.io/v1alpha1
kind: VectorCluster
metadata: {name: vector-search, namespace: eu-west, uid: 5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e12, generation: 3}
spec:
  region: eu-west
  shards: 1
  replicasPerShard: 3
  image: example.com/node:2
  storage: {size: 20Gi, storageClassName: fast}
  resources: {requests: {cpu: 2, memory: 4Gi}, limits: {memory: 4Gi}}
  replicationGroup:
    name: search
    primary: {region: us-east}
    secretRef: {name: group-key}
    regions:
    - {name: us-east, endpoint: 'vector-search-region.us-east.svc.cluster.local:8082'}
    - {name: eu-west, endpoint: 'vector-search-region.eu-west.svc.cluster.local:8082'}
  deltaLog: {kafka: {bootstrapServers: 'kafka.eu-west:9092'}}
  freshness: {default: 100ms, onStale: [Wait, Fail], maxWait: 2s, clockBound: 20ms}
  collectionDefaults: {hnswConfig: {m: 32, efConstruct: 200}}
  auth: {mode: ApiKey, secretRef: {name: my-key}}
  traffic: {istio: {hosts: [search.example.com], gateways: [istio-ingress/public, mesh]}}
";

pub const MIRRORED: &str = "
apiVersion: meridiandb.io/v1alpha1
kind: ReplicationLink
metadata: {name: from-us-east, namespace: eu-west, uid: 5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e13, generation: 1}
spec:
  clusterRef: {name: vector-search}
  source: {region: us-east}
  transport: {kafka: {via: Mirror, bootstrapServers: 'kafka.us-east:9092'}}
  mirrorMaker2: {mode: Strimzi, bootstrapServers: 'kafka.eu-west:9092'}
";

pub fn resource(yaml: &str) -> VectorCluster {
    serde_saphyr::from_str(yaml).unwrap()
}

pub fn link(yaml: &str) -> ReplicationLink {
    serde_saphyr::from_str(yaml).unwrap()
}

pub fn id() -> ClusterId {
    ClusterId(0x5f0b_7a52_6c1f_4d53_9d0a_0d7f_4a9c_1e11)
}

pub fn valid(yaml: &str, links: &[&str]) -> ValidCluster {
    let links: Vec<_> = links.iter().map(|yaml| link(yaml)).collect();
    ValidCluster::parse(&resource(yaml), &links, id(), &settings()).unwrap()
}

/// Settings under which every host of the fixtures is routed.
pub fn settings() -> Settings {
    Settings { allowed_hosts: vec!["search.example.com".parse().unwrap()], ..Settings::default() }
}

/// The status of a replica that was just bootstrapped.
pub fn running(genesis: Genesis) -> ReplicaStatus {
    ReplicaStatus::new(Identity {
        genesis,
        replica: ReplicaId(1),
        founders: Vec::new(),
        group: None,
        behavior: meridian_model::BehaviorVersion::FIRST,
    })
}
