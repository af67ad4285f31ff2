#!/usr/bin/env python3
"""Compare taskvec with sentence-transformers (PyTorch, f32, CPU) on the built-in model.

    cargo build --release
    python -m venv .venv && .venv/bin/pip install torch sentence-transformers
    .venv/bin/python benches/compare.py --texts FILE    # one text a line

Whole processes, run in turn, medians: from start to the first vector of one text, and from start
to the vectors of all lines of FILE in an .npy file. What sentence-transformers needs for encoding
alone, without imports and loading, is given too. The largest difference between the two sets of
vectors shows that both did the same work.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
QUERY = "How do transformers work?"

# What the peer runs, as a process of its own: texts, .npy file, threads.
PEER = """
import json, sys, time
import numpy, torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(int(sys.argv[4]))
texts = open(sys.argv[2], encoding="utf-8").read().splitlines()
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": torch.float32})
start = time.perf_counter()
vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
print(json.dumps({"encode": time.perf_counter() - start}))
numpy.save(sys.argv[3], vectors)
"""


def wall(command):
    start = time.perf_counter()
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return time.perf_counter() - start, result.stdout


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--taskvec", type=pathlib.Path, default=ROOT / "target" / "release" / "taskvec")
    arguments = parser.parse_args()

    import numpy
    import sentence_transformers
    import torch

    folder = pathlib.Path(tempfile.mkdtemp())
    one = folder / "one.txt"
    one.write_text(QUERY + "\n")
    rows = {}
    for name, texts in [("first vector", one), ("all texts", arguments.texts.resolve())]:
        ours, theirs = folder / "ours.npy", folder / "theirs.npy"
        threads = str(arguments.threads)
        taskvec = [arguments.taskvec, "embed", "--device", "cpu", "--threads", threads, "--input", texts, "--format", "npy", "--output", ours]
        peer = [sys.executable, "-c", PEER, MODEL, texts, theirs, threads]
        rounded = folder / "rounded.npy"
        bf16 = [*taskvec[:-1], rounded, "--precision", "bf16"]
        times = {"taskvec": [], "taskvec, bf16": [], "sentence-transformers": [], "sentence-transformers, encoding alone": []}
        for _ in range(arguments.runs):
            times["taskvec"].append(wall(taskvec)[0])
            times["taskvec, bf16"].append(wall(bf16)[0])
            seconds, printed = wall(peer)
            times["sentence-transformers"].append(seconds)
            times["sentence-transformers, encoding alone"].append(json.loads(printed.splitlines()[-1])["encode"])
        difference = float(numpy.abs(numpy.load(ours) - numpy.load(theirs)).max())
        cosine = float((numpy.load(rounded) * numpy.load(theirs)).sum(axis=1).min())
        rows[name] = {"seconds": times, "largest difference": difference, "smallest cosine in bf16": cosine}
        medians = {key: statistics.median(values) for key, values in times.items()}
        print(f"{name}: largest difference {difference:.1e}, smallest cosine in bf16 {cosine:.5f}")
        for key, value in medians.items():
            print(f"  {key:40} {value:8.3f} s   {value / medians['taskvec']:6.1f} x")

    report = {
        "command": "benches/compare.py --texts FILE --runs %d --threads %d" % (arguments.runs, arguments.threads),
        "machine": f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()}",
        "texts": len(arguments.texts.read_text(encoding="utf-8").splitlines()),
        "versions": {
            "taskvec": subprocess.run([arguments.taskvec, "--version"], capture_output=True, text=True).stdout.strip(),
            "sentence-transformers": sentence_transformers.__version__,
            "torch": torch.__version__,
        },
        "results": rows,
    }
    path = ROOT / "benches" / "results" / "compare.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
