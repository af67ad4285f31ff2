"""The Python peers: peer.py NAME MODEL PRECISION THREADS, with the protocol of rust/src/lib.rs.

Each is used as its authors say is fastest: texts sorted by length, padded within a batch only.
"""

import os
import statistics
import sys
import time

NAME, MODEL, PRECISION, THREADS = sys.argv[1:4] + [int(sys.argv[4])]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ["RAYON_NUM_THREADS"] = str(THREADS)
BATCH = int(os.environ.get("PEER_BATCH", "32"))

import numpy


def sentence_transformers():
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[PRECISION]
    model = SentenceTransformer(MODEL, device="cpu", model_kwargs={"dtype": dtype})

    def embed(texts):
        vectors = model.encode(texts, batch_size=BATCH, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().numpy()

    return embed


def sorted_batches(run):
    """Tokenises as `tokenizers` does in Rust, and runs batches of texts of like length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(MODEL, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)

    def embed(texts):
        encodings = tokenizer.encode_batch_fast(texts) if len(texts) > 1 else [tokenizer.encode(texts[0])]
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        result = None
        for start in range(0, len(order), BATCH):
            chunk = order[start : start + BATCH]
            width = len(encodings[chunk[-1]].ids)
            ids = numpy.zeros((len(chunk), width), dtype=numpy.int64)
            mask = numpy.zeros_like(ids)
            for row, i in enumerate(chunk):
                tokens = encodings[i].ids
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            vectors = run(ids, mask, numpy.zeros_like(ids))
            if result is None:
                result = numpy.empty((len(texts), vectors.shape[1]), dtype=numpy.float32)
            result[chunk] = vectors
        return result

    return embed


def onnxruntime():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    path = os.path.join(MODEL, "onnx", f"pooled-{PRECISION}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = ["input_ids", "attention_mask", "token_type_ids"]
    return sorted_batches(lambda *arrays: session.run(None, dict(zip(names, arrays)))[0])


def openvino():
    import openvino

    core = openvino.Core()
    precision = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}[PRECISION]
    settings = {
        "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision,
    }
    file = "int8" if PRECISION == "int8" else "f32"
    model = core.compile_model(os.path.join(MODEL, "openvino", f"{file}.xml"), "CPU", settings)
    request = model.create_infer_request()

    def run(ids, mask, types):
        request.infer([ids, mask, types], share_inputs=True)
        return request.get_output_tensor().data

    return sorted_batches(run)


def llama_cpp():
    import llama_cpp

    # A batch of 512 tokens was the fastest of 512 and 2048.
    model = llama_cpp.Llama(
        model_path=os.path.join(MODEL, "gguf", f"{PRECISION}.gguf"), embedding=True, verbose=False,
        n_threads=THREADS, n_threads_batch=THREADS, n_ctx=512, n_batch=512, n_ubatch=512,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    )

    def embed(texts):
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = model.embed([texts[i] for i in order], normalize=True, truncate=True)
        result = numpy.empty((len(texts), len(vectors[0])), dtype=numpy.float32)
        result[order] = vectors
        return result

    return embed


def main():
    start = {
        "sentence-transformers": sentence_transformers, "onnxruntime": onnxruntime, "openvino": openvino,
        "llama.cpp": llama_cpp,
    }
    embed = start[NAME]()
    print("ready", flush=True)
    for line in sys.stdin:
        command, file, *out = line.split()
        texts = open(file, encoding="utf-8").read().splitlines()
        if command == "save":
            numpy.savetxt(out[0], embed(texts), fmt="%.9g")
            print("saved", flush=True)
            continue
        seconds = []
        for _ in range(int(out[0])):
            begin = time.perf_counter()
            embed(texts)
            seconds.append(time.perf_counter() - begin)
        print(statistics.median_high(seconds), flush=True)


main()
