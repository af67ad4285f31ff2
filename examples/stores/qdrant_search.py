#!/usr/bin/env python3
"""Vectors of `taskvec embed` in Qdrant.

    pip install qdrant-client pyarrow
    python examples/stores/qdrant_search.py faq.parquet "how do I get a new password?"
"""

import sys

import numpy
import pyarrow.parquet
from qdrant_client import QdrantClient, models
from query import query_vector


def search(vectors, query, client=None, top=3, taskvec="taskvec"):
    client = client or QdrantClient(":memory:")  # or QdrantClient("http://localhost:6333")
    size = pyarrow.parquet.read_schema(vectors).field("embedding").type.list_size
    # Vectors have unit length where the model's have: then the product is the cosine.
    client.create_collection("texts", vectors_config=models.VectorParams(size=size, distance=models.Distance.DOT))
    for rows in pyarrow.parquet.ParquetFile(vectors).iter_batches(1024):
        embeddings = numpy.asarray(rows["embedding"].flatten()).reshape(-1, size)
        others = rows.drop_columns(["embedding"]).to_pylist()
        client.upload_collection("texts", vectors=embeddings, payload=others, ids=rows["index"].to_pylist())
    return client.query_points("texts", query=query_vector(vectors, query, taskvec), limit=top).points


if __name__ == "__main__":
    for hit in search(*sys.argv[1:3]):
        print(f"{hit.score:.4f}", hit.payload)
