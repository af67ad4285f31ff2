#!/usr/bin/env python3
"""List every key that transformers and sentence-transformers read of the files of the models that taskvec opens.

    python -m venv .venv && .venv/bin/pip install torch transformers==5.24.0 sentence-transformers==6.2.0
    .venv/bin/python tests/keys/list.py

Writes keys.json beside this script, and prints what is new or gone since the last time. `tests/it/keys.rs` puts each key
into a model: taskvec reads it, knows that it changes nothing (src/model/harmless_keys.json, with the reason), or
refuses it. Run it with newer versions to see what they added.

tokenizer.json is read by a library; src/tokens/file_keys.json has the keys that it knows, and is written here too.
"""

import dataclasses
import importlib
import inspect
import json
import pathlib
import re

import sentence_transformers
import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import modeling_rope_utils
from transformers.configuration_utils import PreTrainedConfig
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import TokenizersBackend

HERE = pathlib.Path(__file__).resolve().parent

# The fixture that has each class's configuration.
CONFIGS = {
    "albert": "AlbertConfig", "bert-e5": "BertConfig", "distilbert": "DistilBertConfig", "embedding-gemma": "Gemma3TextConfig",
    "eurobert": "EuroBertConfig", "jina-v3": "JinaEmbeddingsV3Config", "llama": "LlamaConfig", "mistral-e5": "MistralConfig",
    "modernbert": "ModernBertConfig", "mpnet": "MPNetConfig", "nomic-bert": "NomicBertConfig", "qwen2-gte": "Qwen2Config",
    "qwen3-embedding": "Qwen3Config", "roberta": "RobertaConfig", "t5-gtr": "T5Config", "xlm-roberta-e5": "XLMRobertaConfig",
}
TOKENIZERS = [
    "AlbertTokenizer", "BertTokenizer", "DistilBertTokenizer", "GemmaTokenizer", "LlamaTokenizer", "MPNetTokenizer",
    "Qwen2Tokenizer", "RobertaTokenizer", "T5Tokenizer", "XLMRobertaTokenizer",
]
# Each module's class, and a fixture that has it in a folder.
MODULES = {
    "sentence_transformer.modules.pooling.Pooling": ["bert-e5", "1_Pooling"],
    "base.modules.dense.Dense": ["t5-gtr", "2_Dense"],
    "base.modules.normalize.Normalize": ["colbert", "3_Normalize"],
    "sparse_encoder.modules.splade_pooling.SpladePooling": ["splade-bert", "1_SpladePooling"],
    "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask": ["colbert", "2_MultiVectorMask"],
}
# Each class of models, and a fixture of it.
MODELS = {
    "sentence_transformer.model.SentenceTransformer": "bert-e5",
    "cross_encoder.model.CrossEncoder": "reranker-bert",
    "sparse_encoder.model.SparseEncoder": "splade-bert",
    "multi_vector_encoder.model.MultiVectorEncoder": "colbert",
}


def taken(source, *names):
    """Keys that a source takes out of one of these dictionaries."""
    of = "|".join(map(re.escape, names))
    ways = [rf'(?:{of})\.(?:pop|get|setdefault)\(\s*"(\w+)"', rf'(?:{of})\["(\w+)"\]', rf'"(\w+)" (?:not )?in (?:{of})\b']
    return {key for way in ways for key in re.findall(way, source)}


def parameters(function):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name for name, p in inspect.signature(function).parameters.items() if name != "self" and p.kind not in kinds}


def config_keys(name):
    kind = getattr(transformers, name)
    source = inspect.getsource(importlib.import_module(kind.__module__)) + inspect.getsource(PreTrainedConfig)
    fields = {field.name for field in dataclasses.fields(kind)}
    return fields | set(kind.attribute_map) | taken(source, "kwargs") | {"rope_scaling", "rope_theta"}


def rope_keys():
    source = inspect.getsource(modeling_rope_utils)
    sets = re.findall(r"(?:required|optional|received)_keys\s*=\s*\{([^}]*)\}", source)
    listed = {key for one in sets for key in re.findall(r'"(\w+)"', one)}
    return listed | taken(source, "rope_parameters", "rope_parameters_dict", "self.rope_parameters", "rope_scaling")


def tokenizer_keys():
    base = "".join(inspect.getsource(function) for function in (
        PreTrainedTokenizerBase.__init__, PreTrainedTokenizerBase._from_pretrained, TokenizersBackend.__init__,
        TokenizersBackend.convert_to_native_format,
    ))
    keys = taken(base, "kwargs", "init_kwargs", "local_kwargs", "config_tokenizer_class")
    keys |= set(PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES)
    for name in TOKENIZERS:
        kind = getattr(transformers, name)
        keys |= parameters(kind.__init__) | taken(inspect.getsource(kind), "kwargs")
    return keys | {"tokenizer_class", "auto_map"}


def module_keys(path):
    module, name = path.rsplit(".", 1)
    kind = getattr(importlib.import_module(f"sentence_transformers.{module}"), name)
    return set(kind.config_keys) | parameters(kind.__init__) | taken(inspect.getsource(kind), "config", "kwargs")


def model_keys(path):
    module, name = path.rsplit(".", 1)
    kind = getattr(importlib.import_module(f"sentence_transformers.{module}"), name)
    source = inspect.getsource(kind._parse_model_config) + inspect.getsource(kind._get_model_config)
    base = inspect.getsource(kind._load_config_modules) + inspect.getsource(kind.__mro__[1]._parse_model_config)
    listed = {key for one in re.findall(r"(?:in|=) [\[({]([^\])}]*)[\])}]", source) for key in re.findall(r'"(\w+)"', one)}
    return taken(source + base, "model_config", "config") | listed | {"model_type", "requirements"}


def settings_keys():
    kind = importlib.import_module("sentence_transformers.base.modules.transformer").Transformer
    source = inspect.getsource(kind)
    return set(kind.config_keys) | parameters(kind.__init__) | taken(source, "config", "kwargs", "init_kwargs", "config_dict")


# What older versions of the tokenizer library wrote, and newer ones read.
OLDER_KEYS = {"pre_tokenizer": {"Metaspace": ["add_prefix_space", "str_rep"]}, "normalizer": {"Precompiled": ["precompiled_charsmap", "type"]}}


def tokenizer_file_keys():
    """Keys of tokenizer.json, by part and by the part's type: what its library writes, it reads."""
    arguments = {
        "Prepend": ("x",), "Replace": ("a", "b"), "Sequence": ([],), "CharDelimiterSplit": ("a",), "Split": ("a", "removed"),
        "BertProcessing": (("a", 1), ("b", 2)), "RobertaProcessing": (("a", 1), ("b", 2)),
    }
    no_parts = {"Normalizer", "PreTokenizer", "PostProcessor", "NORMALIZERS", "Precompiled"}
    found = {}
    for part, module in (("normalizer", normalizers), ("pre_tokenizer", pre_tokenizers), ("post_processor", processors)):
        for name in sorted(set(vars(module)) - no_parts):
            if inspect.isclass(getattr(module, name)):
                written = json.loads(getattr(module, name)(*arguments.get(name, ())).__getstate__())
                found.setdefault(part, {})[written["type"]] = set(written)
    for model in (models.BPE(), models.Unigram(), models.WordLevel({"a": 0}, unk_token="a"), models.WordPiece({"a": 0}, unk_token="a")):
        tokenizer = Tokenizer(model)
        tokenizer.add_special_tokens(["a"])
        written = json.loads(tokenizer.to_str())
        found["file"], found["added_token"] = set(written), set(written["added_tokens"][0])
        found.setdefault("model", {})[written["model"]["type"]] = set(written["model"])
    for part, types in OLDER_KEYS.items():
        for name, keys in types.items():
            found[part].setdefault(name, set()).update(keys)
    in_order = lambda keys: sorted(keys) if isinstance(keys, set) else {name: sorted(inner) for name, inner in sorted(keys.items())}
    return {part: in_order(keys) for part, keys in sorted(found.items())}


def listed():
    found = {}
    for fixture, name in CONFIGS.items():
        found[f"config.json of {fixture}"] = {"fixture": fixture, "file": "config.json", "source": name, "keys": config_keys(name)}
    found["rope_parameters"] = {"fixture": "llama", "file": "config.json", "inside": "rope_parameters", "source": "modeling_rope_utils", "keys": rope_keys()}
    for fixture in ("bert-e5", "roberta", "xlm-roberta-e5", "t5-gtr", "qwen3-embedding", "embedding-gemma"):
        found[f"tokenizer_config.json of {fixture}"] = {"fixture": fixture, "file": "tokenizer_config.json", "source": ", ".join(TOKENIZERS), "keys": tokenizer_keys()}
    for path, (fixture, folder) in MODULES.items():
        found[path] = {"fixture": fixture, "file": f"{folder}/config.json", "source": path, "keys": module_keys(path)}
    for path, fixture in MODELS.items():
        found[path] = {"fixture": fixture, "file": "config_sentence_transformers.json", "source": path, "keys": model_keys(path)}
    for fixture in ("bert-e5", "reranker-bert", "colbert"):
        found[f"sentence_bert_config.json of {fixture}"] = {"fixture": fixture, "file": "sentence_bert_config.json", "source": "Transformer", "keys": settings_keys()}
    return {name: {**entry, "keys": sorted(entry["keys"])} for name, entry in found.items()}


def print_changes(name, before, after):
    for word, keys in (("new", set(after) - set(before)), ("gone", set(before) - set(after))):
        if keys:
            print(word, name, *sorted(keys))


def main():
    target, of_file = HERE / "keys.json", HERE.parents[1] / "src/tokens/file_keys.json"
    before = json.loads(target.read_text())["lists"] if target.exists() else {}
    after = listed()
    versions = {module.__name__: module.__version__ for module in (transformers, sentence_transformers, tokenizers)}
    lists = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in after.items())
    target.write_text(f'{{"versions": {json.dumps(versions)}, "lists": {{\n{lists}\n}}}}\n')
    for name in sorted(before | after):
        print_changes(name, *(lists.get(name, {"keys": []})["keys"] for lists in (before, after)))
    print(sum(len(entry["keys"]) for entry in after.values()), "keys in", len(after), "lists")

    before = json.loads(of_file.read_text()) if of_file.exists() else {}
    after = tokenizer_file_keys()
    of_file.write_text("{\n" + ",\n".join(f" {json.dumps(part)}: {json.dumps(keys)}" for part, keys in after.items()) + "\n}\n")
    flat = lambda parts: {f"{part} {name} {key}" for part, keys in parts.items() for name in keys for key in ([""] if isinstance(keys, list) else keys[name])}
    print_changes("in tokenizer.json:", flat(before), flat(after))


main()
