#!/usr/bin/env python3
"""Write expected.json: what sentence-transformers, in float64, makes of some texts with the models that fetch.py fetched.

    python -m venv .venv && .venv/bin/pip install torch transformers==5.24.0 sentence-transformers==6.2.0
    .venv/bin/python tests/weights/expected.py
"""

import json
import pathlib

import fetch
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder

TEXTS = [
    "How do transformers work?",
    "Attention relates each token of a sequence to every other.",
    "Tea is made of leaves.",
    "ÄRGER naïve Straße İSTANBUL 東京 👩‍👧 ``quoted'' [SEP] <mask>",
    "a",
    " ".join(f"Sentence {i} makes this text longer than any limit." for i in range(80)),
]


def main():
    torch.set_num_threads(1)
    results = {}
    for name in fetch.MODELS:
        path = str(fetch.cache() / name)
        if name.startswith("splade"):
            model = SparseEncoder(path, device="cpu").double()
            sparse = model.encode(TEXTS, convert_to_sparse_tensor=False)
            weights = ([[int(i), round(float(row[i]), 7)] for i in row.nonzero().flatten()] for row in sparse)
            results[name] = {"sparse": list(weights)}
        else:
            vectors = SentenceTransformer(path, device="cpu").double().encode(TEXTS, normalize_embeddings=True)
            results[name] = {"dense": [[round(float(x), 8) for x in vector] for vector in vectors]}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(result)}" for name, result in results.items())
    target = pathlib.Path(__file__).resolve().parent / "expected.json"
    target.write_text(f'{{"texts": {json.dumps(TEXTS)}, "models": {{\n{lines}\n}}}}\n')


main()
