#!/usr/bin/env python3
"""taskvec on a GPU beside what PyTorch reaches on it: benches/gpu/run.py --texts FILE

Needs a machine with an NVIDIA GPU, its driver with Vulkan (and libvulkan1), and Python with torch,
transformers and sentence-transformers (--python names another interpreter; benches/peers/requirements.txt
lists the packages). With cargo there, it builds taskvec and runs the tests that need a GPU on it first;
without, give a binary built elsewhere with --binary.

In turn, round after round, and medians of them:
  products of BERT-base's layers in f16 at 4,096 rows   taskvec bench kernels      torch.matmul (cuBLAS)
  attention of 32 texts of 128 tokens in f16            taskvec bench kernels      scaled_dot_product_attention
  a ragged corpus through MiniLM-L6 and through models  taskvec bench model        sentence-transformers
  of BERT-base's and Qwen3-0.6B's shape, and one query
  of 16 tokens
All from texts to vectors, tokenisation included, where models run. Writes benches/results/gpu.json and a
table.
"""

import argparse
import json
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MINILM = ROOT / "models" / "all-MiniLM-L6-v2"
# BERT-base's layers: outputs and inputs.
PRODUCTS = {
    "query_key_value": (2304, 768), "hidden": (768, 768), "intermediate": (3072, 768), "down": (768, 3072),
}
ROWS, LENGTH, HEADS, HEAD_DIM = 4096, 128, 12, 64


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], check=True, **options)


def output(*arguments):
    return run(*arguments, capture_output=True, text=True).stdout.strip()


def kernels_of_torch(rounds):
    """Median seconds of PyTorch's kernels, by the device's clock."""
    import torch

    def seconds(call):
        call()
        torch.cuda.synchronize()
        all_seconds = []
        for _ in range(rounds):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(32):
                call()
            end.record()
            torch.cuda.synchronize()
            all_seconds.append(start.elapsed_time(end) / 32e3)
        return statistics.median(all_seconds)

    random = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.float16)
    found = {}
    for name, (outputs, inputs) in PRODUCTS.items():
        x, w = random(ROWS, inputs), random(outputs, inputs)
        found[f"product {name}"] = seconds(lambda: torch.nn.functional.linear(x, w))
    q, k, v = (random(ROWS // LENGTH, HEADS, LENGTH, HEAD_DIM) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention
    found["attention"] = seconds(lambda: attention(q, k, v))
    return {"torch": torch.__version__, "device": torch.cuda.get_device_name(), "seconds": found}


def model_of_torch(folder, texts, rounds):
    """Median seconds of sentence-transformers in f16, with batches of the best of some sizes."""
    import time

    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cuda", model_kwargs={"dtype": torch.float16})
    texts = pathlib.Path(texts).read_text(encoding="utf-8").splitlines()

    def seconds(batch):
        torch.cuda.synchronize()
        start = time.perf_counter()
        model.encode(texts, batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
        return time.perf_counter() - start

    sizes = [1] if len(texts) == 1 else [32, 64, 128, 256, 512]
    best = min(sizes, key=lambda batch: min(seconds(batch) for _ in range(2)))
    times = [seconds(best) for _ in range(rounds * (20 if len(texts) == 1 else 1))]
    return {"seconds": statistics.median(times), "batch": best}


def of_torch(python, *arguments):
    """One of the functions above, in a process of its own that gives the GPU back."""
    return json.loads(output(python, __file__, "--worker", *arguments).splitlines()[-1])


def kernels_of_taskvec(binary, adapter, bert, folder):
    path = folder / "kernels.json"
    run(
        binary, "bench", "kernels", "--device", "gpu", *adapter, "--model", bert, "--precision", "f16",
        "--rows", ROWS, "--json", path, stdout=subprocess.DEVNULL,
    )
    report = json.loads(path.read_text())
    found = {}
    for kernel in report["runs"][0]["kernels"]:
        for name, (outputs, inputs) in PRODUCTS.items():
            if kernel["name"].startswith("product") and kernel["name"].endswith(f"{ROWS}x{outputs}x{inputs}"):
                found[f"product {name}"] = kernel["seconds"]
        if kernel["name"].startswith("attention"):
            found["attention"] = kernel["seconds"]
    return report, found


def model_of_taskvec(binary, adapter, model, texts, folder):
    path = folder / "model.json"
    run(
        binary, "bench", "model", "--device", "gpu", *adapter, "--model", model, "--precision", "f16",
        "--texts", texts, "--json", path, stdout=subprocess.DEVNULL,
    )
    run_of = json.loads(path.read_text())["seconds"][0]
    return run_of["p50"], run_of["device"]


def check_on_gpu():
    """The tests that run on a GPU, where they can be built."""
    if shutil.which("cargo") is None:
        return "not run: there is no cargo here"
    tests = ["--lib", "--test", "fixtures", "--test", "invariance", "--test", "random_models"]
    run("cargo", "test", "--release", "-q", *tests, cwd=ROOT)
    return "passed: " + " ".join(tests)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=pathlib.Path, help="the corpus, one text a line")
    parser.add_argument("--binary", type=pathlib.Path, help="taskvec [default: built here]")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--adapter", help="as taskvec's --adapter [default: the best]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-tests", action="store_true", help="leave the tests on the GPU out")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "benches" / "results" / "gpu.json")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        what, *rest = arguments.worker
        result = kernels_of_torch(int(rest[0])) if what == "kernels" else model_of_torch(*rest[:2], int(rest[2]))
        print(json.dumps(result))
        return
    if arguments.texts is None:
        parser.error("--texts FILE: a corpus, one text a line")
    binary = arguments.binary
    if binary is None:
        run("cargo", "build", "--release", cwd=ROOT)
        binary = ROOT / "target" / "release" / "taskvec"
    adapter = ["--adapter", arguments.adapter] if arguments.adapter else []
    report = {
        "command": "benches/gpu/run.py",
        "machine": {"cpu": platform.processor() or platform.machine(), "devices": output(binary, "devices")},
        "tests": "left out" if arguments.no_tests else check_on_gpu(),
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(arguments.python, ROOT / "benches" / "shapes.py", folder)
        query = folder / "query.txt"
        query.write_text("how do transformers work when a short question has some sixteen tokens\n")
        compare_kernels(report, arguments, binary, adapter, folder)
        models = {"MiniLM-L6": MINILM, "BERT-base": folder / "bert-base", "Qwen3-0.6B": folder / "qwen3-0.6b"}
        works = [(name, path, "corpus", arguments.texts) for name, path in models.items()]
        works += [(name, path, "query", query) for name, path in models.items()]
        report["models"] = [
            compare_model(*work, arguments, binary, adapter, folder) for work in works
        ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report)


def compare_kernels(report, arguments, binary, adapter, folder):
    ours, theirs = {}, {}
    for _ in range(arguments.rounds):
        measured, found = kernels_of_taskvec(binary, adapter, folder / "bert-base", folder)
        torch = of_torch(arguments.python, "kernels", arguments.rounds)
        for name in torch["seconds"]:
            ours.setdefault(name, []).append(found[name])
            theirs.setdefault(name, []).append(torch["seconds"][name])
    report["taskvec"] = {"version": measured["taskvec"], "device": measured["device"], "peaks": measured["peaks"]}
    report["torch"] = {"version": torch["torch"], "device": torch["device"]}
    report["kernels"] = [
        {
            "name": name, "taskvec": statistics.median(ours[name]), "torch": statistics.median(theirs[name]),
            "rounds": {"taskvec": ours[name], "torch": theirs[name]},
        }
        for name in ours
    ]


def compare_model(name, model, work, texts, arguments, binary, adapter, folder):
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        seconds, device = model_of_taskvec(binary, adapter, model, texts, folder)
        ours.append(seconds)
        torch = of_torch(arguments.python, "model", model, texts, arguments.rounds)
        theirs.append(torch["seconds"])
    return {
        "model": name, "work": work, "device": device, "batch_of_torch": torch["batch"],
        "taskvec": statistics.median(ours), "torch": statistics.median(theirs),
        "rounds": {"taskvec": ours, "torch": theirs},
    }


def print_table(report):
    print(f"\n{report['taskvec']['device']} and PyTorch {report['torch']['version']} on {report['torch']['device']}")
    print(f"tests on the GPU: {report['tests']}\n")
    print(f"{'':36} {'taskvec, ms':>12} {'PyTorch, ms':>12} {'PyTorch / taskvec':>18}")
    rows = [(kernel["name"], kernel) for kernel in report["kernels"]]
    rows += [(f"{model['model']}, {model['work']}", model) for model in report["models"]]
    for name, row in rows:
        print(f"{name:36} {row['taskvec'] * 1e3:12.3f} {row['torch'] * 1e3:12.3f} {row['torch'] / row['taskvec']:18.2f}")


if __name__ == "__main__":
    main()
