"""Inverted lists. The number of lists grows with the square root of the number of points, as the papers recommend."""

from math import isqrt

from peer import NEIGHBOURS, Peer, grid

PROBES = (2, 4, 8, 16, 32, 64, 128, 256, 512)


class FaissIvfPq(Peer):
    package, config = "faiss-cpu", "IVF(2√n) PQ(d/2)x4fs, re-ranked by float32"
    sweep = grid(nprobe=PROBES, rerank=(3, 10, 30))

    def __init__(self, base, folder):
        import faiss

        faiss.omp_set_num_threads(1)
        rows, dim = base.shape
        self.nlist = 2 * isqrt(rows)
        name = f"IVF{self.nlist},PQ{dim // 2}x4fs,RFlat"
        self.index = faiss.index_factory(dim, name, faiss.METRIC_INNER_PRODUCT)
        self.index.train(base)
        self.index.add(base)
        self.lists = faiss.downcast_index(self.index.base_index)

    def ask(self, queries, nprobe, rerank):
        self.lists.nprobe, self.index.k_factor = min(nprobe, self.nlist), rerank
        return lambda: self.index.search(queries, NEIGHBOURS)[1]


class RabitqIvf(Peer):
    """Codes only, without re-ranking."""

    package, config, bits = "rabitqlib", "IVF(2√n) RaBitQ of 7 bits", 7
    sweep = grid(nprobe=sorted({*PROBES, 3, 6, 12, 24, 48, 96, 192, 384}))

    def __init__(self, base, folder):
        from rabitqlib import FinalAssignmentMode, IvfIndex, RaBitQKMeans

        rows, dim = base.shape
        self.nlist = 2 * isqrt(rows)
        means = RaBitQKMeans(dim, self.nlist, num_threads=1, final_assignment=FinalAssignmentMode.Exact)
        means.train(base)
        self.index = IvfIndex(dim, rows, self.nlist, self.bits, "l2")
        self.index.build(base, means.centroids, means.assignments, num_threads=1)

    def ask(self, queries, nprobe):
        return lambda: self.index.search(queries, NEIGHBOURS, min(nprobe, self.nlist), num_threads=1)[0]


class RabitqIvfReranked(RabitqIvf):
    config, bits = "IVF(2√n) RaBitQ, re-ranked by float32", 32


class Scann(Peer):
    package, config, soar = "scann", "tree(3√n) AH2 T=0.2, re-ranked by float32", {}
    sweep = grid(leaves=(5, 10, 20, 40, 80, 150, 300, 600), rerank=(30, 80, 200))

    def __init__(self, base, folder):
        from scann import scann_ops_pybind as scann

        self.nlist = 3 * isqrt(len(base))
        builder = scann.builder(base, NEIGHBOURS, "dot_product").set_n_training_threads(1)
        builder.tree(self.nlist, 100, training_sample_size=min(len(base), 250_000), **self.soar)
        self.index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()

    def ask(self, queries, leaves, rerank):
        leaves = min(leaves, self.nlist)
        return lambda: self.index.search_batched(
            queries, NEIGHBOURS, pre_reorder_num_neighbors=rerank, leaves_to_search=leaves
        )[0]


class ScannSoar(Scann):
    config, soar = "tree(3√n) SOAR 1.5 AH2 T=0.2, re-ranked by float32", {"soar_lambda": 1.5}
