//! Admission of requests by the behavior versions of the own group.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_model::client::{Body, PointOp};
use meridian_model::{BehaviorVersion, RegionName};
use meridian_proto::frame::Unsupported;

/// Versions of the replication group, as far as the gateway's replica knows them.
#[derive(Debug, Clone, Copy)]
pub struct GroupVersions<'a> {
    /// Finalized by the shard of the gateway.
    pub finalized: BehaviorVersion,
    /// Published by it: every region has finalized this version.
    pub published: BehaviorVersion,
    /// The region of the gateway.
    pub region: &'a RegionName,
    /// The other regions of the replication group.
    pub others: &'a [RegionName],
    /// Versions that other regions have finalized, and when each was reported. Empty where nobody asks them.
    pub reported: &'a BTreeMap<RegionName, (Duration, BehaviorVersion)>,
}

impl GroupVersions<'_> {
    /// Why a request that needs this version is refused, if it is.
    #[must_use]
    pub fn refuse(&self, needs: BehaviorVersion) -> Option<String> {
        let Self { finalized, region, .. } = *self;
        if needs <= finalized {
            return None;
        }
        if needs > BehaviorVersion::newest() {
            return Some(Unsupported::Version(needs).to_string());
        }
        Some(format!(
            "the request needs behavior version {needs}; region {region} has finalized {finalized}: \
             run \"meridian upgrade finalize <cluster>\""
        ))
    }

    /// Why an operation is refused in the primary region because of what its deltas need, if it is.
    #[must_use]
    pub fn refuse_deltas(&self, body: &Body) -> Option<String> {
        let needs = needed_by_deltas(body);
        if needs <= self.published {
            return None;
        }
        let is_late = |region: &&RegionName| self.reported.get(*region).is_none_or(|(_, finalized)| *finalized < needs);
        let late: Vec<&str> = self.others.iter().filter(is_late).map(RegionName::as_str).collect();
        let awaited = if late.is_empty() {
            "the operator to publish it".into()
        } else {
            format!("{} to finalize it, then for the operator to publish it", late.join(", "))
        };
        Some(format!("the write needs behavior version {needs} in every region: waiting for {awaited}"))
    }
}

/// The behavior version that other regions need to merge the deltas of an operation. Deletes by filter become deletes of
/// points, whatever their filter needs.
fn needed_by_deltas(body: &Body) -> BehaviorVersion {
    match body {
        Body::Write { ops, .. } => ops.iter().map(PointOp::needs).max().unwrap_or(BehaviorVersion::FIRST),
        Body::CreateCollection(_) | Body::DropCollection(_) | Body::DeleteByFilter { .. } => BehaviorVersion::FIRST,
        Body::ListCollections | Body::DescribeCollection(_) | Body::Read { .. } => BehaviorVersion::FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::{CollectionName, Condition, Filter, Payload, PlayedRelease, PointId, Scalar, Vectors};

    const NEXT: BehaviorVersion = BehaviorVersion(2);

    fn region(name: &str) -> RegionName {
        RegionName::new(name).unwrap()
    }

    #[test]
    fn a_request_needs_what_its_group_has_finalized() {
        let (own, reported) = (region("us-east"), BTreeMap::new());
        let refuse = |finalized, needs| {
            let published = BehaviorVersion::FIRST;
            GroupVersions { finalized, published, region: &own, others: &[], reported: &reported }.refuse(needs)
        };
        let _next = PlayedRelease::knowing(NEXT);
        assert_eq!(refuse(BehaviorVersion::FIRST, BehaviorVersion::FIRST), None);
        assert_eq!(refuse(NEXT, NEXT), None);
        let text = "the request needs behavior version 2; region us-east has finalized 1: run \"meridian upgrade finalize <cluster>\"";
        assert_eq!(refuse(BehaviorVersion::FIRST, NEXT).as_deref(), Some(text));
        let later = BehaviorVersion(3);
        assert_eq!(refuse(NEXT, later), Some(Unsupported::Version(later).to_string()), "finalizing does not help");
    }

    #[test]
    fn a_write_names_the_regions_that_have_not_finalized_what_its_deltas_need() {
        let (own, others) = (region("us-east"), [region("ap-south"), region("eu-west")]);
        let collection = CollectionName::new("words").unwrap();
        let payload = Payload(r#"{"meridian.next":1}"#.into());
        let op = |payload| PointOp::Upsert { point: PointId::Num(1), vectors: Vectors::new(), payload };
        let write = |payload| Body::Write { collection: collection.clone(), ops: vec![op(payload)] };
        let key = "\"meridian.next\"".parse().unwrap();
        let filter = Filter { must: vec![Condition::Any { key, any: vec![Scalar::Int(1)] }], ..Filter::default() };
        let delete = Body::DeleteByFilter { collection: collection.clone(), filter };
        assert_eq!(delete.needs(), NEXT);
        let refuse = |published, reported: &BTreeMap<_, _>, body: &Body| {
            let groups = GroupVersions { finalized: NEXT, published, region: &own, others: &others, reported };
            groups.refuse_deltas(body)
        };
        let mut reported = BTreeMap::new();
        let first = BehaviorVersion::FIRST;
        assert_eq!(refuse(first, &reported, &write(Payload::default())), None);
        assert_eq!(refuse(first, &reported, &delete), None, "its deltas are deletes");
        assert_eq!(refuse(NEXT, &reported, &write(payload.clone())), None);
        let text =
            |awaited: &str| Some(format!("the write needs behavior version 2 in every region: waiting for {awaited}"));
        let both = text("ap-south, eu-west to finalize it, then for the operator to publish it");
        assert_eq!(refuse(first, &reported, &write(payload.clone())), both);
        reported.insert(region("ap-south"), (Duration::ZERO, first));
        assert_eq!(refuse(first, &reported, &write(payload.clone())), both);
        reported.insert(region("ap-south"), (Duration::ZERO, NEXT));
        let one = text("eu-west to finalize it, then for the operator to publish it");
        assert_eq!(refuse(first, &reported, &write(payload.clone())), one);
        reported.insert(region("eu-west"), (Duration::ZERO, NEXT));
        assert_eq!(refuse(first, &reported, &write(payload)), text("the operator to publish it"));
    }
}
