"""An idle operator writes nothing; drift is reverted; invalid specs are refused; other namespaces are untouched."""

import base64
import time

import pytest

import kube
from conftest import EU, US
from kube import CLUSTER, ROOT, CommandFailed, audit_events, condition, kubectl, wait_until

BAD = [
    ("an even number of replicas", {"replicasPerShard": 4}, "replicasPerShard must be 1, 3 or 5"),
    ("another region", {"region": "mars"}, "region cannot be changed"),
    ("other shards", {"shards": 3}, "shards cannot be changed"),
    ("another volume", {"storage": {"size": "20Gi"}}, "storage cannot be changed"),
    ("another primary", {"replicationGroup": {"primary": {"region": "eu-west"}}}, "primary cannot be changed"),
    ("a primary that is no region", {"replicationGroup": {"primary": {"region": "mars"}}}, "primary.region must be one of regions"),
    ("many writers", {"replicationGroup": {"writeMode": "MultiWriter"}}, "MultiWriter is not supported yet"),
    ("no group", {"replicationGroup": None}, "replicationGroup cannot be removed"),
    ("a group without a key", {"replicationGroup": {"secretRef": None}}, "needs secretRef"),
    ("a narrow beam", {"collectionDefaults": {"hnswConfig": {"m": 32, "efConstruct": 16}}}, "hnswConfig.efConstruct must be at least m"),
    ("two last words", {"freshness": {"onStale": ["Serve", "Wait"]}}, "nothing can follow Serve or Fail"),
    ("a key for nobody", {"auth": {"mode": "Disabled", "secretRef": {"name": "x"}}}, "auth.secretRef has no meaning"),
]


@pytest.mark.parametrize(("name", "change", "sentence"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_spec_is_refused_with_our_sentence(name, change, sentence):
    with pytest.raises(CommandFailed) as refused:
        US.patch(**change)
    assert sentence in str(refused.value)


def test_a_link_pauses_and_goes_on_without_a_restart():
    pods = lambda: kubectl("-n", EU.name, "get", "pods", "-l", f"meridiandb.io/cluster={CLUSTER}", "-o", "jsonpath={.items[*].metadata.uid}")
    ready = lambda: condition(kube.get("replicationlink", "from-us-east", EU.name), "Ready")
    before = pods()
    assert before
    for state, reason in (("Paused", "Paused"), ("Running", "Following")):
        kube.patch("replicationlink", "from-us-east", EU.name, {"spec": {"state": state}})
        wait_until(lambda: ready().get("reason") == reason, 60, lambda: f"the link is {state}: {ready()}")  # noqa: B023
        EU.wait_ready(60)
        assert pods() == before


def ours(since, verbs=("create", "update", "patch", "delete")):
    """What the operators did since then."""
    for event in audit_events(verbs):
        # Who is refused before the server knows them has no name; what has no object asks which APIs are served.
        if event["user"].get("username", "").endswith(":meridian-operator") and event.get("objectRef", {}).get("namespace"):
            if event["requestReceivedTimestamp"] >= since:
                yield event


def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "."


def what(event):
    target = event["objectRef"]
    return f"{event['verb']} {target.get('namespace')}/{target['resource']}/{target.get('name')}"


def test_at_rest_nothing_is_written():
    for region in (US, EU):
        region.wait_ready(180)
    # A resumed link first catches up, which changes its status in the next turn.
    within = lambda: condition(kube.get("replicationlink", "from-us-east", EU.name), "WithinBound")
    wait_until(lambda: within().get("status") == "True", 60, lambda: f"the link catches up: {within()}")
    time.sleep(3)  # the last event is on its way
    since = stamp()
    time.sleep(60)
    assert [what(event) for event in ours(since)] == []


def test_a_foreign_edit_is_put_back_once():
    since = stamp()
    selector = lambda: kube.get("service", CLUSTER, US.name)["spec"]["selector"]
    before = selector()
    kube.patch("service", CLUSTER, US.name, {"spec": {"selector": {"app.kubernetes.io/name": "stranger"}}})
    wait_until(lambda: selector() == before, 30, lambda: f"the selector stays {selector()}")
    time.sleep(5)
    # The status may change meanwhile.
    aside = lambda target: target["resource"] == "events" or target.get("subresource") == "status"
    written = [what(event) for event in ours(since) if not aside(event["objectRef"])]
    assert written == [f"patch {US.name}/services/{CLUSTER}"]


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir()))
def test_an_applied_example_shows_no_difference(example):
    """Each example is applied to the real API server; fields added by operator and server are no difference to Git."""
    apart = f"example-{example}"
    for space in {"us-east", "eu-west", "argocd"}:
        kubectl("create", "namespace", f"{space}-{apart}", check=False)
    text = "\n---\n".join(path.read_text() for path in sorted((ROOT / "examples" / example).glob("*.yaml")))
    for space in ("us-east", "eu-west", "argocd"):
        text = text.replace(f"namespace: {space}\n", f"namespace: {space}-{apart}\n")
    kubectl("apply", "-f", "-", stdin=text)
    shown = kube.run("kubectl", "diff", "-f", "-", stdin=text, check=False)
    assert (shown.returncode, shown.stdout) == (0, ""), shown.stdout + shown.stderr


def test_the_regions_own_example_shows_no_difference():
    kubectl("apply", "-f", ROOT / "examples/two-regions-direct")
    for region in (US, EU):
        region.wait_ready(600)
    shown = kube.run("kubectl", "diff", "-f", str(ROOT / "examples/two-regions-direct"), check=False)
    assert (shown.returncode, shown.stdout) == (0, ""), shown.stdout + shown.stderr


ANY = ("get", "list", "watch", "create", "update", "patch", "delete")


def test_no_operator_touches_the_others_namespace():
    astray = []
    for event in ours("0", ANY):
        home = event["user"]["username"].split(":")[2]
        if event["objectRef"].get("namespace") != home:
            astray.append(what(event))
    assert astray == []


def test_a_claim_gets_the_id_that_its_volume_bears():
    claim = f"data-{sorted(US.pods())[0]}"
    label = lambda: kube.get("persistentvolumeclaim", claim, US.name)["metadata"].get("labels", {}).get("meridiandb.io/cluster-id")
    before = label()
    assert before, claim
    kubectl("-n", US.name, "label", "persistentvolumeclaim", claim, "meridiandb.io/cluster-id-")
    wait_until(lambda: label() == before, 120, lambda: f"the label of {claim} is {label()}")


def test_every_right_is_used_and_none_is_missing():
    """Every granted permission is used, and no request was refused: removing any permission fails this test."""
    used, refused = set(), []
    for event in ours("0", ANY):
        target, code = event["objectRef"], event.get("responseStatus", {}).get("code", 200)
        if code == 403:
            refused.append(what(event))
        # The operator reads an object before it creates it: an answer of 404 needs the permission too.
        if code >= 400 and code != 404:
            continue
        resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
        verbs = {event["verb"], "create"} if (event["verb"], code) == ("patch", 201) else {event["verb"]}
        used |= {(target.get("apiGroup", ""), resource, verb) for verb in verbs}
    assert refused == []
    granted = set()
    for rule in kube.get("role", f"{US.name}-meridian-operator", US.name)["rules"]:
        granted |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    assert len(granted) > 40
    never = sorted(granted - used)
    assert not never, never


def secret(name, key):
    return base64.b64decode(kube.get("secret", name, US.name)["data"][key]).decode()


def test_both_regions_take_one_api_key():
    assert US.key() == EU.key()
    for region in (US, EU):
        with region.http(timeout=10) as client:
            assert client.get("/collections").is_success


def test_lost_secrets_are_made_again_while_pods_serve():
    before = {name: pod["metadata"]["uid"] for name, pod in US.pods().items()}
    old = {"key": US.key(), "ca": secret(f"{CLUSTER}-peer-tls", "ca.crt")}
    kubectl("-n", US.name, "delete", "secret", f"{CLUSTER}-api-key", f"{CLUSTER}-peer-ca")
    wait_until(lambda: secret(f"{CLUSTER}-api-key", "api-key") == old["key"], 60, "the group's API key is not derived again")
    # The new authority stands beside the old one, and the operator sees the pods all the time.
    wait_until(lambda: secret(f"{CLUSTER}-peer-tls", "ca.crt").count("BEGIN CERTIFICATE") == 2, 60, "pods are not told of both")
    assert old["ca"].strip() in secret(f"{CLUSTER}-peer-tls", "ca.crt")
    assert condition(US.cluster(), "Available").get("status") == "True"
    valid = lambda: condition(US.cluster(), "CertificatesValid")
    wait_until(lambda: valid().get("status") == "False", 60, lambda: f"nothing is said of it: {valid()}")
    # Two swaps of files by the kubelet, and three minutes in which the former certificate is shown.
    wait_until(lambda: valid().get("status") == "True", 900, lambda: f"the authority is not replaced: {valid()}")
    assert old["ca"].strip() not in secret(f"{CLUSTER}-peer-tls", "ca.crt")
    assert condition(US.cluster(), "Available").get("status") == "True"
    assert {name: pod["metadata"]["uid"] for name, pod in US.pods().items()} == before


def test_kept_definitions_are_taken_over_by_a_release_of_another_name():
    kubectl("create", "namespace", "second", check=False)
    install = ("helm", "install", "second", ROOT / "charts/meridian", "--namespace", "second", "--set", "watchNamespaces={second}")
    with pytest.raises(CommandFailed) as refused:
        kube.run(*install)
    assert "invalid ownership metadata" in str(refused.value)
    before = kubectl("get", "vectorclusters", "--all-namespaces", "-o", "jsonpath={.items[*].metadata.uid}")
    kube.run(*install, "--take-ownership")
    kube.run("helm", "uninstall", "second", "--namespace", "second")
    assert kubectl("get", "vectorclusters", "--all-namespaces", "-o", "jsonpath={.items[*].metadata.uid}") == before
    # The first release owns the CRDs again; otherwise its next upgrade would be refused.
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        name = file.name.removesuffix(".yaml")
        kubectl(
            "annotate", "--overwrite", "customresourcedefinition", name,
            "meta.helm.sh/release-name=meridian", f"meta.helm.sh/release-namespace={US.name}",
        )  # fmt: skip
