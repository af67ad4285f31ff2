#!/usr/bin/env python3
"""Build the wheel, and test it in a virtual environment of its own: first with numpy alone, then with what it works with.

    python3 bindings/python/build.py [--profile release]

The profile is one of cargo's. Packages come from the Python registry. The wheel is in target/python/wheels.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
# The workspace's own, so that dependencies are compiled once.
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
WHEELS = TARGET / "python" / "wheels"
WORKS_WITH = ["pytest", "scipy", "pyarrow", "pandas", "polars", "tqdm"]
# Frameworks change their interfaces: these are the versions that it is known to work with.
FRAMEWORKS = [
    "langchain-core==1.8.3",
    "llama-index-core==0.14.25",
    "chromadb==1.5.9",
    "haystack-ai==3.4.1",
    "daft==0.7.26",
    "ray[data]==2.60.0",
]

# What must work where nothing but numpy is installed: vectors, a pickle, and a start that is fast.
ALONE = """
import time
import numpy
start = time.perf_counter()
import taskvec
taken = time.perf_counter() - start
embedder = taskvec.Embedder(device="cpu")
vectors = embedder.encode(["one", "two"])
assert vectors.shape == (2, 384) and numpy.isfinite(vectors).all()
print(f"taskvec {taskvec.__version__} is imported in {1000 * taken:.1f} ms")
"""


def environment(folder):
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(*words, **more):
        subprocess.run([str(python), *map(str, words)], check=True, **more)

    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", default="release")
    profile = parser.parse_args().profile
    WHEELS.mkdir(parents=True, exist_ok=True)
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        builder = environment(folder / "builder")
        builder("-m", "pip", "install", "--quiet", "maturin>=1.9,<2")
        cargo = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
        builder("-m", "maturin", "build", "--profile", profile, "--locked", "--out", WHEELS, cwd=HERE, env=cargo)
        (wheel,) = WHEELS.glob("*.whl")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        user = environment(folder / "user")
        user("-m", "pip", "install", "--quiet", wheel)
        user("-c", ALONE)
        user("-m", "pip", "install", "--quiet", *WORKS_WITH, *FRAMEWORKS)
        user("-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "tests", cwd=folder, timeout=900)


if __name__ == "__main__":
    sys.exit(main())
