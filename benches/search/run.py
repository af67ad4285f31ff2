#!/usr/bin/env python3
"""Exact search over stored vectors, beside NumPy and FAISS's flat index, in one run.

    python3 benches/search/run.py --taskvec BINARY [--rows 200000] [--rounds 5] [--threads N] [--json FILE]

Needs numpy, pyarrow and faiss-cpu. The vectors are random and of unit length. `taskvec search` reads them from the file that
it maps, in the page cache; the others have them in memory. Each is timed inside its program, and they take turns.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taskvec", required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    options = arguments()
    for variable in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
        os.environ[variable] = str(options.threads)
    import faiss
    import numpy
    import pyarrow
    import pyarrow.parquet

    faiss.omp_set_num_threads(options.threads)
    taskvec = str(pathlib.Path(options.taskvec).resolve())
    folder = tempfile.TemporaryDirectory()
    os.chdir(folder.name)

    def run(*words):
        done = subprocess.run([taskvec, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # What the command itself says of its vectors is taken over, so that it searches these.
    pathlib.Path("one.txt").write_text("one\n")
    run("embed", "--device", "cpu", "--input", "one.txt", "--output", "one.parquet")
    metadata = pyarrow.parquet.read_schema("one.parquet").metadata
    dimensions = 384
    random = numpy.random.default_rng(1)
    vectors = random.standard_normal((options.rows, dimensions), dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)

    def write(name, values, kind):
        about = json.loads(metadata[b"taskvec"]) | {"type": kind}
        flat = pyarrow.array(values.reshape(-1))
        column = pyarrow.FixedSizeListArray.from_arrays(flat, type=pyarrow.list_(pyarrow.field("item", flat.type, False), values.shape[1]))
        fields = [pyarrow.field("index", pyarrow.int64(), False), pyarrow.field("embedding", column.type, False)]
        schema = pyarrow.schema(fields, {"taskvec": json.dumps(about)})
        table = pyarrow.Table.from_arrays([pyarrow.array(range(len(values))), column], schema=schema)
        if name.endswith(".parquet"):
            pyarrow.parquet.write_table(
                table, name, row_group_size=8192, use_dictionary=False, compression="none", store_schema=True
            )
        else:
            with pyarrow.ipc.new_file(name, schema) as file:
                file.write_table(table, max_chunksize=8192)

    halves = vectors.astype(numpy.float16)
    bits = numpy.packbits(vectors > 0, axis=1)
    write("f32.parquet", vectors, "f32")
    write("f32.arrow", vectors, "f32")
    write("f16.arrow", halves, "f16")
    write("ubinary.arrow", bits, "ubinary")
    words = ["tea", "leaves", "hill", "cat", "day", "night", "water", "stone", "river", "bird", "house"]
    texts = [" ".join(words[i // 11**k % 11] for k in range(3)) for i in range(64)]
    pathlib.Path("queries.txt").write_text("\n".join(texts) + "\n")
    run("embed", "--device", "cpu", "--input", "queries.txt", "--output", "queries.npy")
    queries = numpy.load("queries.npy")

    # The same rows, best first.
    exact = {"f32": queries @ vectors.T, "f16": queries @ halves.astype(numpy.float32).T}
    for name in ["f32.parquet", "f32.arrow", "f16.arrow"]:
        lines = run("search", "--queries", "queries.txt", "--device", "cpu", "--in", name, "--jsonl").splitlines()
        hits = [json.loads(line) for line in lines]
        for query in range(len(texts)):
            scores = exact[name[:3]][query]
            best = numpy.argsort(-scores, kind="stable")[:10]
            found = [hit["row"] for hit in hits if hit["query_index"] == query]
            assert len(found) == 10 and numpy.abs(scores[found] - scores[best]).max() < 1e-6, (name, query)

    bandwidths = []

    def of_command(file, count):
        """The median seconds of searches with so many queries at once, by the command's own clock."""
        run("bench", "search", "--in", file, "--queries", str(count), "--seconds", "0.3", "--json", "search.json")
        [measured] = json.loads(pathlib.Path("search.json").read_text())["seconds"]
        bandwidths.append(measured["memory"])
        return measured["p50"]

    def timed(search):
        search()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            search()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    flat = faiss.IndexFlatIP(dimensions)
    flat.add(vectors)
    binary = faiss.IndexBinaryFlat(dimensions)
    binary.add(bits)
    bits_of_queries = numpy.packbits(queries > 0, axis=1)

    def by_numpy(count):
        scores = queries[:count] @ vectors.T
        return numpy.argpartition(-scores, 10, axis=1)[:, :10]

    sizes = {"f32.parquet": vectors.nbytes, "f32.arrow": vectors.nbytes, "f16.arrow": halves.nbytes, "ubinary.arrow": bits.nbytes}
    programs = {f"taskvec {file}": (lambda count, file=file: of_command(file, count)) for file in sizes}
    programs["numpy f32"] = lambda count: timed(lambda: by_numpy(count))
    programs["faiss IndexFlatIP"] = lambda count: timed(lambda: flat.search(queries[:count], 10))
    programs["faiss IndexBinaryFlat"] = lambda count: timed(lambda: binary.search(bits_of_queries[:count], 80))
    bytes_of = {f"taskvec {file}": size for file, size in sizes.items()}
    bytes_of |= {"numpy f32": vectors.nbytes, "faiss IndexFlatIP": vectors.nbytes, "faiss IndexBinaryFlat": bits.nbytes}

    seconds = {name: {1: [], 64: []} for name in programs}
    for _ in range(options.rounds):
        for name, search in programs.items():
            for count in seconds[name]:
                seconds[name][count].append(search(count))
    bandwidth = statistics.median(bandwidths)
    print(f"{cpu()}, {options.threads} threads, {options.rows} vectors of {dimensions}; memory is read at {bandwidth / 1e9:.1f} GB/s")
    report = {"cpu": cpu(), "threads": options.threads, "rows": options.rows, "bandwidth": bandwidth, "seconds": {}}
    for name, by_count in seconds.items():
        medians = {count: statistics.median(times) for count, times in by_count.items()}
        report["seconds"][name] = by_count
        rate = bytes_of[name] / medians[1]
        print(
            f"{name:24} one query {medians[1] * 1e3:8.2f} ms, {rate / 1e9:6.1f} GB/s, {rate / bandwidth:5.0%} of memory; "
            f"64 queries {64 / medians[64]:8.0f} queries/s"
        )
    if options.json:
        options.json.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
