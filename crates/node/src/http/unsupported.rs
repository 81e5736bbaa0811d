//! Operations of Qdrant's REST API that Meridian lacks, by method and path, with the names of Qdrant's documentation.
//!
//! They answer 501 with that name. Paths of neither API answer 404.

use http::Method;

/// Method, path and name. A segment in braces matches any text.
const OPERATIONS: [(&str, &str, &str); 59] = [
    ("GET", "/aliases", "list aliases"),
    ("GET", "/cluster", "cluster status"),
    ("DELETE", "/cluster/peer/{peer_id}", "remove peer"),
    ("POST", "/cluster/recover", "recover peer"),
    ("GET", "/cluster/telemetry", "cluster telemetry"),
    ("POST", "/collections/aliases", "update aliases"),
    ("GET", "/collections/{name}/aliases", "list aliases of a collection"),
    ("GET", "/collections/{name}/cluster", "cluster info of a collection"),
    ("POST", "/collections/{name}/cluster", "update cluster setup of a collection"),
    ("POST", "/collections/{name}/facet", "facet"),
    ("PUT", "/collections/{name}/index", "create payload index"),
    ("DELETE", "/collections/{name}/index/{field_name}", "delete payload index"),
    ("GET", "/collections/{name}/optimizations", "optimization progress"),
    ("POST", "/collections/{name}/points/batch", "batch update points"),
    ("POST", "/collections/{name}/points/discover", "discover points"),
    ("POST", "/collections/{name}/points/discover/batch", "discover points in batch"),
    ("POST", "/collections/{name}/points/payload", "set payload"),
    ("PUT", "/collections/{name}/points/payload", "overwrite payload"),
    ("POST", "/collections/{name}/points/payload/clear", "clear payload"),
    ("POST", "/collections/{name}/points/payload/delete", "delete payload"),
    ("POST", "/collections/{name}/points/query/groups", "query points in groups"),
    ("POST", "/collections/{name}/points/recommend", "recommend points"),
    ("POST", "/collections/{name}/points/recommend/batch", "recommend points in batch"),
    ("POST", "/collections/{name}/points/recommend/groups", "recommend points in groups"),
    ("POST", "/collections/{name}/points/search/batch", "search points in batch"),
    ("POST", "/collections/{name}/points/search/groups", "search points in groups"),
    ("POST", "/collections/{name}/points/search/matrix/offsets", "search matrix offsets"),
    ("POST", "/collections/{name}/points/search/matrix/pairs", "search matrix pairs"),
    ("PUT", "/collections/{name}/points/vectors", "update vectors"),
    ("POST", "/collections/{name}/points/vectors/delete", "delete vectors"),
    ("GET", "/collections/{name}/shards", "list shard keys"),
    ("PUT", "/collections/{name}/shards", "create shard key"),
    ("POST", "/collections/{name}/shards/delete", "delete shard key"),
    ("GET", "/collections/{name}/shards/{shard_id}/snapshot", "stream shard snapshot"),
    ("GET", "/collections/{name}/shards/{shard_id}/snapshots", "list shard snapshots"),
    ("POST", "/collections/{name}/shards/{shard_id}/snapshots", "create shard snapshot"),
    ("PUT", "/collections/{name}/shards/{shard_id}/snapshots/recover", "recover shard from snapshot"),
    ("POST", "/collections/{name}/shards/{shard_id}/snapshots/upload", "recover shard from uploaded snapshot"),
    ("GET", "/collections/{name}/shards/{shard_id}/snapshots/{snapshot_name}", "download shard snapshot"),
    ("DELETE", "/collections/{name}/shards/{shard_id}/snapshots/{snapshot_name}", "delete shard snapshot"),
    ("GET", "/collections/{name}/snapshots", "list collection snapshots"),
    ("POST", "/collections/{name}/snapshots", "create collection snapshot"),
    ("PUT", "/collections/{name}/snapshots/recover", "recover collection from snapshot"),
    ("POST", "/collections/{name}/snapshots/upload", "recover collection from uploaded snapshot"),
    ("GET", "/collections/{name}/snapshots/{snapshot_name}", "download collection snapshot"),
    ("DELETE", "/collections/{name}/snapshots/{snapshot_name}", "delete collection snapshot"),
    ("PUT", "/collections/{name}/vectors/{vector_name}", "create named vector"),
    ("DELETE", "/collections/{name}/vectors/{vector_name}", "delete named vector"),
    ("GET", "/issues", "list issues"),
    ("DELETE", "/issues", "clear issues"),
    ("GET", "/locks", "get lock options"),
    ("POST", "/locks", "set lock options"),
    ("GET", "/quotas", "get quotas"),
    ("PUT", "/quotas", "set quotas"),
    ("GET", "/snapshots", "list storage snapshots"),
    ("POST", "/snapshots", "create storage snapshot"),
    ("GET", "/snapshots/{snapshot_name}", "download storage snapshot"),
    ("DELETE", "/snapshots/{snapshot_name}", "delete storage snapshot"),
    ("GET", "/telemetry", "telemetry"),
];

/// The unsupported operation of a request, as `name (method path)`.
pub fn operation(method: &Method, path: &str) -> Option<String> {
    let found = OPERATIONS.iter().find(|(of, pattern, _)| *of == method.as_str() && matches(pattern, path));
    found.map(|(method, pattern, name)| format!("{name} ({method} {pattern})"))
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(name), Some(text)) if name.starts_with('{') && !text.is_empty() || name == text => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: Option<&str>) {
        assert_eq!(operation(&method, path).as_deref(), expected, "{method} {path}");
    }

    #[test]
    fn an_operation_is_matched_by_its_whole_path() {
        let of = |text| Some(text);
        check(
            Method::DELETE,
            "/collections/c/index/color",
            of("delete payload index (DELETE /collections/{name}/index/{field_name})"),
        );
        check(
            Method::POST,
            "/collections/c/points/payload/delete",
            of("delete payload (POST /collections/{name}/points/payload/delete)"),
        );
        check(
            Method::PUT,
            "/collections/c/points/payload",
            of("overwrite payload (PUT /collections/{name}/points/payload)"),
        );
        check(Method::GET, "/snapshots/batch", of("download storage snapshot (GET /snapshots/{snapshot_name})"));
        check(Method::GET, "/collections/c/points/payload", None);
        check(Method::POST, "/collections//facet", None);
        check(Method::POST, "/collections/c/facet/", None);
        check(Method::POST, "/collections/c/d/facet", None);
    }

    #[test]
    fn no_operation_is_listed_twice() {
        for (nth, (method, path, _)) in OPERATIONS.iter().enumerate() {
            assert!(!OPERATIONS[..nth].iter().any(|(other, pattern, _)| other == method && pattern == path), "{path}");
        }
    }
}
