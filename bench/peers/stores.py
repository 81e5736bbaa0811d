"""Embedded databases: they store files, and points have ids."""

import numpy as np
from peer import EFS, NEIGHBOURS, Peer, grid

# Points per insert.
BATCH = 1_000


class QdrantEdge(Peer):
    package, config = "qdrant-edge-py", "HNSW int8, re-ranked by float32, m=16 ef_construct=200"
    sweep = grid(ef=EFS, oversampling=(1.0, 3.0))
    # Threshold in kilobytes for a scan without the graph; small, because the graph is measured.
    full_scan = 10

    def __init__(self, base, folder):
        import qdrant_edge as qdrant

        self.qdrant = qdrant
        codes = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, quantile=0.99, always_ram=True)
        graph = qdrant.HnswIndexConfig(16, 200, full_scan_threshold=self.full_scan, max_indexing_threads=1)
        vectors = qdrant.EdgeVectorParams(
            base.shape[1], qdrant.Distance.Cosine, quantization_config=codes, hnsw_config=graph
        )
        # One segment, indexed from its first kilobyte.
        segments = qdrant.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=10**9, indexing_threshold=1
        )
        config = qdrant.EdgeConfig(vectors, optimizers=segments, max_search_threads=1, wal_enabled=False)
        self.shard = qdrant.EdgeShard.create(folder, config)
        self.created()
        for at in range(0, len(base), BATCH):
            rows = enumerate(base[at : at + BATCH], at)
            points = [qdrant.Point(i, row.tolist(), self.payload(i)) for i, row in rows]
            self.shard.update(qdrant.UpdateOperation.upsert_points(points))
        self.shard.optimize()

    def created(self):
        """Declares payload indexes before points are inserted."""

    def payload(self, _):
        return None

    def ask(self, queries, ef, oversampling, only=None):
        request, nearest = self.qdrant.QueryRequest, self.qdrant.Query.Nearest
        rerank = self.qdrant.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        params = self.qdrant.SearchParams(ef, quantization=rerank)
        batch = [request(NEIGHBOURS, query=nearest(query.tolist()), filter=only, params=params) for query in queries]
        batch = self.qdrant.QueryBatchRequest(batch)
        return lambda: self.shard.query_batch(batch)

    def ids(self, found):
        return [[hit.id for hit in hits] for hits in found]


class Zvec(Peer):
    package, config = "zvec", "HNSW int8, re-ranked by float32, m=16 ef_construction=200"

    def __init__(self, base, folder):
        import zvec

        self.zvec, rows = zvec, len(base)
        zvec.init(query_threads=1, optimize_threads=1)
        graph = zvec.HnswIndexParam(zvec.MetricType.IP, 16, 200, zvec.QuantizeType.INT8, use_contiguous_memory=True)
        vectors = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, base.shape[1], index_param=graph)
        path = f"{folder}/collection"
        collection = zvec.create_and_open(path, zvec.CollectionSchema("peers", vectors=vectors))
        for at in range(0, rows, BATCH):
            slice = enumerate(base[at : at + BATCH], at)
            collection.insert([zvec.Doc(id=str(i), vectors={"vector": row.tolist()}) for i, row in slice])
        collection.optimize(zvec.OptimizeOption(concurrency=1))
        # Its low-latency path requires read-only mode and returns internal ids.
        collection.close()
        self.collection = zvec.open(path, zvec.CollectionOption(read_only=True))
        self.names = np.array(self.collection.resolve_internal_ids(np.arange(rows)), int)

    def ask(self, queries, ef):
        param = self.zvec.HnswQueryParam(ef=ef, is_using_refiner=True)
        batch = [self.zvec.Query("vector", vector=query, param=param) for query in queries]
        return lambda: [self.collection.query_internal_ids(query, topk=NEIGHBOURS) for query in batch]

    def ids(self, found):
        return self.names[np.array(found)]
