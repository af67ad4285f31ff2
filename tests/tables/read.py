#!/usr/bin/env python3
"""Open what `taskvec embed` writes with DuckDB, Polars, pandas, pyarrow, NumPy and Daft, search it beside NumPy, and run the
examples of stores, LanceDB and Qdrant, on it.

    python3 tests/tables/read.py TASKVEC

TASKVEC is the command's binary. The packages come from the Python registry, into a virtual environment in the user's cache.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

PACKAGES = ["duckdb", "polars", "pandas", "pyarrow", "numpy", "daft", "lancedb", "qdrant-client"]

STORES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "stores"


def with_packages():
    """Starts this script again where the packages are."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = pathlib.Path(home) / "taskvec-test-tables"
    python = folder / "bin" / "python"
    ready = folder / ("ready " + " ".join(PACKAGES))
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.touch()
    os.execv(python, [str(python), *sys.argv, "--ready"])


def main():
    import daft
    import duckdb
    import numpy
    import pandas
    import polars
    import pyarrow.feather
    import pyarrow.parquet

    taskvec = str(pathlib.Path(sys.argv[1]).resolve())
    folder = tempfile.TemporaryDirectory()
    os.chdir(folder.name)

    def run(*arguments):
        done = subprocess.run([taskvec, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ["tea", "leaves", "hill", "cat", "day", "night", "water", "stone", "river", "bird", "house"]
    count = 12_000
    table = pyarrow.table(
        {
            "id": [f"{i:06}" for i in range(count)],
            "text": [" ".join(words[i // 11**k % 11] for k in range(4)) for i in range(count)],
            "year": pyarrow.array([None if i % 7 == 0 else 1900 + i % 100 for i in range(count)], pyarrow.int16()),
            "tags": [[words[i % 11]] * (i % 3) for i in range(count)],
            "day": pyarrow.array(range(count), pyarrow.date32()),
        }
    )
    pyarrow.parquet.write_table(table, "in.parquet")
    job = ["embed", "--device", "cpu", "--precision", "int8", "--input", "in.parquet", "--text", "text", "--keep", "all"]
    for output in ["v.parquet", "v.arrow", "v.npy"]:
        run(*job, "--output", output)
    vectors = numpy.load("v.npy")
    assert vectors.shape == (count, 384) and vectors.dtype == numpy.float32

    of_pyarrow = pyarrow.parquet.read_table("v.parquet")
    assert of_pyarrow.schema.field("embedding").type == pyarrow.list_(pyarrow.field("item", pyarrow.float32(), False), 384)
    for name in table.column_names:
        # Text may come back as large text.
        assert of_pyarrow[name].cast(table.schema.field(name).type).equals(table[name]), name
    assert json.loads(of_pyarrow.schema.metadata[b"taskvec"])["dimensions"] == 384
    of_feather = pyarrow.feather.read_table("v.arrow")
    assert of_feather["embedding"].combine_chunks().equals(of_pyarrow["embedding"].combine_chunks())

    of_polars = polars.read_parquet("v.parquet")
    assert of_polars.schema["embedding"] == polars.Array(polars.Float32, 384), of_polars.schema
    assert (of_polars["embedding"].to_numpy() == vectors).all()

    of_pandas = pandas.read_parquet("v.parquet")
    assert (numpy.stack(of_pandas["embedding"]) == vectors).all()

    of_daft = daft.read_parquet("v.parquet")
    assert of_daft.schema()["embedding"].dtype.is_fixed_size_list(), of_daft.schema()
    assert (numpy.array(of_daft.select("embedding").to_pydict()["embedding"], numpy.float32) == vectors).all()

    query = "the cat by the river"
    hits = [json.loads(line) for line in run("search", query, "--device", "cpu", "--in", "v.parquet", "--jsonl").splitlines()]
    of_query = json.loads(run("embed", query, "--device", "cpu", "--precision", "int8", "--format", "jsonl"))["embedding"]
    of_query = numpy.array(of_query, dtype=numpy.float32)
    exact = vectors @ of_query
    best = numpy.sort(exact)[::-1][:10]
    assert numpy.abs(numpy.array([hit["score"] for hit in hits]) - best).max() < 1e-6
    assert numpy.abs(exact[[hit["row"] for hit in hits]] - best).max() < 1e-6
    assert hits[0]["columns"]["id"] == table["id"][hits[0]["row"]].as_py()

    connection = duckdb.connect()
    connection.execute("create table v as select * replace (embedding::float[384] as embedding) from 'v.parquet'")
    found = connection.execute(
        "select index, array_inner_product(embedding, $1::float[384]) as score from v order by score desc limit 10",
        [of_query.tolist()],
    ).fetchall()
    assert numpy.abs(numpy.array([score for _, score in found]) - best).max() < 1e-6, found

    sys.path.insert(0, str(STORES))
    import lancedb_search
    import qdrant_search

    in_lance = lancedb_search.search("v.parquet", query, top=10, taskvec=taskvec)
    assert numpy.abs(numpy.array([1 - hit["_distance"] for hit in in_lance]) - best).max() < 1e-6, in_lance
    assert numpy.abs(exact[[hit["index"] for hit in in_lance]] - best).max() < 1e-6
    assert in_lance[0]["text"] == table["text"][in_lance[0]["index"]].as_py()
    in_qdrant = qdrant_search.search("v.parquet", query, top=10, taskvec=taskvec)
    assert numpy.abs(numpy.array([hit.score for hit in in_qdrant]) - best).max() < 1e-6, in_qdrant
    assert numpy.abs(exact[[hit.id for hit in in_qdrant]] - best).max() < 1e-6
    assert in_qdrant[0].payload["text"] == table["text"][in_qdrant[0].id].as_py()

    for kind, width, dtype in [("f16", 384, "float16"), ("int8", 384, "int8"), ("ubinary", 48, "uint8")]:
        more = ["--calibrate", "in.parquet"] if kind == "int8" else []
        run(*job[:-2], "--type", kind, *more, "--output", f"{kind}.parquet")
        run(*job[:-2], "--type", kind, *more, "--output", f"{kind}.npy")
        of_kind = polars.read_parquet(f"{kind}.parquet")["embedding"].to_numpy()
        assert of_kind.shape == (count, width) and of_kind.dtype == dtype, (kind, of_kind.dtype)
        assert (of_kind == numpy.load(f"{kind}.npy")).all(), kind
    print("duckdb", duckdb.__version__, "polars", polars.__version__, "pandas", pandas.__version__, "pyarrow", pyarrow.__version__)


if __name__ == "__main__":
    if "--ready" in sys.argv:
        main()
    else:
        with_packages()
