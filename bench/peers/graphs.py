"""Graph indexes. If a library offers the parameters, m is 16 (at most 32 links) and ef_construction 200."""

import json

import numpy as np
from peer import NEIGHBOURS, Peer


class Hnswlib(Peer):
    package, config = "hnswlib", "M=16 efC=200"

    def __init__(self, base, folder):
        import hnswlib

        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.init_index(len(base), M=16, ef_construction=200, random_seed=1)
        self.index.add_items(base, num_threads=1)

    def ask(self, queries, ef):
        self.index.set_ef(ef)
        return lambda: self.index.knn_query(queries, NEIGHBOURS, num_threads=1)[0]


class FaissHnsw(Peer):
    package, config = "faiss-cpu", "HNSW M=16 efC=200"

    def __init__(self, base, folder):
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.IndexHNSWFlat(base.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        self.index.add(base)

    def ask(self, queries, ef):
        self.index.hnsw.efSearch = ef
        return lambda: self.index.search(queries, NEIGHBOURS)[1]


class Usearch(Peer):
    package, config = "usearch", "bf16 M=16 efC=200"

    def __init__(self, base, folder):
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="ip", dtype="bf16", connectivity=16, expansion_add=200)
        self.index.add(np.arange(len(base)), base, threads=1)

    def ask(self, queries, ef):
        self.index.expansion_search = ef
        return lambda: self.index.search(queries, NEIGHBOURS, threads=1)

    def ids(self, found):
        return found.keys


class Vsag(Peer):
    package, config = "pyvsag", "HGraph sq8_uniform, re-ranked by float32, R=32 efC=200"

    def __init__(self, base, folder):
        import pyvsag

        rows, dim = base.shape
        graph = {"base_quantization_type": "sq8_uniform", "use_reorder": True, "precise_quantization_type": "fp32"}
        graph |= {"max_degree": 32, "ef_construction": 200, "build_thread_count": 1}
        config = {"dtype": "float32", "metric_type": "ip", "dim": dim, "index_param": graph}
        self.index = pyvsag.Index("hgraph", json.dumps(config))
        self.index.build(base.ravel(), np.arange(rows), rows, dim)

    def ask(self, queries, ef):
        point = json.dumps({"hgraph": {"ef_search": ef}})
        return lambda: [self.index.knn_search(query, NEIGHBOURS, point)[0] for query in queries]


class SymphonyQG(Peer):
    package, config = "rabitqlib", "SymphonyQG R=32 efC=200"

    def __init__(self, base, folder):
        from rabitqlib import SymqgIndex

        # L2 and the inner product give the same order for rows of length 1; L2 is faster here.
        self.index = SymqgIndex(base.shape[1], 32, "l2")
        self.index.build(base, 200, num_threads=1)

    def ask(self, queries, ef):
        return lambda: self.index.search_batch(queries, NEIGHBOURS, ef, num_threads=1)[0]


class Svs(Peer):
    package, config = "scalable-vs", "Vamana f16 R=32 efC=200"

    def __init__(self, base, folder):
        import svs

        svs.write_vecs(base, f"{folder}/base.fvecs")
        data = self.load(svs, svs.VectorDataLoader(f"{folder}/base.fvecs", svs.DataType.float32), base)
        parameters = svs.VamanaBuildParameters(graph_max_degree=32, window_size=200)
        self.index = svs.Vamana.build(parameters, data, svs.DistanceType.MIP, num_threads=1)

    def load(self, svs, file, base):
        return base.astype(np.float16)

    def ask(self, queries, ef):
        self.index.search_window_size = ef
        return lambda: self.index.search(queries, NEIGHBOURS)[0]


class SvsLvq(Svs):
    config = "Vamana LVQ4x8 R=32 efC=200"

    def load(self, svs, file, base):
        return svs.LVQLoader(file, primary=4, residual=8, padding=32)


class SvsLeanVec(Svs):
    config = "Vamana LeanVec of half the dimensions, LVQ8 and LVQ8, R=32 efC=200"

    def load(self, svs, file, base):
        return svs.LeanVecLoader(file, leanvec_dims=base.shape[1] // 2)
