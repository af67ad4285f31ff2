#!/usr/bin/env python3
"""Vectors of `taskvec embed` in LanceDB, which indexes more of them than an exact search is for.

    pip install lancedb pyarrow
    python examples/stores/lancedb_search.py faq.parquet "how do I get a new password?"
"""

import sys

import lancedb
import pyarrow.dataset
from query import query_vector


def search(vectors, query, folder="vectors.lance", top=3, taskvec="taskvec"):
    # The file is read batch by batch; its column of vectors is what LanceDB takes as vectors.
    rows = pyarrow.dataset.dataset(vectors).scanner().to_reader()
    table = lancedb.connect(folder).create_table("texts", rows, mode="overwrite")
    # From some hundred thousand rows on: table.create_index(metric="dot", vector_column_name="embedding")
    found = table.search(query_vector(vectors, query, taskvec), vector_column_name="embedding")
    return found.distance_type("dot").limit(top).to_list()


if __name__ == "__main__":
    for hit in search(*sys.argv[1:3]):
        print(f"{1 - hit['_distance']:.4f}", {key: hit[key] for key in hit if key not in ("embedding", "_distance")})
