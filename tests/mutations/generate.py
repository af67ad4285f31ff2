#!/usr/bin/env python3
"""Change one key of one file of a model at a time, and write down what the reference makes of the result.

    python -m venv .venv && .venv/bin/pip install torch transformers==5.24.0 sentence-transformers==6.2.0
    .venv/bin/python tests/mutations/generate.py

Writes mutations.json beside this script, and prints what is new or gone since the last time. `tests/it/mutations.rs`
makes the same changes and compares. Values of a vector are its first ones.
"""

import copy
import json
import logging
import os
import pathlib
import shutil
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
VALUES = 6

TEXTS = [
    "What causes global warming?",
    "Apple ÄRGER naïve Straße İSTANBUL 東京 ΣΊΣΥΦΟΣ ``quoted'' x",
    "see [CLS] <s> </s> <pad> [PAD] [SEP] <eos> <|endoftext|> [ENT] the the here",
    " ".join(f"sentence {i} makes this text longer than the limit" for i in range(30)),
]
PAIRS = [("What is it?", "A short answer"), ("what", ""), (TEXTS[3], TEXTS[2])]

# Rerankers give scores, SPLADE models weights; all others vectors.
RERANKERS = {"reranker-bert", "reranker-xlm-roberta", "reranker-modernbert"}
SPARSE = {"splade-bert", "splade-distilbert"}


def change(file, value, *path):
    return {"file": file, "path": list(path), "value": value}


def remove(file, *path):
    return {"file": file, "path": list(path), "remove": True}


CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer_config.json", "sentence_bert_config.json"
SENTENCE, POOLING, MODULES = "config_sentence_transformers.json", "1_Pooling/config.json", "modules.json"
FILE = "tokenizer.json"
ACTIVATIONS = [
    "relu", "silu", "swish", "tanh", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_python_tanh",
    "gelu_10", "gelu_accurate", "quick_gelu", "laplace", "leaky_relu", "linear", "mish", "relu2", "relu6", "sigmoid",
    "prelu", "nope",
]

# Keys that any configuration may have and that change nothing in an encoder, or must.
GENERAL_CONFIG = [
    change(CONFIG, v, k)
    for k, v in [
        ("is_causal", True), ("is_causal", False), ("is_decoder", True), ("use_bidirectional_attention", True),
        ("use_bidirectional_attention", False), ("pad_token_id", 5), ("pad_token_id", 0), ("bos_token_id", 7), ("eos_token_id", 9),
        ("use_cache", True), ("tie_word_embeddings", False), ("dtype", "float32"),
        ("hidden_dropout_prob", 0.5), ("attention_dropout", 0.5), ("initializer_range", 5.0), ("chunk_size_feed_forward", 4),
        ("transformers_version", "4.0.0"), ("output_hidden_states", True), ("output_attentions", True),
        ("problem_type", "regression"), ("tokenizer_class", "BertTokenizer"), ("layer_norm_eps", 0.1),
        ("rms_norm_eps", 0.1), ("norm_eps", 0.1), ("hidden_act", "relu"), ("max_position_embeddings", 40), ("vocab_size", 8),
        ("num_hidden_layers", 1), ("num_attention_heads", 2), ("rope_theta", 100.0), ("sliding_window", 4),
        ("a_key_of_nobody", 1), ("cross_attention_hidden_size", 5), ("add_cross_attention", False), ("num_labels", 3),
        ("is_encoder_decoder", False), ("finetuning_task", "x"), ("position_embedding_type", "relative_key"),
        ("position_embedding_type", "absolute"), ("type_vocab_size", 1), ("pruned_heads", {}),
        ("attn_implementation", "eager"), ("layer_types", ["full_attention"] * 3),
    ]
]
ROPE = [
    change(CONFIG, {"rope_type": "linear", "factor": 4.0}, "rope_scaling"),
    change(CONFIG, {"type": "linear", "factor": 4.0}, "rope_scaling"),
    change(CONFIG, {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}, "rope_parameters"),
    change(CONFIG, {"rope_type": "dynamic", "factor": 4.0}, "rope_scaling"),
    change(CONFIG, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}, "rope_scaling"),
    change(CONFIG, {"rope_type": "yarn", "factor": 4.0}, "rope_scaling"),
    change(CONFIG, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 0.8, "beta_fast": 16, "beta_slow": 2, "truncate": False}, "rope_scaling"),
    change(CONFIG, {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "mscale": 0.7, "mscale_all_dim": 0.9}, "rope_scaling"),
    change(CONFIG, {"rope_type": "longrope", "short_factor": [1.0 + i / 4 for i in range(8)], "long_factor": [2.0 + i / 2 for i in range(8)], "original_max_position_embeddings": 40}, "rope_scaling"),
    change(CONFIG, {"rope_type": "longrope", "short_factor": [1.5] * 8, "long_factor": [3.0] * 8, "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.3}, "rope_scaling"),
    change(CONFIG, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}, "rope_scaling"),
    change(CONFIG, {"rope_type": "proportional", "factor": 2.0}, "rope_scaling"),
    change(CONFIG, {"rope_type": "default"}, "rope_scaling"),
    change(CONFIG, {"rope_type": "unheard_of", "factor": 2.0}, "rope_scaling"),
    change(CONFIG, None, "rope_scaling"),
    change(CONFIG, 64, "original_max_position_embeddings"),
    change(CONFIG, 0.5, "partial_rotary_factor"),
    change(CONFIG, 333.0, "rope_theta"),
    change(CONFIG, {"rope_theta": 333.0, "rope_type": "default"}, "rope_parameters"),
    change(CONFIG, {"rope_theta": 333.0, "rope_type": "default", "partial_rotary_factor": 0.5}, "rope_parameters"),
    remove(CONFIG, "rope_parameters"),
]
CLASSES = [
    "TokenizersBackend", "PreTrainedTokenizerFast", "PreTrainedTokenizer", "BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer",
    "RobertaTokenizer", "RobertaTokenizerFast", "XLMRobertaTokenizer", "XLMRobertaTokenizerFast", "CamembertTokenizer",
    "MPNetTokenizer", "T5Tokenizer", "T5TokenizerFast", "AlbertTokenizer", "GemmaTokenizer", "GemmaTokenizerFast", "Qwen2Tokenizer",
    "Qwen2TokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "ElectraTokenizer", "CLIPTokenizer", "MyTokenizer", None,
]
GENERAL_TOKENIZER = [change(TOKENIZER, name, "tokenizer_class") for name in CLASSES] + [
    remove(TOKENIZER, "tokenizer_class"),
    change(TOKENIZER, "left", "truncation_side"),
    change(TOKENIZER, "middle", "truncation_side"),
    change(TOKENIZER, "left", "padding_side"),
    change(TOKENIZER, True, "split_special_tokens"),
    change(TOKENIZER, 12, "model_max_length"),
    change(TOKENIZER, 1e30, "model_max_length"),
    remove(TOKENIZER, "model_max_length"),
    change(TOKENIZER, ["[ENT]"], "extra_special_tokens"),
    change(TOKENIZER, ["[ENT]"], "additional_special_tokens"),
    change(TOKENIZER, ["the"], "additional_special_tokens"),
    change(TOKENIZER, {"entity_token": "the"}, "extra_special_tokens"),
    change(TOKENIZER, "the", "pad_token"),
    change(TOKENIZER, "the", "mask_token"),
    change(TOKENIZER, "e", "unk_token"),
    change(TOKENIZER, None, "pad_token"),
    change(TOKENIZER, {"__type": "AddedToken", "content": "the", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": True}, "mask_token"),
    change(TOKENIZER, "the", "image_token"),
    change(TOKENIZER, {"5": {"content": "the", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}}, "added_tokens_decoder"),
    change(TOKENIZER, False, "do_lower_case"),
    change(TOKENIZER, True, "strip_accents"),
    change(TOKENIZER, False, "tokenize_chinese_chars"),
    change(TOKENIZER, True, "add_prefix_space"),
    change(TOKENIZER, False, "add_prefix_space"),
    change(TOKENIZER, True, "clean_up_tokenization_spaces"),
    change(TOKENIZER, "x", "name_or_path"),
    change(TOKENIZER, 7, "a_key_of_nobody"),
    change(TOKENIZER, "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}", "chat_template"),
    change("special_tokens_map.json", {"mask_token": "the"}),
    change("special_tokens_map.json", {"pad_token": {"content": "the", "lstrip": False, "normalized": False, "rstrip": False, "single_word": True}}),
    change("added_tokens.json", {"the": 5}),
    change(FILE, {"direction": "Left", "max_length": 20, "strategy": "LongestFirst", "stride": 0}, "truncation"),
    change(FILE, {"direction": "Right", "max_length": 20, "strategy": "LongestFirst", "stride": 0}, "truncation"),
    change(FILE, {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "e"}, "padding"),
    change(FILE, None, "normalizer"),
    change(FILE, {"type": "Lowercase"}, "normalizer"),
    change(FILE, None, "post_processor"),
    change(FILE, None, "decoder"),
]
# With the class of their family, the options of tokenizer_config.json take effect.
OPTIONS = [
    {"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False}, {"strip_accents": True, "do_lower_case": False},
    {"tokenize_chinese_chars": False}, {"add_prefix_space": True}, {"add_prefix_space": False}, {"keep_accents": True},
    {"legacy": True}, {"split_special_tokens": True}, {"cls_token": "the"}, {"eos_token": "the"}, {"sep_token": "the"}, {"bos_token": None},
    {"unk_token": "the"}, {"additional_special_tokens": ["[ENT]", "the"]}, {"truncation_side": "left", "model_max_length": 16},
    {"add_bos_token": False, "add_eos_token": False},
]
GENERAL_SETTINGS = [
    change(SETTINGS, 16, "max_seq_length"),
    change(SETTINGS, True, "do_lower_case"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": ["hidden_states", -2]}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": ["hidden_states", -1]}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": ["hidden_states", 0]}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": ["hidden_states", 1]}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": ["hidden_states", 99]}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "forward", "method_output_name": "pooler_output"}}, "modality_config"),
    change(SETTINGS, {"text": {"method": "get_text_features", "method_output_name": None}}, "modality_config"),
    change(SETTINGS, {"text": {"max_length": 12}}, "processing_kwargs"),
    change(SETTINGS, {"text": {"add_special_tokens": False}}, "processing_kwargs"),
    change(SETTINGS, {"text": {"truncation": False}}, "processing_kwargs"),
    change(SETTINGS, {"common": {"max_length": 10}}, "processing_kwargs"),
    change(SETTINGS, {"text": {"padding": "max_length"}}, "processing_kwargs"),
    change(SETTINGS, {"text": {"return_overflowing_tokens": True}}, "processing_kwargs"),
    change(SETTINGS, {"truncation_side": "left"}, "processor_kwargs"),
    change(SETTINGS, {"truncation_side": "left", "model_max_length": 20}, "tokenizer_args"),
    change(SETTINGS, {"model_max_length": 14}, "tokenizer_args"),
    change(SETTINGS, {"additional_special_tokens": ["the"]}, "processor_kwargs"),
    change(SETTINGS, {"hidden_act": "relu"}, "config_kwargs"),
    change(SETTINGS, {"is_causal": True}, "config_args"),
    change(SETTINGS, {"layer_norm_eps": 0.1, "rms_norm_eps": 0.1, "norm_eps": 0.1}, "config_kwargs"),
    change(SETTINGS, {"torch_dtype": "float32"}, "model_args"),
    change(SETTINGS, {"attn_implementation": "eager"}, "model_kwargs"),
    change(SETTINGS, {"nothing": 1}, "model_kwargs"),
    change(SETTINGS, "text-generation", "transformer_task"),
    change(SETTINGS, True, "unpad_inputs"),
    change(SETTINGS, "sentence_embedding", "module_output_name"),
    change(SETTINGS, 1, "a_key_of_nobody"),
]
GENERAL_SENTENCE = [
    change(SENTENCE, 16, "truncate_dim"),
    change(SENTENCE, 99999, "truncate_dim"),
    change(SENTENCE, "dot", "similarity_fn_name"),
    change(SENTENCE, {"query": "find {title}: ", "document": "x"}, "prompts"),
    change(SENTENCE, "query", "default_prompt_name"),
    change(SENTENCE, None, "default_prompt_name"),
    change(SENTENCE, "nobody", "default_prompt_name"),
    change(SENTENCE, {"pytorch": "1.0"}, "__version__"),
    change(SENTENCE, "SentenceTransformer", "model_type"),
    change(SENTENCE, 1, "a_key_of_nobody"),
]
POOLINGS = [
    change(POOLING, v, "pooling_mode")
    for v in ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ["cls", "mean"], "median"]
] + [
    change(POOLING, False, "include_prompt"),
    change(POOLING, 1, "a_key_of_nobody"),
    change(POOLING, 7, "embedding_dimension"),
    change(POOLING, {"word_embedding_dimension": 48, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
    change(POOLING, {"word_embedding_dimension": 48, "pooling_mode_lasttoken": True, "pooling_mode_max_tokens": True}),
]
MODULE_TYPES = [
    "sentence_transformers.models.Pooling", "sentence_transformers.models.Pooling.Pooling", "my_code.Pooling", "Pooling",
    "sentence_transformers.models.WordWeights", "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
]
MODULE_CHANGES = [change(MODULES, name, 1, "type") for name in MODULE_TYPES] + [
    change(MODULES, "./1_Pooling", 1, "path"),
    change(MODULES, "1_Pooling/", 1, "path"),
    change(MODULES, "../1_Pooling", 1, "path"),
    change(MODULES, "somewhere", 1, "path"),
    change(MODULES, "any name", 1, "name"),
]
DENSE_ACTIVATIONS = [
    "torch.nn.modules.activation." + name
    for name in (
        "Tanh", "GELU", "ReLU", "SiLU", "Sigmoid", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "Mish", "Hardswish", "Hardsigmoid",
        "Hardtanh", "Softplus", "Softsign", "LogSigmoid", "Tanhshrink", "Softmax",
    )
] + ["torch.nn.modules.linear.Identity", "my.Activation", "torch.nn.functional.relu"]


def mutations(name):
    """The changes of a fixture."""
    own_class = {
        "bert-e5": "BertTokenizer", "roberta": "RobertaTokenizer", "xlm-roberta-e5": "XLMRobertaTokenizer",
        "t5-gtr": "T5Tokenizer", "albert": "AlbertTokenizer", "embedding-gemma": "GemmaTokenizer", "qwen3-embedding": "Qwen2Tokenizer",
        "llama": "LlamaTokenizer", "distilbert": "DistilBertTokenizer",
    }.get(name)
    found = []
    if own_class:
        found += [change(TOKENIZER, {"tokenizer_class": own_class, **options}) for options in OPTIONS]
    if name in ("bert-e5", "xlm-roberta-e5", "qwen3-embedding", "llama", "roberta"):
        found += GENERAL_TOKENIZER
    if name in ("bert-e5", "qwen3-embedding"):
        found += GENERAL_SETTINGS + GENERAL_SENTENCE + POOLINGS + MODULE_CHANGES
    if name in ("bert-e5", "roberta", "mpnet", "albert", "distilbert", "modernbert", "t5-gtr", "embedding-gemma", "qwen3-embedding", "llama", "nomic-bert", "gte-new", "eurobert", "mistral-e5", "qwen2-gte", "jina-v3"):
        found += GENERAL_CONFIG
    if name in ("bert-e5",):
        found += [change(CONFIG, act, "hidden_act") for act in ACTIVATIONS] + [remove(CONFIG, "hidden_act")]
    if name == "albert":
        found += [remove(CONFIG, "hidden_act"), change(CONFIG, 2, "num_hidden_groups"), change(CONFIG, 2, "inner_group_num")]
    if name in ("qwen3-embedding", "llama", "nomic-bert", "gte-new", "jina-v3", "mistral-e5"):
        found += ROPE
    if name == "modernbert":
        found += [
            change(CONFIG, {"rope_type": "linear", "factor": 2.0}, "rope_scaling"),
            remove(CONFIG, "rope_parameters"), change(CONFIG, 500.0, "global_rope_theta"), change(CONFIG, 500.0, "local_rope_theta"),
            change(CONFIG, 8, "local_attention"), change(CONFIG, 2, "global_attn_every_n_layers"), remove(CONFIG, "layer_types"),
            change(CONFIG, "relu", "hidden_activation"), change(CONFIG, True, "norm_bias"), change(CONFIG, True, "deterministic_flash_attn"),
            change(CONFIG, "mean", "classifier_pooling"), remove(CONFIG, "hidden_activation"),
        ]
    if name == "embedding-gemma":
        found += [
            change(CONFIG, {"rope_type": "linear", "factor": 2.0}, "rope_scaling"),
            change(CONFIG, 500.0, "rope_local_base_freq"), remove(CONFIG, "rope_parameters"), remove(CONFIG, "query_pre_attn_scalar"),
            change(CONFIG, 100, "query_pre_attn_scalar"), change(CONFIG, 2, "sliding_window_pattern"), remove(CONFIG, "layer_types"),
            change(CONFIG, 10.0, "attn_logit_softcapping"), change(CONFIG, 10.0, "final_logit_softcapping"), change(CONFIG, 6, "sliding_window"),
            change(CONFIG, "relu", "hidden_activation"), remove(CONFIG, "hidden_activation"), change(CONFIG, True, "attention_bias"),
            change(CONFIG, False, "use_bidirectional_attention"), remove(CONFIG, "use_bidirectional_attention"),
        ]
        found += [change("2_Dense/config.json", act, "activation_function") for act in DENSE_ACTIVATIONS]
        found += [change("2_Dense/config.json", True, "use_residual"), change("2_Dense/config.json", {"in_features": 48, "out_features": 192, "bias": False, "activation_function": "torch.nn.modules.linear.Identity", "use_residual": False}), change("2_Dense/config.json", 1, "a_key_of_nobody"), remove("2_Dense/config.json", "activation_function"), change("2_Dense/config.json", "token_embeddings", "module_input_name")]
    if name == "t5-gtr":
        found += [
            change(CONFIG, act, "feed_forward_proj") for act in ("relu", "gated-gelu", "gelu", "silu", "gelu_new")
        ] + [
            remove(CONFIG, "feed_forward_proj"), change(CONFIG, 16, "relative_attention_max_distance"), remove(CONFIG, "relative_attention_max_distance"),
            change(CONFIG, 0.1, "layer_norm_epsilon"), change(CONFIG, 3, "num_decoder_layers"), change(CONFIG, "relu", "dense_act_fn"), change(CONFIG, True, "is_gated_act"),
            remove(TOKENIZER, "model_max_length"), remove(SETTINGS, "max_seq_length"), change(CONFIG, 20, "n_positions"),
        ]
    if name in ("nomic-bert", "gte-new", "mistral-e5"):
        found += [remove(CONFIG, key) for key in ("rope_theta", "layer_norm_eps", "hidden_act", "rms_norm_eps", "sliding_window", "rope_parameters")]
    if name in ("qwen2-gte", "qwen3-embedding", "mistral-e5"):
        found += [change(CONFIG, True, "use_sliding_window"), change(CONFIG, 1, "max_window_layers"), change(CONFIG, ["sliding_attention"] * 3, "layer_types"), change(CONFIG, 3, "sliding_window"), change(CONFIG, 8, "head_dim"), change(CONFIG, True, "attention_bias"), change(CONFIG, "gelu", "hidden_act")]
    if name in SPARSE:
        found += [change(SENTENCE, 20, "max_active_dims"), change("1_SpladePooling/config.json", "sum", "pooling_strategy"), change("1_SpladePooling/config.json", "log1p_relu", "activation_function"), change("1_SpladePooling/config.json", 1, "a_key_of_nobody"), change(CONFIG, True, "is_causal"), change(TOKENIZER, "BertTokenizer", "tokenizer_class")]
    if name in RERANKERS:
        found += [
            change(SENTENCE, {"prompts": {"q": "Find: "}, "default_prompt_name": "q"}),
            change(SENTENCE, {"activation_fn": "torch.nn.modules.linear.Identity"}),
            change(SENTENCE, {"activation_fn": "torch.nn.modules.activation.Tanh"}),
            *(change(SENTENCE, {"model_type": "CrossEncoder", **keys}) for keys in (
                {"prompts": {"q": "Find: "}, "default_prompt_name": "q"},
                {"activation_fn": "torch.nn.modules.linear.Identity"},
                {"activation_fn": "torch.nn.modules.activation.Tanh"},
                {"activation_fn": "torch.nn.modules.activation.ReLU"},
                {"activation_fn": "my.Activation"},
            )),
            change(SENTENCE, {"activation_fn": "my.Activation"}),
            change(SENTENCE, {"activation_fn": "torch.nn.modules.activation.ReLU"}),
            change(CONFIG, "torch.nn.modules.linear.Identity", "sbert_ce_default_activation_function"),
            change(CONFIG, {"activation_fn": "my.Activation", "version": "5.0.0"}, "sentence_transformers"),
            change(CONFIG, {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0.0"}, "sentence_transformers"),
            change(CONFIG, "mean", "classifier_pooling"), change(CONFIG, True, "is_causal"), change(CONFIG, 5, "pad_token_id"),
            change(TOKENIZER, "left", "truncation_side"), remove(TOKENIZER, "model_input_names"), change(TOKENIZER, ["input_ids", "attention_mask"], "model_input_names"),
            change(TOKENIZER, "BertTokenizer", "tokenizer_class"), change(TOKENIZER, "XLMRobertaTokenizer", "tokenizer_class"), change(TOKENIZER, 14, "model_max_length"),
            change(TOKENIZER, ["the"], "additional_special_tokens"), change(TOKENIZER, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        ]
    return found


NAMES = [
    "bert-e5", "roberta", "xlm-roberta-e5", "mpnet", "albert", "distilbert", "modernbert", "t5-gtr", "embedding-gemma", "qwen3-embedding",
    "llama", "nomic-bert", "gte-new", "eurobert", "mistral-e5", "qwen2-gte", "jina-v3", "splade-bert", "splade-distilbert", *sorted(RERANKERS),
]


def apply(folder, mutation):
    """Makes a change in a folder."""
    file = folder / mutation["file"]
    old = json.loads(file.read_text()) if file.exists() else {}
    path = mutation["path"]
    if not path:
        # A whole file; of tokenizer_config.json, these keys beside the others.
        new = {**old, **mutation["value"]} if mutation["file"] == TOKENIZER else mutation["value"]
    else:
        new = copy.deepcopy(old)
        inner = new
        for key in path[:-1]:
            inner = inner[key]
        if mutation.get("remove"):
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = mutation["value"]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(new))


def reference(folder, name):
    """What the reference makes of the texts: the first values of each result."""
    def short(row):
        row = [round(float(x), 6) for x in row]
        return {"size": len(row), "values": row[:VALUES]}

    with torch.no_grad():
        if name in RERANKERS:
            model = CrossEncoder(str(folder), device="cpu")
            model.model.float()
            return [short([score]) for score in model.predict(PAIRS, batch_size=1)]
        if name in SPARSE:
            model = SparseEncoder(str(folder), device="cpu").float()
            rows = model.encode(TEXTS, convert_to_tensor=True, convert_to_sparse_tensor=False, batch_size=1)
            # The largest weights, since most are zero.
            return [{"size": int((row != 0).sum()), "values": [round(float(x), 6) for x in row.topk(VALUES).values]} for row in rows]
        model = SentenceTransformer(str(folder), device="cpu").float()
        return [short(row) for row in model.encode(TEXTS, batch_size=1)]


def main():
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    target = HERE / "mutations.json"
    before = json.loads(target.read_text())["mutations"] if target.exists() else []
    written, unchanged = [], {}
    for name in NAMES:
        unchanged[name] = reference(FIXTURES / name, name)
        done = set()
        for mutation in mutations(name):
            key = json.dumps(mutation, sort_keys=True)
            if key in done:
                continue
            done.add(key)
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder) / name
                shutil.copytree(FIXTURES / name, folder)
                apply(folder, mutation)
                entry = {"fixture": name, **mutation}
                try:
                    result = reference(folder, name)
                    if not all(abs(x) < 1e30 for row in result for x in row["values"]):
                        entry["error"] = "not finite"
                    elif result == unchanged[name]:
                        entry["unchanged"] = True
                    else:
                        entry["result"] = result
                except Exception as error:
                    entry["error"] = f"{type(error).__name__}: {error}".split("\n")[0][:100].replace(str(folder), "FOLDER")
                written.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in written)
    head = json.dumps({"texts": TEXTS, "pairs": PAIRS, "unchanged": unchanged}, ensure_ascii=False)
    target.write_text(head[:-1] + ', "mutations": [\n' + lines + "\n]}\n")
    def ids(entries):
        return {json.dumps({k: e.get(k) for k in ("fixture", "file", "path", "value", "remove")}) for e in entries}
    for word, entries in (("new", ids(written) - ids(before)), ("gone", ids(before) - ids(written))):
        for entry in sorted(entries):
            print(word, entry)
    print(len(written), "mutations,", sum("error" in e for e in written), "of them errors,", sum("unchanged" in e for e in written), "without effect")


main()
