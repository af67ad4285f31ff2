#!/usr/bin/env python3
"""`Embedder.encode` beside the command on the same texts, in turns: the engine is the same, so what Python adds is seen.

    python3 bindings/python/bench.py --taskvec BINARY --texts FILE [--precision f32] [--rounds 3] [--json FILE]

`taskvec bench model --texts` has the texts in memory too, and counts neither its start nor its output. With --daft, Daft reads the
texts from Parquet and writes their vectors to it, beside `taskvec embed` doing the same; nothing else then. With --workers, one and two
worker processes of a thread each share the texts, and what four of them hold in memory is looked at. With --peers, the built-in model's
files are run by sentence-transformers and fastembed too, and model2vec runs a static model that is made of its word table: these
have to be installed.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import taskvec


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taskvec", required=True)
    parser.add_argument("--texts", required=True, type=pathlib.Path)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--daft", action="store_true")
    parser.add_argument("--workers", action="store_true")
    parser.add_argument("--peers", type=pathlib.Path, metavar="FOLDER", help="of all-MiniLM-L6-v2, with onnx/model.onnx for fastembed")
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def cpu():
    lines = open("/proc/cpuinfo") if os.path.exists("/proc/cpuinfo") else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def worker(texts, precision, ready, go, done):
    """A process that embeds its share when all are ready, on a thread of its own."""
    embedder = taskvec.Embedder(device="cpu", precision=precision, threads=1)
    embedder.encode(texts[:64])
    ready.release()
    go.acquire()
    embedder.encode(texts)
    done.release()
    go.acquire()  # stays until it has been looked at


def workers(count, texts, precision):
    """Seconds that so many processes take for the texts, and the bytes that each holds alone."""
    context = multiprocessing.get_context("spawn")
    ready, go, done = context.Semaphore(0), context.Semaphore(0), context.Semaphore(0)
    shares = [texts[i::count] for i in range(count)]
    processes = [context.Process(target=worker, args=(share, precision, ready, go, done)) for share in shares]
    [process.start() for process in processes]
    [ready.acquire() for _ in processes]
    start = time.perf_counter()
    [go.release() for _ in processes]
    [done.acquire() for _ in processes]
    taken = time.perf_counter() - start
    memory = [{key: memory_of(process.pid, key) for key in ["Rss", "Pss", "Private_Clean", "Private_Dirty"]} for process in processes]
    [go.release() for _ in processes]
    [process.join() for process in processes]
    return taken, memory


def memory_of(process, key):
    lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) << 10


def peers(folder, threads):
    """What embeds a list of texts, by name."""
    import fastembed
    import model2vec
    import sentence_transformers
    import torch
    from fastembed.common.model_description import ModelSource, PoolingType

    torch.set_num_threads(threads)
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    fastembed.TextEmbedding.add_custom_model(
        model="local/all-MiniLM-L6-v2", pooling=PoolingType.MEAN, normalization=True, dim=384,
        sources=ModelSource(hf="local/all-MiniLM-L6-v2"), model_file="onnx/model.onnx",
    )
    onnx = fastembed.TextEmbedding("local/all-MiniLM-L6-v2", specific_model_path=str(folder), threads=threads)
    words = reference[0].auto_model.embeddings.word_embeddings.weight.detach().numpy()
    static = model2vec.StaticModel(vectors=words, tokenizer=reference.tokenizer.backend_tokenizer)
    return {
        "sentence-transformers": lambda texts: reference.encode(texts, batch_size=32),
        "fastembed": lambda texts: list(onnx.embed(texts, batch_size=32)),
        "model2vec, another model: static": lambda texts: static.encode(texts),
    }


def main():
    options = arguments()
    if options.workers:
        return several(options)
    if options.peers:
        return beside(options)
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

        contestants = {"Daft, Parquet to Parquet": with_daft, "taskvec embed, the same": job}
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
    }
    if not options.daft:
        result["encode_beside_command"] = medians["taskvec bench model"] / medians["Embedder.encode"]
    else:
        result["daft_beside_command"] = medians["taskvec embed, the same"] / medians["Daft, Parquet to Parquet"]
    print({key: round(value, 4) for key, value in result.items() if key.endswith("command")})
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


def several(options):
    texts = options.texts.read_text(encoding="utf-8").splitlines()
    rounds = [[workers(count, texts, options.precision)[0] for count in (1, 2)] for _ in range(options.rounds)]
    ratios = [one / two for one, two in rounds]
    _, memory = workers(4, texts[:256], options.precision)
    report(options, {
        "seconds_of_1_and_2_workers": rounds, "speed_of_2_beside_1": statistics.median(ratios),
        "bytes_of_each_of_4_workers": memory,
    })


def beside(options):
    texts = options.texts.read_text(encoding="utf-8").splitlines()
    threads = os.cpu_count()
    of_taskvec = {p: taskvec.Embedder(options.peers, device="cpu", precision=p, threads=threads) for p in ["f32", "int8"]}
    contestants = {f"taskvec {p}": embedder.encode for p, embedder in of_taskvec.items()} | peers(options.peers, threads)
    first = {name: numpy.array(encode(texts[:64])) for name, encode in contestants.items()}
    seconds = {name: [] for name in contestants}
    for turn in range(options.rounds):
        for name in list(contestants)[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            contestants[name](texts)
            seconds[name].append(time.perf_counter() - start)
    fastest = statistics.median(seconds["taskvec f32"])
    for name, times in seconds.items():
        away = numpy.abs(first[name] - first["taskvec f32"]).max()
        print(f"{name:34} {len(texts) / statistics.median(times):8.0f} texts/s, {fastest / statistics.median(times):6.3f} of taskvec f32, {away:.1e} away")
    report(options, {"seconds": seconds})


def report(options, found):
    lines = len(options.texts.read_text(encoding="utf-8").splitlines())
    result = {"cpu": cpu(), "threads": os.cpu_count(), "texts": lines, "precision": options.precision, "version": taskvec.__version__, **found}
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
