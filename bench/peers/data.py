"""Vectors, held-out queries and true neighbors, as files that all engines read."""

import os
from pathlib import Path

import numpy as np
from peer import NEIGHBOURS
from tqdm import tqdm

CACHE = Path(os.environ.get("MERIDIAN_CACHE") or Path.home() / ".cache/meridian") / "data"
KNOWN = {"words": CACHE / "words-100d.npy", "minilm": CACHE / "minilm-384d.npy"}
QUERIES = 1_000
# Queries per exact comparison with all vectors.
BLOCK = 100


def prepare(file, most, folder):
    """Writes base.npy, queries.npy and truth.ibin; returns the shape of the base."""
    rows = np.load(file, mmap_mode="r")[:most].astype(np.float32)
    if len(rows) <= 2 * QUERIES:
        raise SystemExit(f"{file}: {len(rows):,} vectors are too few to leave {QUERIES:,} out as queries")
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    held_out = np.zeros(len(rows), bool)
    held_out[np.arange(QUERIES) * (len(rows) // QUERIES)] = True
    base, queries = rows[~held_out], rows[held_out]
    np.save(folder / "base.npy", base)
    np.save(folder / "queries.npy", queries)
    write_neighbours(folder / "truth.ibin", true_neighbours(base, queries))
    return base.shape


def true_neighbours(base, queries):
    """Exact neighbors, nearest first."""
    blocks = range(0, len(queries), BLOCK)
    return np.concatenate([nearest(base, queries[at : at + BLOCK]) for at in tqdm(blocks, desc="truth", unit="block")])


def nearest(base, queries):
    products = queries @ base.T
    some = np.argpartition(-products, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    order = np.argsort(-np.take_along_axis(products, some, axis=1), axis=1)
    return np.take_along_axis(some, order, axis=1)


def write_neighbours(file, rows):
    """The format of big-ann-benchmarks: number of rows, their length, and the rows, all u32."""
    with open(file, "wb") as out:
        np.array(rows.shape, "<u4").tofile(out)
        rows.astype("<u4").tofile(out)


def read_neighbours(file):
    numbers = np.fromfile(file, "<u4")
    return numbers[2:].reshape(numbers[:2])
