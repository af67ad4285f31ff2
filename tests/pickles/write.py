"""Writes the weights of one tiny model in each way in which torch.save has written them.

python tests/pickles/write.py    (torch 2.15; the random numbers are seeded: only pickles' own details change)

tests/it/pickles.rs opens the model with each of these files, and wants the bits of model.safetensors.
"""

import collections
import json
import pathlib

import safetensors.torch
import torch

HERE = pathlib.Path(__file__).parent
HIDDEN, VOCABULARY, POSITIONS = 8, 475, 64


def weights():
    torch.manual_seed(4)
    shapes = {
        "embeddings.word_embeddings.weight": (VOCABULARY, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    layer = "encoder.layer.0."
    for name, outputs, inputs in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", 2 * HIDDEN, HIDDEN),
        ("output.dense", HIDDEN, 2 * HIDDEN),
    ]:
        shapes[f"{layer}{name}.weight"] = (outputs, inputs)
        shapes[f"{layer}{name}.bias"] = (outputs,)
    for name in ["attention.output.LayerNorm", "output.LayerNorm"]:
        shapes[f"{layer}{name}.weight"] = shapes[f"{layer}{name}.bias"] = (HIDDEN,)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def slices(tensors):
    """All tensors as views into one storage, with a gap before each."""
    gap = 3
    whole = torch.cat([torch.cat([torch.full((gap,), 9.0), tensor.flatten()]) for tensor in tensors.values()])
    start, views = 0, {}
    for name, tensor in tensors.items():
        views[name] = whole[start + gap : start + gap + tensor.numel()].view(tensor.shape)
        start += gap + tensor.numel()
    return views


def transposed(tensors):
    return {name: tensor.t().contiguous().t() for name, tensor in tensors.items()}


def every_second(tensors):
    """Views that step over every other element."""
    return {name: torch.repeat_interleave(tensor, 2, dim=-1)[..., ::2] for name, tensor in tensors.items()}


def with_entries(tensors):
    """What training scripts leave beside the tensors."""
    entries = collections.OrderedDict(tensors)
    entries["epoch"] = 3
    entries["loss"] = 0.25
    entries["name"] = "a model"
    entries["betas"] = (0.9, 0.999)
    entries["history"] = [1, {"step": 10, "done": True}, None]
    entries["optimizer"] = {"state": {0: {"exp_avg": torch.zeros(3)}}, "groups": [{"lr": 1e-3}]}
    entries["big"] = 1 << 70
    entries["objects"] = [torch.Size([2, 3]), torch.device("cpu"), torch.float16, torch.strided]
    entries["counts"] = collections.Counter("aab")
    entries["bytes"] = (b"ab\xff", bytearray(b"cd"), {1, 2}, 1 + 2j)
    entries._metadata = {"": {"version": 1}}
    return entries


def same_storage(tensors):
    """Two names for the same tensor, as tied weights are saved."""
    return tensors | {"cls.predictions.decoder.weight": tensors["embeddings.word_embeddings.weight"]}


def main():
    tensors = weights()
    safetensors.torch.save_file(tensors, HERE / "model.safetensors")
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    buffers = {name: torch.nn.Buffer(tensor) for name, tensor in tensors.items()}
    older = {"_use_new_zipfile_serialization": False}
    kinds = {
        "plain": (tensors, {}),
        "protocol-4": (tensors, {"pickle_protocol": 4}),
        "protocol-5": (tensors, {"pickle_protocol": 5}),
        "slices": (slices(tensors), {}),
        "transposed": (transposed(tensors), {}),
        "every-second": (every_second(tensors), {}),
        "entries": (with_entries(tensors), {}),
        "parameters": (parameters, {}),
        "buffers": (buffers, {}),
        "same-storage": (same_storage(tensors), {}),
        "bert-prefix": ({f"bert.{name}": tensor for name, tensor in tensors.items()}, {}),
        "older": (tensors, older),
        "older-slices": (slices(tensors), older),
        "older-transposed": (transposed(tensors), older),
        "older-entries": (with_entries(tensors), older),
        "f16": ({name: tensor.half() for name, tensor in tensors.items()}, {}),
        "bf16": ({name: tensor.bfloat16() for name, tensor in tensors.items()}, {}),
        "f64": ({name: tensor.double() for name, tensor in tensors.items()}, {}),
        "older-f16": ({name: tensor.half() for name, tensor in tensors.items()}, older),
    }
    for kind, (saved, options) in kinds.items():
        file = HERE / f"{kind}.bin"
        torch.save(saved, file, **options)
        # transformers reads with weights_only=True, which takes the older protocols alone.
        read = torch.load(file, weights_only="protocol" not in kind)
        for name, tensor in tensors.items():
            name = f"bert.{name}" if kind == "bert-prefix" else name
            bound = 1e-2 if "16" in kind else 0.0
            assert torch.allclose(read[name].float(), tensor, rtol=bound, atol=bound), (kind, name)
    names = sorted(tensors)
    shards = {"one.bin": names[::2], "two.bin": names[1::2]}
    for file, part in shards.items():
        torch.save({name: tensors[name] for name in part}, HERE / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (HERE / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
