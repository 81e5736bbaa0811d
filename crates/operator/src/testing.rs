//! An API server in memory, behind a `kube::Client`, with enough of server-side apply, field ownership and
//! preconditions to detect writes without them. Lists are one value, except `containers`, which are keyed by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

/// Plural, namespace, name.
type Key = (String, String, String);

/// Writes that are refused, and the message.
pub struct Refusal {
    pub plural: &'static str,
    /// First part of the content type of patches (`apply`, `merge`); empty for every write.
    pub patch_type: &'static str,
    pub code: u16,
    pub message: &'static str,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    clock: u64,
    writes: Vec<String>,
    refusals: Vec<Refusal>,
    races: usize,
}

/// The API server.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

struct Fault(u16, &'static str, String);

type Answer = Result<Value, Fault>;

impl ApiServer {
    /// A client of it.
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.serve(request).await }
        });
        Client::new(service, "default")
    }

    /// Creates an object with this metadata, as `kubectl` does for a user.
    pub fn seed(&self, plural: &str, mut object: Value) {
        let mut state = self.0.lock().unwrap();
        let meta = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (plural.to_owned(), text(&meta["namespace"]), text(&meta["name"]));
        state.clock += 1;
        if meta["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", state.clock).into();
        }
        if meta_of(&object)["managedFields"].is_null() {
            object["metadata"]["managedFields"] = json!([entry("kubectl", "Update", fields_of(&object))]);
        }
        object["metadata"]["resourceVersion"] = state.clock.to_string().into();
        state.objects.insert(key, object);
    }

    /// An object, or null.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap().objects.get(&key).cloned().unwrap_or_default()
    }

    /// Changes every object.
    pub fn change_all(&self, change: impl Fn(&str, &mut Value)) {
        let mut state = self.0.lock().unwrap();
        state.objects.iter_mut().for_each(|((plural, ..), object)| change(plural, object));
    }

    pub fn names(&self, plural: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.objects.keys().filter(|key| key.0 == plural).map(|key| key.2.clone()).collect()
    }

    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.0.lock().unwrap().objects.remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// Writes since the last call in the form `POST services/a`, without those of events and statuses.
    pub fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    /// Refuses these writes from now on.
    pub fn refuse(&self, refusals: Vec<Refusal>) {
        self.0.lock().unwrap().refusals = refusals;
    }

    /// The next `times` writes to existing objects conflict with a concurrent write.
    pub fn race(&self, times: usize) {
        self.0.lock().unwrap().races = times;
    }

    async fn serve(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Full<axum::body::Bytes>>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let patch_type =
            parts.headers.get("content-type").and_then(|patch_type| patch_type.to_str().ok()).unwrap_or_default();
        let patch_type = patch_type.trim_start_matches("application/").split('-').next().unwrap_or_default();
        let answer =
            self.answer(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), patch_type, body);
        let (code, value) = match answer {
            Ok(value) => (200, value),
            Err(Fault(code, reason, message)) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": code});
                (code, status)
            }
        };
        let mut response = Response::new(Full::from(value.to_string()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        Ok(response)
    }

    fn answer(&self, method: &Method, path: &str, query: &str, patch_type: &str, body: Value) -> Answer {
        let mut state = self.0.lock().unwrap();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let Some(at) = parts.iter().position(|part| *part == "namespaces") else {
            let kinds = ["VirtualService", "DestinationRule"].map(|kind| {
                json!({"name": kind.to_lowercase(), "singularName": "", "namespaced": true, "kind": kind, "verbs": []})
            });
            let list = json!({"kind": "APIResourceList", "groupVersion": parts[1..].join("/"), "resources": kinds});
            return if path.contains("istio") { Ok(list) } else { Err(not_found(path)) };
        };
        let version = if parts[0] == "api" { parts[1].to_owned() } else { parts[1..at].join("/") };
        let [namespace, plural] = [parts[at + 1], parts[at + 2]].map(ToOwned::to_owned);
        let name = parts.get(at + 3).copied();
        if plural == "events" {
            state.clock += 1;
            let key = (plural, namespace, format!("event-{:04}", state.clock));
            state.objects.insert(key, body.clone());
            return Ok(body);
        }
        if *method == Method::GET {
            return match name {
                Some(name) => {
                    state.objects.get(&(plural, namespace, name.into())).cloned().ok_or_else(|| not_found(name))
                }
                None => Ok(state.list(&version, &plural, &namespace, query)),
            };
        }
        let name = name.map(ToOwned::to_owned).or_else(|| Some(body["metadata"]["name"].as_str()?.into())).unwrap();
        let key = (plural, namespace, name);
        if parts.get(at + 4) == Some(&"status") {
            return state.replace_status(&key, &body);
        }
        let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager=")).unwrap_or("unknown");
        state.write(method, &key, manager, patch_type, body, &version)
    }
}

fn not_found(what: &str) -> Fault {
    Fault(404, "NotFound", format!("{what} not found"))
}

fn conflict(message: &str) -> Fault {
    Fault(409, "Conflict", message.into())
}

impl State {
    fn list(&self, version: &str, plural: &str, namespace: &str, query: &str) -> Value {
        let label = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
        let label = label.map(|label| label.replace("%2F", "/").replace("%3D", "="));
        let chosen = |object: &&Value| {
            label
                .as_ref()
                .and_then(|label| label.split_once('='))
                .is_none_or(|(key, value)| meta_of(object)["labels"][key] == value)
        };
        let here = self.objects.iter().filter(|(key, _)| key.0 == plural && key.1 == namespace);
        let items: Vec<&Value> = here.map(|(_, object)| object).filter(chosen).collect();
        json!({"kind": "List", "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items})
    }

    fn replace_status(&mut self, key: &Key, body: &Value) -> Answer {
        self.clock += 1;
        let clock = self.clock;
        let object = self.objects.get_mut(key).ok_or_else(|| not_found(&key.2))?;
        if object["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
            return Err(conflict("the object has been modified"));
        }
        object["status"] = body["status"].clone();
        object["metadata"]["resourceVersion"] = clock.to_string().into();
        Ok(object.clone())
    }

    fn write(
        &mut self,
        method: &Method,
        key: &Key,
        manager: &str,
        patch_type: &str,
        body: Value,
        version: &str,
    ) -> Answer {
        let patch_type = if *method == Method::PATCH { patch_type } else { "" };
        self.writes.push(format!(
            "{method} {patch_type}{}{}/{}",
            if patch_type.is_empty() { "" } else { " " },
            key.0,
            key.2
        ));
        let refusal = self.refusals.iter().find(|refusal| {
            *method != Method::DELETE
                && refusal.plural == key.0
                && (refusal.patch_type.is_empty() || refusal.patch_type == patch_type)
        });
        if let Some(refusal) = refusal {
            return Err(Fault(refusal.code, "Invalid", refusal.message.into()));
        }
        self.clock += 1;
        let clock = self.clock;
        if *method == Method::POST {
            return self.create(key, manager, body, version);
        }
        let preconditions =
            if *method == Method::DELETE { body["preconditions"].clone() } else { meta_of(&body).clone() };
        let racing = self.races > 0;
        self.races = self.races.saturating_sub(1);
        let Some(live) = self.objects.get_mut(key) else {
            let guarded = patch_type == "apply" && !preconditions["uid"].is_null();
            return Err(if guarded { conflict("uid in precondition, object is gone") } else { not_found(&key.2) });
        };
        if racing {
            live["metadata"]["resourceVersion"] = clock.to_string().into();
        }
        for field in ["uid", "resourceVersion"] {
            if !preconditions[field].is_null() && preconditions[field] != live["metadata"][field] {
                return Err(conflict("the object has been modified"));
            }
        }
        if *method == Method::DELETE {
            return Ok(self.objects.remove(key).unwrap_or_default());
        }
        let before = live.clone();
        if patch_type == "apply" {
            apply(live, manager, &body)
        } else {
            update(live, manager, &body)
        }
        if *live != before {
            live["metadata"]["resourceVersion"] = format!("{clock}x").into();
        }
        Ok(live.clone())
    }

    fn create(&mut self, key: &Key, manager: &str, mut body: Value, version: &str) -> Answer {
        if self.objects.contains_key(key) {
            return Err(Fault(409, "AlreadyExists", format!("{} already exists", key.2)));
        }
        assert_eq!(body["apiVersion"], version);
        body["metadata"]["managedFields"] = json!([entry(manager, "Update", fields_of(&body))]);
        body["metadata"]["uid"] = format!("uid-{}", self.clock).into();
        body["metadata"]["resourceVersion"] = self.clock.to_string().into();
        self.objects.insert(key.clone(), body.clone());
        Ok(body)
    }
}

fn meta_of(object: &Value) -> &Value {
    &object["metadata"]
}

fn entry(manager: &str, operation: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
}

/// Keys of metadata without an owner.
const UNOWNED: [&str; 7] =
    ["name", "namespace", "uid", "resourceVersion", "managedFields", "generation", "creationTimestamp"];

/// Every field of `object`, as managed fields.
fn fields_of(object: &Value) -> Value {
    let mut object = object.clone();
    for key in ["apiVersion", "kind", "status"] {
        object.as_object_mut().unwrap().remove(key);
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|key, _| !UNOWNED.contains(&key.as_str()));
    }
    fields(&object)
}

fn fields(value: &Value) -> Value {
    let Value::Object(map) = value else { return json!({}) };
    let named = |(key, value): (&String, &Value)| {
        let inner = match (key.as_str(), value) {
            ("selector", _) => json!({}), // one value
            ("containers", Value::Array(items)) => {
                let by_name = |item: &Value| (format!("k:{}", json!({"name": item["name"]})), fields(item));
                items.iter().map(by_name).collect::<Map<_, _>>().into()
            }
            _ => fields(value),
        };
        (format!("f:{key}"), inner)
    };
    map.iter().map(named).collect::<Map<_, _>>().into()
}

/// Returns true if `fields` contains `path`.
fn owns(fields: &Value, path: &[String]) -> bool {
    path.iter().try_fold(fields, |fields, step| fields.get(step)).is_some()
}

fn leaves(fields: &Value, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match fields.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, inner) in map {
                path.push(key.clone());
                leaves(inner, path, into);
                path.pop();
            }
        }
        _ => into.push(path.clone()),
    }
}

fn remove(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    let inner = match step.strip_prefix("f:") {
        Some(key) if rest.is_empty() => {
            value.as_object_mut().map(|map| map.remove(key));
            return;
        }
        Some(key) => value.get_mut(key),
        None => {
            let key: Value = serde_json::from_str(step.trim_start_matches("k:")).unwrap();
            value.as_array_mut().and_then(|items| items.iter_mut().find(|item| item["name"] == key["name"]))
        }
    };
    if let Some(inner) = inner {
        remove(inner, rest);
    }
}

/// Server-side apply with force.
fn apply(live: &mut Value, manager: &str, body: &Value) {
    let wanted = fields_of(body);
    let mut entries = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let at = entries.iter().position(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    let former = at.map(|at| entries.remove(at)["fieldsV1"].clone()).unwrap_or_else(|| json!({}));
    let mut gone = Vec::new();
    leaves(&former, &mut Vec::new(), &mut gone);
    gone.retain(|path| !owns(&wanted, path) && !entries.iter().any(|entry| owns(&entry["fieldsV1"], path)));
    gone.iter().for_each(|path| remove(live, path));
    let mut body = body.clone();
    for key in UNOWNED {
        body["metadata"].as_object_mut().map(|meta| meta.remove(key));
    }
    merge(live, &body);
    entries.push(entry(manager, "Apply", wanted));
    live["metadata"]["managedFields"] = entries.into();
}

/// A merge patch.
fn update(live: &mut Value, manager: &str, body: &Value) {
    if let Some(fields) = body["metadata"].get("managedFields") {
        live["metadata"]["managedFields"] = fields.clone();
    }
    let mut body = body.clone();
    for key in UNOWNED {
        body["metadata"].as_object_mut().map(|meta| meta.remove(key));
    }
    let before = live.clone();
    merge(live, &body);
    if *live != before {
        let entries = live["metadata"]["managedFields"].as_array_mut().unwrap();
        entries.push(entry(manager, "Update", fields_of(&body)));
    }
}

fn merge(live: &mut Value, body: &Value) {
    let (Value::Object(live), Value::Object(body)) = (&mut *live, body) else {
        *live = body.clone();
        return;
    };
    for (key, value) in body {
        match (key.as_str(), live.get_mut(key), value) {
            (_, _, Value::Null) => {}
            ("containers", Some(Value::Array(items)), Value::Array(wanted)) => {
                for item in wanted {
                    match items.iter_mut().find(|live| live["name"] == item["name"]) {
                        Some(live) => merge(live, item),
                        None => items.push(item.clone()),
                    }
                }
            }
            ("selector", ..) | (_, None, _) => {
                live.insert(key.clone(), value.clone());
            }
            (_, Some(inner), value) => merge(inner, value),
        }
    }
}
