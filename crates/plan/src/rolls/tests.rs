use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use meridian_crd::{VectorCluster, VectorClusterStatus};
use serde_json::json;

use super::{Change, STALLED_AFTER, begun, change, marked, may_roll, progressed};
use crate::fixtures::{ALONE, id, resource, valid};
use crate::render::{self, Object};
use crate::{Apis, Observed, Settings, ValidCluster};

const NEW: &str = "node:2";

fn at(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap())
}

fn set(yaml: &str, image: &str) -> Object {
    let resource = resource(yaml);
    let settings = Settings { default_image: image.into(), ..Settings::default() };
    let cluster = ValidCluster::parse(&resource, &[], id(), &settings).unwrap();
    let objects = render::cluster(&cluster, &render::as_declared(&cluster), Apis::default());
    marked(objects.into_iter().find(|object| object.reference().kind == "StatefulSet").unwrap(), &resource.spec, id())
}

#[test]
fn another_default_image_is_an_own_change_and_an_edit_is_not() {
    let node_1 = set(ALONE, "node:1");
    let live = Some(node_1.as_json());
    let edited = ALONE.replace("region: us-east\n", "region: us-east\n  collectionDefaults: {hnswConfig: {m: 24}}\n");
    assert_ne!(edited, ALONE);
    assert_eq!(change(None, &set(ALONE, NEW)), Change::None);
    assert_eq!(change(live, &set(ALONE, "node:1")), Change::None);
    assert_eq!(change(live, &set(ALONE, NEW)), Change::Own);
    assert_eq!(change(live, &set(&edited, NEW)), Change::Edit);
    // A change of replicas restarts nothing, so that edit carries no other image.
    assert_eq!(change(live, &set(&ALONE.replace("replicasPerShard: 3", "replicasPerShard: 5"), NEW)), Change::Own);
    // Drift of a template is repaired at once.
    let mut drifted = node_1.as_json().clone();
    drifted["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1".into();
    assert_eq!(change(Some(&drifted), &set(ALONE, "node:1")), Change::None);
}

#[test]
fn a_template_of_a_release_without_marks_is_compared_itself() {
    let mut live = set(ALONE, "node:1").as_json().clone();
    live["metadata"]["annotations"] = json!({"meridiandb.io/applied": "old"});
    assert_eq!(change(Some(&live), &set(ALONE, "node:1")), Change::None);
    assert_eq!(change(Some(&live), &set(ALONE, NEW)), Change::Own);
}

/// Clusters `a`, `b`, … with these values of `Ready`.
struct World(Vec<VectorCluster>);

impl World {
    fn new(ready: &[bool]) -> Self {
        let named = |(ready, name): (&bool, char)| {
            let mut cluster = resource(ALONE);
            cluster.metadata.name = Some(name.into());
            let condition = Condition {
                type_: "Ready".into(),
                status: if *ready { "True" } else { "False" }.into(),
                reason: String::new(),
                message: String::new(),
                observed_generation: None,
                last_transition_time: at(0),
            };
            cluster.status =
                Some(VectorClusterStatus { conditions: vec![condition], ..VectorClusterStatus::default() });
            cluster
        };
        Self(ready.iter().zip('a'..).map(named).collect())
    }

    fn status(&mut self, which: usize) -> &mut VectorClusterStatus {
        self.0[which].status.as_mut().unwrap()
    }

    /// Requests a slot, and takes it if one is free.
    fn ask(&mut self, which: usize, most: usize, image: &str, now: i64) -> Result<(), String> {
        may_roll(&self.0[which], &self.0, most, image, &at(now))?;
        let slot = begun(self.0[which].status.as_ref(), image, &at(now));
        self.status(which).rollout.get_or_insert(slot);
        Ok(())
    }

    fn finish(&mut self, which: usize, image: &str) {
        let status = self.status(which);
        status.rollout = None;
        status.default_image = Some(image.into());
        status.conditions[0].status = "True".into();
    }

    fn rolling(&self) -> usize {
        self.0.iter().filter(|cluster| cluster.status.as_ref().unwrap().rollout.is_some()).count()
    }
}

#[test]
fn one_cluster_rolls_at_a_time_and_all_in_the_end() {
    for most in [1, 2] {
        let mut world = World::new(&[true; 5]);
        for round in 0..5 {
            for which in 0..5 {
                if world.status(which).default_image.as_deref() != Some(NEW) {
                    let _ = world.ask(which, most, NEW, round);
                }
            }
            assert!(world.rolling() <= most, "{} of {most}", world.rolling());
            let Some(which) = (0..5).find(|which| world.status(*which).rollout.is_some()) else { break };
            world.finish(which, NEW);
        }
        assert!((0..5).all(|which| world.status(which).default_image.as_deref() == Some(NEW)));
    }
}

#[test]
fn clusters_that_are_not_ready_roll_last_and_stop_no_other() {
    let mut world = World::new(&[false, true, true]);
    let refused = world.ask(0, 1, NEW, 0).unwrap_err();
    assert!(refused.contains("/b is Ready and rolls first"), "{refused}");
    for which in [1, 2] {
        world.ask(which, 1, NEW, 0).unwrap();
        world.finish(which, NEW);
    }
    world.ask(0, 1, NEW, 0).unwrap();
    let late = STALLED_AFTER.as_secs().cast_signed();
    let mut fourth = World::new(&[true]).0.remove(0);
    fourth.metadata.name = Some("d".into());
    world.0.push(fourth);
    assert!(world.ask(3, 1, NEW, late - 1).is_err());
    world.ask(3, 1, NEW, late).unwrap();
}

#[test]
fn a_stalled_roll_holds_all_others() {
    let late = STALLED_AFTER.as_secs().cast_signed();
    let stopped = || {
        let mut world = World::new(&[true, true]);
        world.ask(0, 2, NEW, 0).unwrap();
        assert!(world.ask(1, 2, NEW, late).unwrap_err().contains("/a has made no progress for 15 minutes"));
        world
    };
    let mut recovered = stopped();
    recovered.finish(0, NEW);
    recovered.ask(1, 2, NEW, late).unwrap();
    let mut deleted = stopped();
    deleted.0[0].metadata.deletion_timestamp = Some(at(late));
    deleted.ask(1, 2, NEW, late).unwrap();
    // Another default: the stuck cluster has its slot already and no longer stops the others.
    let mut mended = stopped();
    mended.ask(0, 1, "node:3", late).unwrap();
    assert!(mended.ask(1, 1, "node:3", late).unwrap_err().contains("/a rolls"));
    mended.ask(1, 2, "node:3", late).unwrap();
}

#[test]
fn a_slot_is_held_until_all_pods_serve_with_the_new_template() {
    let cluster = valid(ALONE, &[]);
    let slot = begun(None, NEW, &at(0));
    let still = progressed(&slot, &cluster, &Observed::default(), NEW, false, &at(60)).unwrap();
    assert_eq!((still.last_progress_time, still.was_ready), (at(0), false));
    let other = progressed(&slot, &cluster, &Observed::default(), "node:3", true, &at(60)).unwrap();
    assert_eq!((other.last_progress_time, other.image.as_str()), (at(60), "node:3"));
}
