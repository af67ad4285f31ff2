#!/usr/bin/env python3
"""Token vectors of a query whose expansion reaches beyond the window of a ModernBERT: tokens that see no key.

Writes expansion.json beside this script: the changes of the fixture `modernbert` and the reference's token vectors. Needs
what generate.py needs.
"""

import json
import pathlib
import shutil
import tempfile

import torch
from sentence_transformers import MultiVectorEncoder

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = ["a", "What causes global warming?"]
SETTINGS = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
    "document_length": 40,
    "query_expansion": {"strategy": "fixed", "attend": False, "token": "[MASK]", "length": 32},
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"idx": 1, "name": "1", "path": "1_MultiVectorMask", "type": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.base.modules.normalize.Normalize"},
]
FILES = {
    "sentence_bert_config.json": SETTINGS,
    "modules.json": MODULES,
    "config_sentence_transformers.json": {"model_type": "MultiVectorEncoder", "prompts": {}},
    "1_MultiVectorMask/config.json": {"skiplist_words": []},
    "2_Normalize/config.json": {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "modernbert"
        shutil.copytree(HERE.parent / "fixtures/modernbert", folder)
        for name, content in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        model = MultiVectorEncoder(str(folder), device="cpu").double()
        with torch.no_grad():
            rows = [model.encode_query(text) for text in TEXTS]
    found = [[[round(float(x), 6) for x in token] for token in row] for row in rows]
    (HERE / "expansion.json").write_text(json.dumps({"files": FILES, "texts": TEXTS, "tokens": found}))
    print([len(row) for row in found], found[0][-1][:4])


main()
