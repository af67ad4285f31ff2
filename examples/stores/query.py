"""The vector of a query for a file of vectors that `taskvec embed` wrote: the same model, and the task that goes with the file's."""

import json
import pathlib
import subprocess
import tempfile

import pyarrow.parquet

# What a query is for, by what the stored texts are for; other tasks are symmetric.
TASK_OF_QUERIES = {"retrieval-document": "retrieval-query"}


def query_vector(vectors, query, taskvec="taskvec"):
    about = json.loads(pyarrow.parquet.read_schema(vectors).metadata[b"taskvec"])
    options = ["--precision", about["precision"], "--dimensions", str(about["dimensions"])]
    if not about["model"].startswith("<"):  # the built-in model goes without a name
        options += ["--model", about["model"]]
    if about["task"]:
        options += ["--task", TASK_OF_QUERIES.get(about["task"], about["task"])]
    with tempfile.TemporaryDirectory() as folder:
        file = str(pathlib.Path(folder) / "query.jsonl")
        subprocess.run([taskvec, "embed", query, "--device", "cpu", "--output", file, *options], check=True)
        # An error if vectors of these two may not be compared.
        subprocess.run([taskvec, "verify", vectors, file], check=True, stdout=subprocess.DEVNULL)
        return json.loads(pathlib.Path(file).read_text())["embedding"]
