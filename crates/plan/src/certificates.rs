//! Certificates of the peer port: when they are signed, and how a lost authority is replaced while pods trust both.
//!
//! ```text
//!   no authority ─► CreateAuthority ─► TrustBoth ──all pods trust the new one──► Sign ──all pods show it──► TrustNewOnly
//!   two thirds of a certificate's lifetime are over ─► Sign, without waiting for pods
//! ```

/// Lifetime of a certificate, in days; pods get a new one after two thirds of it.
pub const LEAF_DAYS: u64 = 90;
/// Lifetime of an authority, in days.
pub const AUTHORITY_DAYS: u64 = 3_650;
/// Days by which the start of a certificate is set back, since clocks of machines differ.
pub const BACKDATED_DAYS: u64 = 2;

const DAY_S: i64 = 86_400;

/// Contents of the Secrets with certificates, and the certificates that pods use. Times are Unix seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedCertificates {
    /// The Secret has an authority with its key.
    pub authority: bool,
    /// The certificate that pods mount; `None` if absent or unreadable.
    pub leaf: Option<ObservedLeaf>,
    /// Every pod trusts the authority.
    pub all_trust: bool,
    /// Every pod presents a certificate of the authority.
    pub all_show: bool,
}

/// The certificate that pods mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedLeaf {
    /// The current authority signed it.
    pub by_authority: bool,
    /// The mounted trust bundle contains the current authority.
    pub trusts_authority: bool,
    /// The mounted trust bundle contains other authorities.
    pub trusts_others: bool,
    /// Start of validity.
    pub not_before: i64,
    /// End of validity.
    pub not_after: i64,
}

/// The change to certificates in a turn; at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStep {
    /// No change.
    Keep,
    /// Create an authority; the mounted certificates stay.
    CreateAuthority,
    /// Add the authority to the trust bundle of the pods.
    TrustBoth,
    /// Sign a new certificate for the pods.
    Sign,
    /// Reduce the trust bundle of the pods to the authority.
    TrustNewOnly,
}

impl ObservedLeaf {
    /// Returns true if a third of the lifetime or less is left, or if the lifetime is longer than that of our
    /// certificates. `now`: Unix seconds.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        let life = self.not_after.saturating_sub(self.not_before);
        let longest = (LEAF_DAYS + BACKDATED_DAYS + 1) as i64 * DAY_S;
        life > longest || now >= self.not_before.saturating_add(life / 3 * 2)
    }
}

impl ObservedCertificates {
    /// The next step at `now`, in Unix seconds.
    #[must_use]
    pub fn next(&self, now: i64) -> CertificateStep {
        use CertificateStep::{CreateAuthority, Keep, Sign, TrustBoth, TrustNewOnly};
        if !self.authority {
            return CreateAuthority;
        }
        match &self.leaf {
            None => Sign,
            Some(leaf) if !leaf.trusts_authority => TrustBoth,
            // No peer accepts an expired certificate: waiting would not help.
            Some(leaf) if !leaf.by_authority && (self.all_trust || leaf.not_after <= now) => Sign,
            Some(leaf) if !leaf.by_authority => Keep,
            Some(leaf) if leaf.is_due(now) => Sign,
            Some(leaf) if leaf.trusts_others && self.all_show => TrustNewOnly,
            Some(_) => Keep,
        }
    }

    /// Checks that the certificates are final at `now`, in Unix seconds.
    ///
    /// # Errors
    /// The step that is missing or awaited, for a condition's message.
    pub fn valid(&self, now: i64) -> Result<(), String> {
        match &self.leaf {
            _ if !self.authority => Err("there is no certificate authority; one is being created".into()),
            None => Err("the pods have no certificate; one is being signed".into()),
            Some(leaf) if leaf.not_after <= now => {
                Err("the certificate of the pods has expired; another is being signed".into())
            }
            Some(leaf) if !leaf.trusts_authority => {
                Err("the new certificate authority is being added to the trust bundle of the pods".into())
            }
            Some(leaf) if !leaf.by_authority => {
                Err("waiting for all pods to trust the new certificate authority; then they get a certificate of it"
                    .into())
            }
            Some(leaf) if leaf.trusts_others => {
                Err("waiting for all pods to present a certificate of the new authority; then the old one is removed"
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
    fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_regardless_of_pods() {
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
    fn a_certificate_without_expiry_is_replaced() {
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
        assert_eq!(trusting.next(NOW), Keep, "a pod does not trust the authority yet");
        assert_eq!(ObservedCertificates { all_trust: true, ..trusting }.next(NOW), Sign);
        let signed = ObservedLeaf { by_authority: true, ..trusting.leaf.unwrap() };
        let signed = ObservedCertificates { leaf: Some(signed), all_trust: true, ..trusting };
        assert_eq!(signed.next(NOW), Keep, "a pod still presents the old certificate");
        assert!(signed.valid(NOW).is_err());
        assert_eq!(ObservedCertificates { all_show: true, ..signed }.next(NOW), TrustNewOnly);
        assert_eq!((settled().next(NOW), settled().valid(NOW)), (Keep, Ok(())));
    }

    #[test]
    fn a_lost_certificate_is_signed_again_and_a_lost_authority_is_created_again() {
        assert_eq!(ObservedCertificates { leaf: None, ..settled() }.next(NOW), Sign);
        assert_eq!(ObservedCertificates::default().next(NOW), CreateAuthority);
        assert_eq!(ObservedCertificates { authority: true, ..ObservedCertificates::default() }.next(NOW), Sign);
    }

    #[test]
    fn an_expired_certificate_of_a_lost_authority_is_replaced_without_waiting() {
        let old = ObservedLeaf { by_authority: false, trusts_others: true, not_after: NOW, ..leaf() };
        let seen = ObservedCertificates { leaf: Some(old), all_trust: false, all_show: false, ..settled() };
        assert_eq!(seen.next(NOW), Sign);
    }
}
