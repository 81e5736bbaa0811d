"""hnswlib measured as `meridian bench ann` measures our graph: see there for what is held equal."""

import sys
import time

import hnswlib
import numpy as np

N, QUERIES, NEIGHBOURS, M, EF_CONSTRUCT = 21_000, 1_000, 10, 16, 100

vectors = np.load(sys.argv[1], mmap_mode="r")[:N].astype(np.float32)
vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
held_out = np.zeros(len(vectors), bool)
held_out[np.arange(QUERIES) * (len(vectors) // QUERIES)] = True
base, queries = vectors[~held_out], vectors[held_out]

index = hnswlib.Index(space="ip", dim=base.shape[1])
index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCT, random_seed=1)
index.set_num_threads(1)
begun = time.perf_counter()
index.add_items(base, num_threads=1)
built = time.perf_counter() - begun
print(f"hnswlib: n={len(base)} dim={base.shape[1]} m={M} ef_construct={EF_CONSTRUCT} build_s={built:.2f}")

truth = np.argpartition(-(queries @ base.T), NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
for ef in (10, 20, 40, 80, 160, 320):
    index.set_ef(ef)
    found, _ = index.knn_query(queries, k=NEIGHBOURS, num_threads=1)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, truth))
    begun, asked = time.perf_counter(), 0
    while time.perf_counter() - begun < 1.0:
        index.knn_query(queries, k=NEIGHBOURS, num_threads=1)
        asked += QUERIES
    qps = asked / (time.perf_counter() - begun)
    print(f"hnswlib: ef={ef} recall={hits / (QUERIES * NEIGHBOURS):.4f} qps={qps:.0f}")
