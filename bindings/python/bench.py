#!/usr/bin/env python3
"""`Embedder.encode` beside the command on the same texts, in turns: the engine is the same, so what Python adds is seen.

    python3 bindings/python/bench.py --taskvec BINARY --texts FILE [--precision f32] [--rounds 3] [--json FILE]

`taskvec bench model --texts` has the texts in memory too, and counts neither its start nor its output. With --daft, Daft reads the
texts from Parquet and writes their vectors to it, beside `taskvec embed` doing the same.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import taskvec


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taskvec", required=True)
    parser.add_argument("--texts", required=True, type=pathlib.Path)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--daft", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def cpu():
    lines = open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main():
    options = arguments()
    texts = options.texts.read_text(encoding="utf-8").split("\n")
    texts = texts[:-1] if texts[-1] == "" else texts
    binary = str(pathlib.Path(options.taskvec).resolve())
    folder = tempfile.TemporaryDirectory()
    within = pathlib.Path(folder.name)
    model = ["--device", "cpu", "--precision", options.precision]
    embedder = taskvec.Embedder(device="cpu", precision=options.precision)
    embedder.encode(texts[:256])

    def encode():
        start = time.perf_counter()
        embedder.encode(texts)
        return time.perf_counter() - start

    def command():
        file = within / "bench.json"
        words = [binary, "bench", "model", *model, "--texts", options.texts, "--seconds", "0.1", "--json", file]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return json.loads(file.read_text())["seconds"][0]["p50"]

    contestants = {"Embedder.encode": encode, "taskvec bench model": command}
    if options.daft:
        import daft
        import pyarrow
        import pyarrow.parquet
        from daft.functions import embed_text
        from taskvec.integrations.daft import provider

        table = within / "texts.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"id": range(len(texts)), "text": texts}), table)

        def with_daft():
            start = time.perf_counter()
            frame = daft.read_parquet(str(table))
            vector = embed_text(frame["text"], provider=provider(device="cpu", precision=options.precision))
            out = within / f"daft-{time.time_ns()}"
            frame.with_column("embedding", vector).write_parquet(str(out))
            taken = time.perf_counter() - start
            assert daft.read_parquet(str(out)).count_rows() == len(texts)
            return taken

        def job():
            start = time.perf_counter()
            out = within / "job.parquet"
            words = ["--input", table, "--text", "text", "--id", "id", "--output", out, "--progress", "none"]
            subprocess.run([binary, "embed", *model, *words], check=True, stderr=subprocess.DEVNULL)
            return time.perf_counter() - start

        contestants |= {"Daft, Parquet to Parquet": with_daft, "taskvec embed, the same": job}
    seconds = {name: [] for name in contestants}
    for turn in range(options.rounds):
        for name in list(contestants)[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(contestants[name]())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:26} {median:8.2f} s, {len(texts) / median:8.0f} texts/s")
    result = {
        "cpu": cpu(),
        "threads": os.cpu_count(),
        "texts": len(texts),
        "precision": options.precision,
        "version": taskvec.__version__,
        "seconds": seconds,
        "encode_beside_command": medians["taskvec bench model"] / medians["Embedder.encode"],
    }
    if options.daft:
        result["daft_beside_command"] = medians["taskvec embed, the same"] / medians["Daft, Parquet to Parquet"]
    print({key: round(value, 4) for key, value in result.items() if key.endswith("command")})
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
