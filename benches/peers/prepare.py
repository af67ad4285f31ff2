"""Makes what the peers read of a model: prepare.py MODEL FOLDER TEXTS

FOLDER becomes a copy of MODEL with onnx/: the hidden states (hidden-f32, hidden-int8) and pooled unit
vectors (pooled-f32, pooled-int8), and openvino/: f32, and int8 calibrated on 300 of TEXTS.
"""

import pathlib
import shutil
import sys

import torch
from transformers import AutoModel, AutoTokenizer


class Hidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


class Pooled(Hidden):
    def forward(self, input_ids, attention_mask, token_type_ids):
        hidden = super().forward(input_ids, attention_mask, token_type_ids)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def export(module, path, output, tokenizer):
    example = tokenizer(["an example", "another, longer example"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    dynamic = {0: "batch", 1: "tokens"}
    axes = {name: dynamic for name in names}
    axes[output] = dynamic if output == "last_hidden_state" else {0: "batch"}
    torch.onnx.export(
        module, tuple(example[name] for name in names), str(path), input_names=names, output_names=[output],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )


def main():
    source, folder, texts = map(pathlib.Path, sys.argv[1:4])
    shutil.copytree(source, folder, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    (folder / "onnx").mkdir(exist_ok=True)
    (folder / "openvino").mkdir(exist_ok=True)

    from onnxruntime.quantization import QuantType, quantize_dynamic

    for kind, module, output in [
        ("hidden", Hidden(model), "last_hidden_state"),
        ("pooled", Pooled(model), "sentence_embedding"),
    ]:
        path = folder / "onnx" / f"{kind}-f32.onnx"
        export(module, path, output, tokenizer)
        quantize_dynamic(
            path, folder / "onnx" / f"{kind}-int8.onnx", weight_type=QuantType.QInt8, per_channel=True
        )

    import nncf
    import openvino

    converted = openvino.convert_model(folder / "onnx" / "pooled-f32.onnx")
    openvino.save_model(converted, folder / "openvino" / "f32.xml", compress_to_fp16=False)
    lines = texts.read_text(encoding="utf-8").splitlines()
    step = max(1, len(lines) // 300)
    examples = [
        {k: v for k, v in tokenizer(line, truncation=True, max_length=256, return_tensors="np").items()}
        for line in lines[::step][:300]
    ]
    quantized = nncf.quantize(
        converted, nncf.Dataset(examples), subset_size=len(examples),
        model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
    )
    openvino.save_model(quantized, folder / "openvino" / "int8.xml")


main()
