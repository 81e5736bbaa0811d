//! Regular expressions that several fields share. The API server interprets them as RE2.

/// From 1 to 65535.
macro_rules! port {
    () => {
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}
macro_rules! label {
    () => {
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    };
}
macro_rules! dns_name {
    () => {
        concat!(label!(), "(\\.", label!(), ")*")
    };
}

/// `host:port`.
pub(crate) const ENDPOINT: &str = concat!("^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:", port!(), "$");
/// One or several `host:port`, separated by commas.
pub(crate) const BROKERS: &str = concat!("^[A-Za-z0-9.-]+:", port!(), "(,[A-Za-z0-9.-]+:", port!(), ")*$");
/// A lower-case DNS label.
pub(crate) const LABEL: &str = concat!("^", label!(), "$");
/// A lower-case DNS name.
pub(crate) const DNS_NAME: &str = concat!("^", dns_name!(), "$");
/// A host of a mesh route: a DNS name whose first label may be `*`, or `*` alone.
pub(crate) const HOST: &str = concat!("^(\\*|(\\*\\.)?", dns_name!(), ")$");
/// A gateway: `mesh`, `name` or `namespace/name`.
pub(crate) const GATEWAY: &str = concat!("^(", label!(), "/)?", dns_name!(), "$");
/// A reference to a container image: registry and port, path, tag, digest.
pub(crate) const IMAGE: &str = concat!(
    "^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?(:",
    port!(),
    ")?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][-A-Za-z0-9._]{0,127})?(@sha256:[0-9a-f]{64})?$"
);
/// Bytes as a Kubernetes quantity.
pub(crate) const BYTES: &str = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$";
