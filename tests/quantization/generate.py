#!/usr/bin/env python3
"""Write what sentence-transformers' quantize_embeddings makes of some vectors, bit for bit.

    .venv/bin/python generate.py > expected.json
"""

import json
import struct

import numpy as np
import sentence_transformers
from sentence_transformers.util.quantization import quantize_embeddings

rng = np.random.default_rng(1)
vectors = rng.normal(size=(40, 21)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
vectors[0] = 0.0
vectors[1, ::2] = -0.0
vectors[2] = np.linspace(-1, 1, 21, dtype=np.float32)
sample = rng.normal(scale=0.2, size=(150, 21)).astype(np.float32)
sample[:, 3] = 0.25  # a dimension without any range
ranges = np.vstack([sample.min(axis=0), sample.max(axis=0)])
hexadecimal = lambda a: [struct.pack("<f", x).hex() for x in a]
out = {
    "reference": f"sentence-transformers {sentence_transformers.__version__}, numpy {np.__version__}",
    "vectors": [hexadecimal(v) for v in vectors],
    "ranges": [hexadecimal(r) for r in ranges],
}
for kind in ("int8", "uint8"):
    out[kind] = quantize_embeddings(vectors, precision=kind, ranges=ranges).tolist()
    out[f"{kind} of itself"] = quantize_embeddings(vectors, precision=kind, calibration_embeddings=vectors).tolist()
for kind in ("binary", "ubinary"):
    out[kind] = quantize_embeddings(vectors, precision=kind).tolist()
print(json.dumps(out))
