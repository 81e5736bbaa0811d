//! Routes of the mesh: the hosts that a cluster may claim, and the namespaces that see the routes.
//!
//! A route to a host takes over the host's traffic, so a host needs permission. The names of the own Service are always
//! allowed. A public name is allowed while only the own namespace sees the route. All others need an entry of
//! [`Settings::allowed_hosts`](super::Settings).

use std::collections::BTreeSet;
use std::str::FromStr;

use meridian_crd as crd;

use super::text::{self, is_label};
use super::{Refusal, refuse};
use crate::names::CLUSTER_DOMAIN;

/// A host; or `*.` before a DNS name, for all hosts below it; or `*`, for all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(String);

/// Routes of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidIstio {
    /// Hosts that are routed; if empty, no route is rendered.
    pub hosts: Vec<String>,
    /// Gateways; `mesh` stands for the sidecars.
    pub gateways: Vec<String>,
    /// Namespaces that see the routes, sorted; `.` is the own one.
    pub export_to: Vec<String>,
    /// Hosts of the spec that are not routed, each with the reason.
    pub withheld: Vec<(String, &'static str)>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_host(text) {
            Ok(Self(text.into()))
        } else {
            Err(format!("must be a host, `*.` before a host, or `*` (got {text:?})"))
        }
    }
}

impl AllowedHost {
    /// Returns true if it covers `host`, which may be a wildcard itself.
    fn covers(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            // `.example.com`, or empty for `*`.
            Some(domain) => host.len() > domain.len() && host.ends_with(domain),
            None => self.0 == host,
        }
    }
}

fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    text == "*" || (name.len() <= 253 && name.split('.').all(is_label))
}

/// Parses `istio` of the cluster `name` in `namespace`.
pub(super) fn istio(
    istio: &crd::Istio,
    (name, namespace): (&str, &str),
    allowed: &[AllowedHost],
) -> Result<ValidIstio, Refusal> {
    let own = [
        format!("{name}.{namespace}.{CLUSTER_DOMAIN}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}"),
    ];
    let wanted = istio.hosts.clone().unwrap_or_else(|| vec![own[0].clone()]);
    if let Some(bad) = wanted.iter().find(|host| !is_host(host)) {
        return refuse("spec.traffic.istio.hosts", format!("must be DNS names, `*.` before them or `*` (got {bad:?})"));
    }
    let gateways = istio.gateways.clone().unwrap_or_else(|| vec!["mesh".into()]);
    let mut others = BTreeSet::new();
    for gateway in &gateways {
        let (place, name) = gateway.split_once('/').map_or((None, gateway.as_str()), |(ns, name)| (Some(ns), name));
        text::dns_name("spec.traffic.istio.gateways", name)?;
        if let Some(place) = place {
            others.insert(text::label("spec.traffic.istio.gateways", place, super::NAMESPACE_BYTES)?);
        }
    }
    for client in istio.client_namespaces.iter().flatten() {
        others.insert(text::label("spec.traffic.istio.clientNamespaces", client, super::NAMESPACE_BYTES)?);
    }
    others.remove(namespace);
    let why = |host: &str| match () {
        () if own.iter().any(|own| own == host) || allowed.iter().any(|entry| entry.covers(host)) => None,
        () if host.starts_with('*') => Some("it is a wildcard"),
        () if !host.contains('.') => Some("it is a single label"),
        () if is_service_name(host) => Some("it may be the name of another Service"),
        () if !others.is_empty() => Some("a gateway or clientNamespaces is of another namespace"),
        () => None,
    };
    let withheld: Vec<_> = wanted.iter().filter_map(|host| Some((host.clone(), why(host)?))).collect();
    let hosts = wanted.into_iter().filter(|host| withheld.iter().all(|(withheld, _)| withheld != host)).collect();
    let export_to = std::iter::once(".".to_owned()).chain(others).collect();
    Ok(ValidIstio { hosts, gateways, export_to, withheld })
}

/// Returns true if sidecars may know `host` as a Service, or as an address: `<service>.<namespace>` and longer names.
fn is_service_name(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let is_address = labels.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    labels.len() == 2 || labels[1..].contains(&"svc") || host.ends_with(".local") || is_address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(hosts: &[&str], gateways: &[&str], clients: &[&str], allowed: &[&str]) -> ValidIstio {
        let list = |items: &[&str]| {
            (!items.is_empty()).then(|| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
        };
        let spec = crd::Istio { hosts: list(hosts), gateways: list(gateways), client_namespaces: list(clients) };
        let allowed: Vec<AllowedHost> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        istio(&spec, ("vector-search", "us-east"), &allowed).unwrap()
    }

    /// Checks that the host may be routed.
    fn routed(host: &str, gateways: &[&str], clients: &[&str], allowed: &[&str]) -> bool {
        let valid = parse(&[host], gateways, clients, allowed);
        assert_eq!(valid.hosts.is_empty(), !valid.withheld.is_empty());
        !valid.hosts.is_empty()
    }

    #[test]
    fn the_own_service_is_always_routed() {
        let own = ["vector-search.us-east.svc.cluster.local", "vector-search.us-east.svc", "vector-search.us-east"];
        for host in own {
            assert!(routed(host, &[], &["shop"], &[]), "{host}");
        }
        assert_eq!(parse(&[], &[], &[], &[]).hosts, [own[0]]);
    }

    #[test]
    fn hosts_of_others_need_an_entry_even_inside_the_namespace() {
        for host in [
            "payments.prod.svc.cluster.local",
            "payments.prod.svc",
            "payments.prod",
            "payments",
            "*.googleapis.com",
            "*",
            "*.svc.cluster.local",
            "vector-search.eu-west.svc.cluster.local",
            "other.us-east.svc.cluster.local",
            "payments.prod.svc.corp.example.com",
            "a.payments.prod.svc.cluster.local",
            "printer.local",
            "10.0.0.1",
        ] {
            assert!(!routed(host, &["mesh"], &[], &[]), "{host}");
            assert!(!routed(host, &["mesh"], &[], &["search.example.com"]), "{host}");
            assert!(routed(host, &["mesh"], &["shop"], &[host]), "{host}");
        }
    }

    #[test]
    fn a_public_name_needs_an_entry_once_others_see_the_route() {
        let host = "search.example.com";
        assert!(routed(host, &["mesh"], &[], &[]));
        assert!(routed(host, &["public", "us-east/public"], &["us-east"], &[]));
        for (gateway, clients) in [("istio-ingress/public", &[][..]), ("mesh", &["shop"][..])] {
            assert!(!routed(host, &[gateway], clients, &[]), "{gateway} {clients:?}");
            for entry in [host, "*.example.com", "*"] {
                assert!(routed(host, &[gateway], clients, &[entry]), "{gateway} {clients:?} {entry}");
            }
            for entry in ["example.com", "*.search.example.com", "earch.example.com", "*.xample.com"] {
                assert!(!routed(host, &[gateway], clients, &[entry]), "{gateway} {clients:?} {entry}");
            }
        }
    }

    #[test]
    fn one_host_that_is_withheld_takes_no_other_with_it() {
        let valid = parse(&["search.example.com", "*"], &[], &[], &[]);
        assert_eq!(valid.hosts, ["search.example.com"]);
        assert_eq!(valid.withheld, [("*".to_owned(), "it is a wildcard")]);
    }

    #[test]
    fn routes_are_seen_by_the_own_namespace_the_gateways_and_the_clients() {
        let valid = parse(&[], &["istio-ingress/public", "mesh", "us-east/own"], &["shop", "istio-ingress"], &[]);
        assert_eq!(valid.export_to, [".", "istio-ingress", "shop"]);
        assert_eq!(parse(&[], &[], &[], &[]).export_to, ["."]);
    }

    #[test]
    fn malformed_entries_are_refused() {
        for bad in ["", "a b", "*a.example.com", "A.example.com", "a..b", "*.*.com"] {
            assert!(bad.parse::<AllowedHost>().is_err(), "{bad:?}");
        }
    }
}
