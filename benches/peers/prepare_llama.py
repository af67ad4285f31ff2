"""Makes what llama.cpp reads of a model: prepare_llama.py MODEL FOLDER

MODEL/gguf becomes f32, bf16 and int8 (q8_0). Installs llama.cpp's Python package if it is not there (which
builds it, for minutes), and fetches its source to FOLDER: the converter is in it.
"""

import importlib.util
import pathlib
import subprocess
import sys
import tarfile

VERSION = "0.3.36"


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def main():
    model, folder = map(pathlib.Path, sys.argv[1:3])
    if not importlib.util.find_spec("llama_cpp"):
        pip("install", "-q", f"llama-cpp-python=={VERSION}", "gguf")
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"llama_cpp_python-{VERSION}.tar.gz"
    if not archive.exists():
        # Of this package only: what it is built with need not be built as well.
        source = ("--no-deps", "--no-binary", "llama-cpp-python")
        pip("download", "-q", *source, "-d", folder, f"llama-cpp-python=={VERSION}")
    with tarfile.open(archive) as source:
        parts = ("/vendor/llama.cpp/convert_hf_to_gguf.py", "/vendor/llama.cpp/conversion/", "/vendor/llama.cpp/gguf-py/")
        source.extractall(folder, [m for m in source.getmembers() if any(part in m.name for part in parts)])
    converter = next(folder.glob("*/vendor/llama.cpp/convert_hf_to_gguf.py"))
    (model / "gguf").mkdir(exist_ok=True)
    for name, kind in [("f32", "f32"), ("bf16", "bf16"), ("int8", "q8_0")]:
        out = model / "gguf" / f"{name}.gguf"
        subprocess.run(
            [sys.executable, converter, model, "--outtype", kind, "--outfile", out],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )


main()
