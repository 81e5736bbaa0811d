//! The certificates of the peer port: when they are signed, and how a lost authority is replaced while both are trusted.
//!
//! ```text
//!   no authority ─► CreateAuthority ─► TrustBoth (pods trust old and new) ──all trust──► Sign (pods show new) ──all show──► TrustNewOnly (old is gone)
//!                            two thirds of a leaf's life are over ─► Sign, waiting for no pod
//! ```

/// A certificate's life, in days; pods get a new one after two thirds of it.
pub const LEAF_DAYS: u64 = 90;
/// An authority's life, in days.
pub const AUTHORITY_DAYS: u64 = 3_650;
/// How far back a certificate begins, in days: clocks of machines differ.
pub const BACKDATED_DAYS: u64 = 2;

const DAY_S: i64 = 86_400;

/// What stands in the Secrets, and what the pods were seen to do. Times are Unix seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedCertificates {
    /// There is an authority with its key.
    pub authority: bool,
    /// What pods are given; none when it is not there or cannot be read.
    pub leaf: Option<ObservedLeaf>,
    /// Every pod trusts the authority.
    pub all_trust: bool,
    /// Every pod shows a certificate of the authority.
    pub all_show: bool,
}

/// The certificate that pods are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedLeaf {
    /// The authority that stands signed it.
    pub by_authority: bool,
    /// Pods are told to trust the authority that stands.
    pub trusts_authority: bool,
    /// Pods are told to trust others too.
    pub trusts_others: bool,
    /// From when it is valid.
    pub not_before: i64,
    /// Until when it is valid.
    pub not_after: i64,
}

/// What is done about certificates in a turn; at most one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStep {
    /// Nothing.
    Keep,
    /// Make an authority; what pods are given stays.
    CreateAuthority,
    /// Tell pods to trust the authority beside those that they trust.
    TrustBoth,
    /// Sign a new certificate for the pods.
    Sign,
    /// Tell pods to trust the authority only.
    TrustNewOnly,
}

impl ObservedLeaf {
    /// Whether a new one is due: a third of its life or less is left, or it lives longer than ours do.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        let life = self.not_after.saturating_sub(self.not_before);
        let longest = (LEAF_DAYS + BACKDATED_DAYS + 1) as i64 * DAY_S;
        life > longest || now >= self.not_before.saturating_add(life / 3 * 2)
    }
}

impl ObservedCertificates {
    /// The next step.
    #[must_use]
    pub fn next(&self, now: i64) -> CertificateStep {
        use CertificateStep::{CreateAuthority, Keep, Sign, TrustBoth, TrustNewOnly};
        if !self.authority {
            return CreateAuthority;
        }
        match &self.leaf {
            None => Sign,
            Some(leaf) if !leaf.trusts_authority => TrustBoth,
            // An expired one lets nobody in: there is nothing to wait for.
            Some(leaf) if !leaf.by_authority && (self.all_trust || leaf.not_after <= now) => Sign,
            Some(leaf) if !leaf.by_authority => Keep,
            Some(leaf) if leaf.is_due(now) => Sign,
            Some(leaf) if leaf.trusts_others && self.all_show => TrustNewOnly,
            Some(_) => Keep,
        }
    }

    /// Whether the certificates are as they shall be; else what is waited for.
    ///
    /// # Errors
    /// What is not as it shall be.
    pub fn valid(&self, now: i64) -> Result<(), String> {
        match &self.leaf {
            _ if !self.authority => Err("there is no certificate authority; one is made".into()),
            None => Err("the pods have no certificate; one is signed".into()),
            Some(leaf) if leaf.not_after <= now => {
                Err("the certificate of the pods has expired; another is signed".into())
            }
            Some(leaf) if !leaf.trusts_authority => Err("pods are told to trust the new certificate authority".into()),
            Some(leaf) if !leaf.by_authority => {
                Err("waiting until all pods trust the new certificate authority; then its certificate is shown".into())
            }
            Some(leaf) if leaf.trusts_others => {
                Err("waiting until all pods show the certificate of the new authority; then the old one is forgotten"
                    .into())
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CertificateStep::{CreateAuthority, Keep, Sign, TrustBoth, TrustNewOnly};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// A leaf signed at `NOW`.
    fn leaf() -> ObservedLeaf {
        ObservedLeaf {
            by_authority: true,
            trusts_authority: true,
            trusts_others: false,
            not_before: NOW - BACKDATED_DAYS as i64 * DAY_S,
            not_after: NOW + LEAF_DAYS as i64 * DAY_S,
        }
    }

    fn settled() -> ObservedCertificates {
        ObservedCertificates { authority: true, leaf: Some(leaf()), all_trust: true, all_show: true }
    }

    #[test]
    fn a_leaf_is_renewed_at_two_thirds_whatever_the_pods_do() {
        let days = |days: i64| NOW + days * DAY_S;
        assert_eq!(settled().next(NOW), Keep);
        assert_eq!(settled().next(days(59)), Keep);
        assert_eq!(settled().next(days(60)), Sign);
        // A pod that is pending, and a clock 91 days later.
        let pending = ObservedCertificates { all_trust: false, all_show: false, ..settled() };
        assert_eq!(pending.next(days(60)), Sign);
        assert_eq!(pending.next(days(91)), Sign);
        assert!(pending.valid(days(91)).is_err());
    }

    #[test]
    fn a_leaf_that_lives_for_ever_is_replaced_by_one_that_does_not() {
        let old = ObservedLeaf { not_before: 0, not_after: 64_060_588_800, ..leaf() };
        assert_eq!(ObservedCertificates { leaf: Some(old), ..settled() }.next(NOW), Sign);
    }

    #[test]
    fn a_lost_authority_is_replaced_while_both_are_trusted() {
        let lost = ObservedCertificates { authority: false, ..settled() };
        assert_eq!(lost.next(NOW), CreateAuthority);
        let created = ObservedLeaf { by_authority: false, trusts_authority: false, trusts_others: true, ..leaf() };
        let created = ObservedCertificates { leaf: Some(created), all_trust: false, all_show: false, ..settled() };
        assert_eq!(created.next(NOW), TrustBoth);
        let trusting = ObservedLeaf { trusts_authority: true, ..created.leaf.unwrap() };
        let trusting = ObservedCertificates { leaf: Some(trusting), ..created };
        assert_eq!(trusting.next(NOW), Keep, "a pod does not trust it yet");
        assert_eq!(ObservedCertificates { all_trust: true, ..trusting }.next(NOW), Sign);
        let signed = ObservedLeaf { by_authority: true, ..trusting.leaf.unwrap() };
        let signed = ObservedCertificates { leaf: Some(signed), all_trust: true, ..trusting };
        assert_eq!(signed.next(NOW), Keep, "a pod shows the old one still");
        assert!(signed.valid(NOW).is_err());
        assert_eq!(ObservedCertificates { all_show: true, ..signed }.next(NOW), TrustNewOnly);
        assert_eq!((settled().next(NOW), settled().valid(NOW)), (Keep, Ok(())));
    }

    #[test]
    fn a_lost_certificate_is_signed_anew_and_both_lost_are_made_anew() {
        assert_eq!(ObservedCertificates { leaf: None, ..settled() }.next(NOW), Sign);
        assert_eq!(ObservedCertificates::default().next(NOW), CreateAuthority);
        assert_eq!(ObservedCertificates { authority: true, ..ObservedCertificates::default() }.next(NOW), Sign);
    }

    #[test]
    fn an_expired_leaf_of_a_lost_authority_waits_for_nobody() {
        let old = ObservedLeaf { by_authority: false, trusts_others: true, not_after: NOW, ..leaf() };
        let seen = ObservedCertificates { leaf: Some(old), all_trust: false, all_show: false, ..settled() };
        assert_eq!(seen.next(NOW), Sign);
    }
}
