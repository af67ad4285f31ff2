#!/usr/bin/env python3
"""Models of other shapes with random weights: benches/shapes.py FOLDER

Writes FOLDER/bert-base, FOLDER/qwen3-0.6b and FOLDER/embedding-gemma, with the layers of those models and the
vocabulary of the built-in one (whose tokenizer they get, since no published file is needed to measure speed).
Then: taskvec bench model --model FOLDER/bert-base --device cpu --precisions f32,bf16,int8
"""

import json
import pathlib
import shutil
import sys

import torch
from transformers import AutoModel, BertConfig, Gemma3TextConfig, Qwen3Config

BUILTIN = pathlib.Path(__file__).resolve().parent.parent / "models" / "all-MiniLM-L6-v2"
VOCABULARY = 30522

SHAPES = {
    "bert-base": (BertConfig(), "mean"),
    "qwen3-0.6b": (
        Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
            num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=32768,
            rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=101, eos_token_id=102, pad_token_id=0,
        ),
        "lasttoken",
    ),
    "embedding-gemma": (
        Gemma3TextConfig(
            vocab_size=VOCABULARY, hidden_size=768, intermediate_size=1152, num_hidden_layers=24,
            num_attention_heads=3, num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256,
            sliding_window=512, max_position_embeddings=2048, use_bidirectional_attention=True,
            bos_token_id=101, eos_token_id=102, pad_token_id=0,
        ),
        "mean",
    ),
}


def main():
    torch.manual_seed(0)
    for name, (config, pooling) in SHAPES.items():
        folder = pathlib.Path(sys.argv[1]) / name
        (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
        AutoModel.from_config(config).to(torch.bfloat16).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(BUILTIN / file, folder)
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        modes = {"mean": "pooling_mode_mean_tokens", "lasttoken": "pooling_mode_lasttoken"}
        pooled = {"word_embedding_dimension": config.hidden_size, modes[pooling]: True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooled))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}))
        print(folder)


main()
