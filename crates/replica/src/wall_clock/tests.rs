use super::*;

const OWN: ReplicaId = ReplicaId(1);
const BOUND: Duration = Duration::from_millis(10);
const DRIFT: Duration = Duration::from_millis(500);
/// The correct offset.
const WALL: i64 = 1_700_000_000_000;

/// A group of three with this replica as number 1, or a group of one.
struct Group {
    clock: WallClock,
    boot: u64,
    calls: u64,
}

fn at(boot: u64, offset_ms: i64) -> Now {
    let wall = u64::try_from(boot.cast_signed() + WALL + offset_ms).unwrap();
    Now { mono: Duration::from_millis(boot), wall: Duration::from_millis(wall) }
}

impl Group {
    fn new(voters: u64) -> Self {
        let mut clock = WallClock::new(at(1_000, 0), OWN, DRIFT, BOUND);
        clock.set_voters((1..=voters).collect());
        Self { clock, boot: 1_000, calls: 0 }
    }

    /// Advances time with the given clock errors, and requests the clocks of the others.
    fn pass(&mut self, millis: u64, own_ms: i64, others_ms: &[i64]) -> Duration {
        let mut grown = Duration::ZERO;
        for _ in 0..millis / 20 {
            self.boot += 20;
            grown += self.clock.check(at(self.boot, own_ms));
            for (peer, off) in (2..).map(ReplicaId).zip(others_ms) {
                self.calls += 1;
                self.clock.asks(self.calls, peer, Duration::from_millis(self.boot));
                // A round trip of 2 ms, with the reading in its middle.
                let (answer, boot) = (at(self.boot + 1, *off).wall, Duration::from_millis(self.boot + 2));
                self.clock.heard(self.calls, peer, answer, boot);
            }
        }
        grown
    }

    /// Error of the time in use, in milliseconds.
    fn off(&self) -> i64 {
        let boot = Duration::from_millis(self.boot);
        i64::try_from(self.clock.wall(boot).as_millis()).unwrap() - self.boot.cast_signed() - WALL
    }

    fn verdict(&self) -> Verdict {
        self.clock.verdict()
    }
}

#[test]
fn a_clock_is_unproven_until_a_quorum_is_known() {
    let mut group = Group::new(3);
    assert_eq!(group.verdict(), Verdict::Unproven);
    group.pass(20, 0, &[0]);
    assert_eq!(group.verdict(), Verdict::Trusted);
    group.pass(6_000, 0, &[]);
    assert_eq!(group.verdict(), Verdict::Unproven, "what was measured long ago does not count");
    assert_eq!(Group::new(1).verdict(), Verdict::Trusted);
}

#[test]
fn a_step_of_one_clock_is_never_used() {
    for step in [-86_400_000, -3_600_000, -1_000, 1_000, 3_600_000, 86_400_000] {
        let mut group = Group::new(3);
        group.pass(100, 0, &[0, 0]);
        assert_eq!(group.pass(10_000, step, &[0, 0]), Duration::ZERO);
        assert_eq!((group.off(), group.verdict(), group.clock.is_suspended()), (0, Verdict::Trusted, true), "{step}");
        group.pass(100, 0, &[0, 0]);
        assert_eq!((group.off(), group.verdict(), group.clock.is_suspended()), (0, Verdict::Trusted, false), "{step}");
    }
}

#[test]
fn a_step_of_all_clocks_is_used_once_the_others_are_heard() {
    let mut group = Group::new(3);
    group.pass(100, 0, &[0, 0]);
    group.pass(20, 3_600_000, &[]);
    assert_eq!((group.off(), group.verdict()), (0, Verdict::Unproven), "what was known of the others is void");
    assert_eq!(group.pass(40, 3_600_000, &[3_600_000, 3_600_000]), Duration::from_secs(3_600));
    assert_eq!((group.off(), group.verdict()), (3_600_000, Verdict::Trusted));
    assert_eq!(group.pass(40, 0, &[0, 0]), Duration::ZERO, "a step back makes nothing younger");
    assert_eq!((group.off(), group.verdict()), (0, Verdict::Trusted));
}

#[test]
fn a_step_of_the_majority_makes_the_rest_wrong() {
    let mut group = Group::new(3);
    group.pass(100, 0, &[5_000, 5_000]);
    assert_eq!(group.verdict(), Verdict::Off(-4_999_000));
    assert_eq!(group.off(), 0);
    let better = group.clock.better(&[ReplicaId(2), ReplicaId(3)]);
    assert!(better.is_some(), "two agree with each other, one with itself");
}

#[test]
fn a_small_step_is_used_and_reported_at_once() {
    let mut group = Group::new(3);
    group.pass(100, 0, &[0, 0]);
    assert_eq!(group.pass(20, 400, &[]), Duration::from_millis(400));
    assert_eq!((group.off(), group.verdict()), (400, Verdict::Off(399_000)));
    assert_eq!(group.clock.better(&[ReplicaId(3)]), Some(ReplicaId(3)));
    assert_eq!(group.clock.better(&[]), None, "nobody has caught up");
}

#[test]
fn many_small_steps_within_a_second_are_one_large_one() {
    let mut group = Group::new(3);
    group.pass(100, 0, &[0, 0]);
    group.pass(20, 400, &[0, 0]);
    group.pass(20, 800, &[0, 0]);
    assert!(group.clock.is_suspended());
    assert_eq!(group.off(), 400);
}

#[test]
fn alone_a_step_is_unproven_for_three_seconds_and_then_used() {
    let mut group = Group::new(1);
    group.pass(100, 0, &[]);
    group.pass(2_900, -5_000, &[]);
    assert_eq!((group.off(), group.verdict()), (0, Verdict::Unproven));
    group.pass(200, -5_000, &[]);
    assert_eq!((group.off(), group.verdict()), (-5_000, Verdict::Trusted));
}

#[test]
fn without_a_majority_two_different_states_are_both_in_doubt() {
    let mut group = Group::new(2);
    group.pass(100, 0, &[3_600_000]);
    assert!(matches!(group.verdict(), Verdict::Off(_)));
}

#[test]
fn a_late_answer_is_discarded() {
    let mut group = Group::new(3);
    let (asked, heard) = (Duration::from_millis(1_000), Duration::from_millis(1_250));
    group.clock.asks(1, ReplicaId(2), asked);
    group.clock.heard(1, ReplicaId(2), at(1_001, 0).wall, heard);
    assert_eq!(group.verdict(), Verdict::Unproven);
}
