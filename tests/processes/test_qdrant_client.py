"""The official client against three real nodes, compared call by call with the client's in-memory mode.

Once with one shard on three replicas (any node answers for the shard), once with three shards (every answer is merged).
"""

import itertools
import math
import uuid
from importlib.metadata import version

import numpy
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from regions import KEY, Local

POINTS = 120
DIM = 16
NAMED = {"title": (8, models.Distance.COSINE), "body": (12, models.Distance.EUCLID), "image": (4, models.Distance.DOT)}
TOLERANCE = 1e-5  # scores and normalised vectors are f32 here, and numpy's there


@pytest.fixture(scope="module", params=["us-east:1x3", "us-east:3x1"])
def nodes(request, module_folder):
    with Local(module_folder("client"), request.param) as local:
        clients = [QdrantClient(url=node.api, api_key=KEY, timeout=20) for node in local.nodes]
        yield clients
        for client in clients:
            client.close()


class Comparison:
    """Makes each call of a node, the next one each time, and of the memory, and holds the answers against each other."""

    def __init__(self, nodes):
        self.turn = itertools.cycle(nodes)
        self.memory = QdrantClient(":memory:")

    def write(self, call, *args, **options):
        getattr(self.memory, call)(*args, **options)
        return getattr(next(self.turn), call)(*args, **options)

    def read(self, call, *args, **options):
        real = getattr(next(self.turn), call)(*args, **options)
        wanted = getattr(self.memory, call)(*args, **options)
        assert_equal_responses(normalized(real), normalized(wanted), call)
        return real


def normalized(value):
    """Answers as lists and dicts, without the versions of points, which only a server has."""
    if hasattr(value, "model_dump"):
        return {name: normalized(getattr(value, name)) for name in type(value).model_fields if name != "version"}
    if isinstance(value, dict):
        return {key: normalized(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalized(each) for each in value]
    return value


def assert_equal_responses(real, wanted, where):
    if isinstance(wanted, float):
        assert math.isclose(real, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{where}: {real} for {wanted}"
    elif isinstance(wanted, list):
        assert len(real) == len(wanted), f"{where}: {real} for {wanted}"
        for at, pair in enumerate(zip(real, wanted)):
            assert_equal_responses(*pair, f"{where}[{at}]")
    elif isinstance(wanted, dict):
        assert real.keys() == wanted.keys(), f"{where}: {real} for {wanted}"
        for key in wanted:
            assert_equal_responses(real[key], wanted[key], f"{where}.{key}")
    else:
        assert real == wanted, f"{where}: {real!r} for {wanted!r}"


def unnamed(distance):
    return models.VectorParams(size=DIM, distance=distance)


def named():
    return {name: models.VectorParams(size=size, distance=distance) for name, (size, distance) in NAMED.items()}


def identity(n):
    """Every third id is a UUID."""
    return str(uuid.UUID(int=(n * 0x9E3779B97F4A7C15) % (1 << 128))) if n % 3 == 0 else n


def payload(n):
    return {
        "number": n,
        "price": n * 0.5,
        "colour": ["red", "green", "blue"][n % 3],
        "even": n % 2 == 0,
        "tags": [f"t{n % 5}", f"t{n % 7}"],
        "place": {"city": ["Rome", "Oslo"][n % 2], "rooms": [{"beds": n % 4}]},
        "text": "quote \" and ünïcödé \n",
    }


def vector(random, size=DIM):
    return random.normal(size=size).astype(numpy.float32).tolist()


def points(random, numbers, several=False):
    def vectors():
        return {name: vector(random, size) for name, (size, _) in NAMED.items()} if several else vector(random)

    return [models.PointStruct(id=identity(n), vector=vectors(), payload=payload(n)) for n in numbers]


def create_filled(nodes, name, vectors):
    """A collection of that name with points, there and here."""
    both = Comparison(nodes)
    next(both.turn).delete_collection(name)
    both.write("create_collection", name, vectors_config=vectors)
    random = numpy.random.default_rng(7)
    both.write("upsert", name, points(random, range(POINTS), several=isinstance(vectors, dict)))
    return both


@pytest.fixture(params=[models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID], ids=str.lower)
def unnamed_points(nodes, request):
    return create_filled(nodes, "unnamed", unnamed(request.param))


@pytest.fixture
def named_points(nodes):
    return create_filled(nodes, "named", named())


def field(key, **condition):
    return models.FieldCondition(key=key, **condition)


FILTERS = {
    "value": models.Filter(must=[field("colour", match=models.MatchValue(value="red"))]),
    "truth": models.Filter(must=field("even", match=models.MatchValue(value=True))),
    "any": models.Filter(must=[field("number", match=models.MatchAny(any=[1, 5, 9, 30, 77, 1000]))]),
    "any in a list": models.Filter(must=[field("tags", match=models.MatchAny(any=["t1", "t6"]))]),
    "except": models.Filter(must=[field("colour", match=models.MatchExcept(**{"except": ["red", "blue"]}))]),
    "range": models.Filter(must=[field("price", range=models.Range(gt=3.5, lte=40))]),
    "nested key": models.Filter(must=[field("place.city", match=models.MatchValue(value="Oslo"))]),
    "key in a list": models.Filter(must=[field("place.rooms[].beds", range=models.Range(gte=2, lt=4))]),
    "ids": models.Filter(must=[models.HasIdCondition(has_id=[identity(3), 4, 5, identity(99), 4000])]),
    "none": models.Filter(must=[field("colour", match=models.MatchValue(value="mauve"))]),
    "should": models.Filter(
        should=[field("colour", match=models.MatchValue(value="blue")), field("number", range=models.Range(lt=20))]
    ),
    "must not": models.Filter(must_not=[field("even", match=models.MatchValue(value=True))]),
    "all three": models.Filter(
        must=[field("number", range=models.Range(gte=10, lt=100))],
        should=[field("colour", match=models.MatchAny(any=["red", "green"])), models.HasIdCondition(has_id=[11, 14])],
        must_not=[field("place.city", match=models.MatchValue(value="Rome"))],
    ),
    "a filter in a filter": models.Filter(
        must=[
            models.Filter(
                should=[field("number", range=models.Range(lt=10)), field("number", range=models.Range(gte=110))]
            )
        ]
    ),
}


def test_the_client_finds_a_server_of_its_own_version(nodes):
    """Warnings are errors, because the client warns about an incompatible server."""
    for client in nodes:
        told = client.info()
        assert "Meridian" in told.title
        assert told.version.split(".")[:2] == version("qdrant-client").split(".")[:2]


def test_collections_come_are_listed_described_and_go(nodes):
    both = Comparison(nodes)
    assert both.read("collection_exists", "plan") is False
    assert both.write("create_collection", "plan", vectors_config=unnamed(models.Distance.DOT)) is True
    assert both.write("create_collection", "plans", vectors_config=named()) is True
    for client in nodes:
        assert client.collection_exists("plan")
        assert {"plan", "plans"} <= {each.name for each in client.get_collections().collections}
        info = client.get_collection("plan")
        assert (info.status, info.points_count) == (models.CollectionStatus.GREEN, 0)
        assert info.config.params.vectors == unnamed(models.Distance.DOT)
        assert client.get_collection("plans").config.params.vectors == named()
    assert both.write("delete_collection", "plan") is True
    assert both.write("delete_collection", "plans") is True
    for client in nodes:
        assert not client.collection_exists("plan")
        assert client.delete_collection("plan") is False


def test_inline_storage_is_enabled_on_request(nodes):
    both = Comparison(nodes)
    inline = models.HnswConfigDiff(inline_storage=True)
    assert both.write("create_collection", "inline", vectors_config=unnamed(models.Distance.DOT), hnsw_config=inline)
    assert both.write("create_collection", "plain", vectors_config=unnamed(models.Distance.DOT))
    for client in nodes:
        told = [client.get_collection(name).config.hnsw_config.inline_storage for name in ("inline", "plain")]
        assert told == [True, False]
    for name in ("inline", "plain"):
        assert both.write("delete_collection", name) is True


def test_a_collection_knows_how_many_points_it_has(nodes, named_points):
    for client in nodes:
        info = client.get_collection("named")
        assert info.points_count == POINTS
        assert info.indexed_vectors_count <= POINTS * len(NAMED)


def test_points_are_retrieved_with_what_is_selected(unnamed_points, named_points):
    wanted = [identity(3), 4, 5, identity(9), 100_000]

    def by_id(records):
        return sorted(records, key=lambda record: str(record.id))

    for both, name in ((unnamed_points, "unnamed"), (named_points, "named")):
        for payload_of, vectors_of in [
            (True, False),
            (False, True),
            (["colour", "place.city"], False),
            (models.PayloadSelectorInclude(include=["number"]), False),
            (models.PayloadSelectorExclude(exclude=["text", "tags"]), True),
        ]:
            options = {"ids": wanted, "with_payload": payload_of, "with_vectors": vectors_of}
            real = by_id(next(both.turn).retrieve(name, **options))
            assert_equal_responses(normalized(real), normalized(by_id(both.memory.retrieve(name, **options))), f"{name} {payload_of}")
    named_points.read("retrieve", "named", [5], with_vectors=["title", "image"])


@pytest.mark.parametrize("filter_name", FILTERS)
def test_queries_with_filters_find_what_the_memory_finds(unnamed_points, filter_name):
    near = vector(numpy.random.default_rng(1))
    for limit, exact in ((5, False), (POINTS, True)):
        unnamed_points.read(
            "query_points",
            "unnamed",
            query=near,
            query_filter=FILTERS[filter_name],
            limit=limit,
            search_params=models.SearchParams(exact=exact),
            with_payload=True,
        )


def test_queries_with_thresholds_and_offsets_find_what_the_memory_finds(unnamed_points):
    random = numpy.random.default_rng(2)
    for _ in range(5):
        near = vector(random)
        best = unnamed_points.read("query_points", "unnamed", query=near, limit=40, with_vectors=True).points
        unnamed_points.read("query_points", "unnamed", query=near, limit=10, offset=7)
        unnamed_points.read("query_points", "unnamed", query=near, limit=10, offset=POINTS - 3)
        between = (best[11].score + best[12].score) / 2
        found = unnamed_points.read("query_points", "unnamed", query=near, limit=40, score_threshold=between).points
        assert len(found) == 12


def test_a_query_near_a_point_leaves_the_point_out(unnamed_points):
    for point in (identity(6), 7):
        found = unnamed_points.read("query_points", "unnamed", query=point, limit=8).points
        assert point not in [each.id for each in found]
    unnamed_points.read("query_points", "unnamed", query=7, query_filter=FILTERS["range"], limit=8)


def test_each_named_vector_is_searched_by_its_own_distance(named_points):
    random = numpy.random.default_rng(3)
    for name, (size, _) in NAMED.items():
        named_points.read("query_points", "named", query=vector(random, size), using=name, limit=10)
        named_points.read("query_points", "named", query=identity(12), using=name, limit=10, with_vectors=[name])
        named_points.read(
            "query_points", "named", query=vector(random, size), using=name, query_filter=FILTERS["all three"], limit=50
        )


def test_a_batch_of_queries_answers_each(unnamed_points):
    random = numpy.random.default_rng(4)
    requests = [
        models.QueryRequest(query=vector(random), limit=limit, filter=FILTERS[name], with_payload=with_payload)
        for limit, name, with_payload in [(3, "value", True), (10, "all three", False), (1, "none", True), (7, "ids", ["number"])]
    ]
    requests.append(models.QueryRequest(query=5, limit=4, offset=2))
    unnamed_points.read("query_batch_points", "unnamed", requests=requests)


def test_scrolling_returns_every_point_once_in_order(unnamed_points):
    for chosen in (None, FILTERS["all three"], FILTERS["none"]):
        start, met, expected = None, [], unnamed_points.memory.count("unnamed", count_filter=chosen).count
        while True:
            page, start = next(unnamed_points.turn).scroll(
                "unnamed", scroll_filter=chosen, limit=17, offset=start, with_vectors=True
            )
            met += page
            if start is None:
                break
            assert len(page) == 17
        assert len(met) == expected
        assert len({each.id for each in met}) == expected
        wanted, _ = unnamed_points.memory.scroll("unnamed", scroll_filter=chosen, limit=POINTS, with_vectors=True)
        key = lambda record: str(record.id)  # noqa: E731
        assert_equal_responses(normalized(sorted(met, key=key)), normalized(sorted(wanted, key=key)), "scroll")
        numbers = [each.id for each in met if isinstance(each.id, int)]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("filter_name", FILTERS)
def test_counts_are_exact(named_points, filter_name):
    named_points.read("count", "named", count_filter=FILTERS[filter_name])


def test_overwriting_replaces_vector_and_payload(unnamed_points):
    random = numpy.random.default_rng(5)
    again = [
        models.PointStruct(id=identity(n), vector=vector(random), payload={"number": -n} if n % 2 else None)
        for n in range(0, 40)
    ]
    status = unnamed_points.write("upsert", "unnamed", again).status
    assert status == models.UpdateStatus.COMPLETED
    unnamed_points.read("count", "unnamed")
    unnamed_points.read("query_points", "unnamed", query=vector(random), limit=POINTS, with_payload=True, with_vectors=True)


def test_a_batch_in_columns_is_as_good_as_a_list(nodes, unnamed_points, named_points):
    random = numpy.random.default_rng(6)
    ids = [identity(n) for n in range(200, 230)]
    payloads = [payload(n) for n in range(200, 230)]
    columns = models.Batch(ids=ids, vectors=[vector(random) for _ in ids], payloads=payloads)
    unnamed_points.write("upsert", "unnamed", columns)
    unnamed_points.read("query_points", "unnamed", query=vector(random), limit=200, with_payload=True)
    several = {name: [vector(random, size) for _ in ids] for name, (size, _) in NAMED.items()}
    named_points.write("upsert", "named", models.Batch(ids=ids, vectors=several, payloads=payloads))
    named_points.read("query_points", "named", query=vector(random, 8), using="title", limit=200, with_vectors=True)


def test_points_are_deleted_by_id_and_by_filter(unnamed_points):
    near = vector(numpy.random.default_rng(8))
    unnamed_points.write("delete", "unnamed", points_selector=[1, 2, identity(3), 5000])
    unnamed_points.read("query_points", "unnamed", query=near, limit=POINTS)
    unnamed_points.write("delete", "unnamed", points_selector=models.FilterSelector(filter=FILTERS["value"]))
    unnamed_points.read("query_points", "unnamed", query=near, limit=POINTS)
    unnamed_points.write("delete", "unnamed", points_selector=models.PointIdsList(points=[4]))
    unnamed_points.read("count", "unnamed")


def test_what_one_node_acknowledged_every_node_answers(nodes, unnamed_points):
    random = numpy.random.default_rng(9)
    for n, (writer, reader) in enumerate(itertools.product(nodes, nodes)):
        writer.upsert("unnamed", [models.PointStruct(id=900 + n, vector=vector(random), payload={"n": n})])
        assert reader.retrieve("unnamed", [900 + n])[0].payload == {"n": n}
        assert reader.count("unnamed").count == POINTS + n + 1


def assert_refused(status, text, call, *args, **options):
    with pytest.raises(UnexpectedResponse) as fault:
        call(*args, **options)
    body = fault.value.content.decode()
    assert fault.value.status_code == status, body
    assert text in body, body


def test_errors_name_the_invalid_field(nodes, named_points):
    for client in nodes:
        missing = "Collection `nowhere` doesn't exist!"
        assert_refused(404, missing, client.get_collection, "nowhere")
        assert_refused(404, missing, client.upsert, "nowhere", [models.PointStruct(id=1, vector=[1.0])])
        assert_refused(404, missing, client.query_points, "nowhere", query=[1.0])
        assert_refused(404, missing, client.retrieve, "nowhere", [1])
        assert_refused(404, "No point with id 77777", client.query_points, "named", query=77777, using="title")
        exists = "Collection `named` already exists!"
        assert_refused(409, exists, client.create_collection, "named", vectors_config=named())
        short = {**{name: [1.0] * size for name, (size, _) in NAMED.items()}, "title": [1.0] * 7}
        assert_refused(400, "expected dim: 8, got 7", client.upsert, "named", [models.PointStruct(id=1, vector=short)])
        assert_refused(400, "expected dim: 8, got 9", client.query_points, "named", query=[1.0] * 9, using="title")
        assert_refused(400, "colour", client.query_points, "named", query=[1.0] * 9, using="colour")
        assert_refused(400, "limit", client.query_points, "named", query=[1.0] * 8, using="title", limit=10_001)
    named_points.read("count", "named")


def test_a_wrong_key_is_refused(nodes):
    url = nodes[0].init_options["url"]
    stranger = QdrantClient(url=url, api_key="not-the-key", check_compatibility=False)
    assert_refused(401, "Invalid API key", stranger.get_collections)
    nobody = QdrantClient(url=url, check_compatibility=False)
    assert_refused(401, "Must provide an API key", nobody.get_collections)
    for client in (stranger, nobody):
        client.close()


def test_unsupported_operations_are_refused_by_name(nodes, unnamed_points):
    client, plane = nodes[0], unnamed(models.Distance.DOT)
    near = [1.0] * DIM
    calls = {
        "quantization": lambda: client.create_collection(
            "no",
            vectors_config=plane,
            quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
        ),
        "sparse": lambda: client.create_collection(
            "no", vectors_config=plane, sparse_vectors_config={"s": models.SparseVectorParams()}
        ),
        "cannot be changed": lambda: client.update_collection("unnamed", hnsw_config=models.HnswConfigDiff(m=32)),
        "order_by": lambda: client.scroll("unnamed", order_by="number"),
        "match.text": lambda: client.count(
            "unnamed", count_filter=models.Filter(must=[field("text", match=models.MatchText(text="quote"))])
        ),
        "geo_radius": lambda: client.count(
            "unnamed",
            count_filter=models.Filter(
                must=[field("at", geo_radius=models.GeoRadius(center=models.GeoPoint(lat=1, lon=1), radius=1))]
            ),
        ),
        "prefetch": lambda: client.query_points(
            "unnamed", query=near, prefetch=models.Prefetch(query=near, limit=3), limit=1
        ),
        "recommend": lambda: client.query_points(
            "unnamed", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[1]))
        ),
        "payload": lambda: client.set_payload("unnamed", {"a": 1}, [1]),
        "index": lambda: client.create_payload_index("unnamed", "number", "integer"),
        "facet": lambda: client.facet("unnamed", "colour"),
        "snapshots": lambda: client.create_snapshot("unnamed"),
        "aliases": lambda: client.get_aliases(),
    }
    for text, call in calls.items():
        with pytest.raises(UnexpectedResponse) as fault:
            call()
        body = fault.value.content.decode()
        assert fault.value.status_code == 501, f"{text}: {body}"
        assert "Not supported: " in body and text in body, f"{text}: {body}"
    assert not client.collection_exists("no")
    unnamed_points.read("count", "unnamed")
