//! Files that are swapped under a node, on a clock of the test.

use std::path::Path;

use meridian_config::NodeConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

const GROUP_KEY: &str = "a-group-key-of-at-least-32-bytes-";

/// An authority that signs for one node, PEM: itself, certificate, key.
fn authority() -> [String; 3] {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(params, ca_key);
    let cert = CertificateParams::new(vec!["node".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    [ca, cert, key.serialize_pem()]
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    files.iter().for_each(|(file, text)| std::fs::write(folder.join(file), text).unwrap());
}

/// A folder with all files, and the configuration of a node of a group that has its data there too.
pub(crate) fn config() -> (tempfile::TempDir, NodeConfig) {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = authority();
    let files = [("ca", &*ca), ("cert", &cert), ("key", &key), ("api-key", "key-number-1"), ("group-key", GROUP_KEY)];
    write(folder.path(), &files);
    let at = |file: &str| folder.path().join(file).display().to_string();
    let text = format!(
        "format: 1\ncluster: c\ncluster_id: 5f0b7a52-6c1f-4d53-9d0a-0d7f4a9c1e11\nregion: us\nshard: 1\nshards: 1\n\
         data_dir: {}\npeer_tls: {{ca_file: {}, cert_file: {}, key_file: {}}}\n\
         auth: {{api_key_file: {}}}\nreplication_group: {{name: g, primary_region: us, key_file: {}, derive_api_key: true, \
         regions: [{{name: us, endpoint: 'a:1'}}]}}\n",
        at("data"),
        at("ca"),
        at("cert"),
        at("key"),
        at("api-key"),
        at("group-key"),
    );
    let config = NodeConfig::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (folder, config)
}

/// The same folder, and what a node has read from it.
fn node() -> (tempfile::TempDir, Credentials) {
    let (folder, config) = config();
    let credentials = Credentials::load(&config).unwrap();
    (folder, credentials)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Which of the keys let a client in.
fn let_in<'a>(credentials: &Credentials, keys: &[&'a str]) -> Vec<&'a str> {
    let held = credentials.api_keys().unwrap();
    keys.iter().copied().filter(|key| held.contains(key.as_bytes())).collect()
}

#[test]
fn a_changed_key_file_counts_without_a_restart_and_the_old_key_for_ten_minutes_more() {
    let (folder, mut node) = node();
    let keys = ["key-number-1", "key-number-2"];
    assert_eq!(let_in(&node, &keys), ["key-number-1"]);
    write(folder.path(), &[("api-key", "key-number-2\n")]);
    node.reload(at(5));
    assert_eq!(let_in(&node, &keys), keys);
    node.reload(at(604));
    assert_eq!(let_in(&node, &keys), keys);
    node.reload(at(605));
    assert_eq!(let_in(&node, &keys), ["key-number-2"]);
}

#[test]
fn the_previous_key_counts_as_long_as_its_file_stands() {
    let (folder, mut node) = node();
    write(folder.path(), &[("api-key", "key-number-2"), ("api-key-previous", "key-number-1")]);
    node.reload(at(5));
    node.reload(at(100_000));
    assert_eq!(let_in(&node, &["key-number-1", "key-number-2"]), ["key-number-1", "key-number-2"]);
}

#[test]
fn all_regions_of_a_group_accept_the_key_that_is_derived_from_the_group_key() {
    let (folder, mut node) = node();
    let derive = |text: &str| GroupKey::new(text.as_bytes()).unwrap_or_else(|_| panic!("short")).api_key("g");
    let next = "another-group-key-of-32-bytes----";
    let (current, derived_next) = (derive(GROUP_KEY), derive(next));
    assert_eq!(let_in(&node, &[&current, &derived_next]), [current.as_str()]);
    write(folder.path(), &[("group-key-next", next)]);
    node.reload(at(5));
    assert_eq!(let_in(&node, &[&current, &derived_next]), [current.as_str(), derived_next.as_str()]);
}

#[test]
fn the_digest_is_that_of_what_the_files_say_and_stays_while_they_cannot_be_used() {
    let (folder, mut node) = node();
    let logged = node.digest();
    let expect = |api_keys: &[&str], group_keys: &[&str]| {
        let group_keys: Vec<GroupKey> =
            group_keys.iter().map(|text| GroupKey::new(text.as_bytes()).unwrap_or_else(|_| panic!("short"))).collect();
        let derived = group_keys.iter().map(|key| key.api_key("g"));
        let api_keys = api_keys.iter().map(|key| (*key).to_owned()).chain(derived).collect::<Vec<_>>().join("\n");
        keys_digest(node.cluster, &read_api_keys(&api_keys).unwrap(), &group_keys)
    };
    let (first, next) = (expect(&["key-number-1"], &[GROUP_KEY]), "another-group-key-of-32-bytes----");
    let both = expect(&["key-number-1", "key-number-2"], &[GROUP_KEY, next]);
    assert_eq!(*logged.borrow(), first);
    write(
        folder.path(),
        &[("api-key", "key-number-2"), ("api-key-previous", "key-number-1"), ("group-key-next", next)],
    );
    node.reload(at(5));
    assert_eq!(*logged.borrow(), both);
    std::fs::remove_file(folder.path().join("group-key")).unwrap();
    write(folder.path(), &[("api-key", "short")]);
    node.reload(at(10));
    assert_eq!(*logged.borrow(), both, "what is in force is told, not what a file says that cannot be used");
    std::fs::remove_file(folder.path().join("api-key-previous")).unwrap();
    std::fs::remove_file(folder.path().join("group-key-next")).unwrap();
    write(folder.path(), &[("api-key", "key-number-1"), ("group-key", GROUP_KEY)]);
    node.reload(at(15));
    assert_eq!(*logged.borrow(), first, "keys that are accepted for a while more are no difference");
}

#[test]
fn a_group_key_is_rotated_without_a_moment_in_which_nobody_is_accepted() {
    let (folder, mut node) = node();
    let next = "another-group-key-of-32-bytes----";
    write(folder.path(), &[("group-key-next", next)]);
    let keys = node.reload(at(5)).group_keys.unwrap();
    assert_eq!(keys.accepted.len(), 2);
    let old = keys.dial.clone();
    std::fs::remove_file(folder.path().join("group-key-next")).unwrap();
    write(folder.path(), &[("group-key", next), ("group-key-previous", GROUP_KEY)]);
    let keys = node.reload(at(10)).group_keys.unwrap();
    assert!(keys.dial != old && keys.accepted.contains(&old));
    std::fs::remove_file(folder.path().join("group-key-previous")).unwrap();
    assert!(node.reload(at(20)).group_keys.unwrap().accepted.contains(&old), "others may still dial with it");
    let change = node.reload(at(20 + 600));
    assert!(!change.group_keys.unwrap().accepted.contains(&old));
    assert!(change.ended, "connections that rest on it end");
}

#[test]
fn a_new_authority_is_trusted_at_once_and_its_certificate_shown_later() {
    let (folder, mut node) = node();
    let [ca, cert, key] = authority();
    let old = std::fs::read_to_string(folder.path().join("ca")).unwrap();
    write(folder.path(), &[("ca", &format!("{old}{ca}")), ("cert", &cert), ("key", &key)]);
    assert!(node.reload(at(5)).tls.is_some());
    assert_eq!(node.roots.current().len(), 2);
    assert!(node.reload(at(100)).tls.is_none(), "nothing changed");
    let before = node.shown.shown(at(184)).0;
    assert!(node.reload(at(185)).tls.is_some(), "the new certificate is shown after three minutes");
    assert!(before != node.shown.shown(at(186)).0);
    write(folder.path(), &[("ca", &ca)]);
    assert!(!node.reload(at(200)).ended, "the former authority is trusted for a while");
    let change = node.reload(at(800));
    assert!(change.ended && change.tls.is_some());
}

#[test]
fn half_a_secret_changes_nothing_of_what_it_holds() {
    let (folder, mut node) = node();
    let [_, cert, _] = authority();
    write(folder.path(), &[("cert", &cert), ("api-key", "key-number-2")]);
    node.reload(at(5));
    assert!(node.reload(at(1_000)).tls.is_none());
    assert_eq!(let_in(&node, &["key-number-1", "key-number-2"]), ["key-number-2"], "one Secret holds up no other");
    for broken in ["", "short", "with a space in it"] {
        let (folder, mut node) = self::node();
        write(folder.path(), &[("api-key", broken)]);
        node.reload(at(5));
        assert_eq!(let_in(&node, &["key-number-1"]), ["key-number-1"], "{broken:?}");
    }
    std::fs::remove_file(folder.path().join("ca")).unwrap();
    assert!(node.reload(at(10)).tls.is_none());
}
