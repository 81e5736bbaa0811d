"""All peers by name. The first is the baseline of the comparison."""

import graphs
import lists
import stores

PEERS = {
    "hnswlib": graphs.Hnswlib,
    "faiss-hnsw": graphs.FaissHnsw,
    "faiss-ivfpq": lists.FaissIvfPq,
    "usearch": graphs.Usearch,
    "pyvsag": graphs.Vsag,
    "symphonyqg": graphs.SymphonyQG,
    "rabitq-ivf": lists.RabitqIvf,
    "rabitq-ivf-reranked": lists.RabitqIvfReranked,
    "scann": lists.Scann,
    "scann-soar": lists.ScannSoar,
    "svs-f16": graphs.Svs,
    "svs-lvq": graphs.SvsLvq,
    "svs-leanvec": graphs.SvsLeanVec,
    "qdrant-edge": stores.QdrantEdge,
    "zvec": stores.Zvec,
}

# Configurations of Meridian, as arguments of `meridian bench ann`.
OURS = {
    "meridian-hnsw": ["--index", "hnsw"],
    "meridian-hnsw-speed": ["--index", "hnsw", "--profile", "speed"],
    "meridian-hnsw-file": ["--index", "hnsw", "--storage", "file"],
    "meridian-hnsw-memory": ["--index", "hnsw", "--profile", "memory"],
    "meridian-ivfpq": ["--index", "ivfpq"],
}
