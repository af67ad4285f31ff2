#!/usr/bin/env python3
"""Write what sentence-transformers, run in float64, makes of some texts with the built-in model.

    python -m venv .venv && .venv/bin/pip install torch sentence-transformers
    .venv/bin/python tests/builtin/generate.py

writes expected.json beside this script, in the form of the fixtures' own.
"""

import json
import pathlib
import random

import sentence_transformers
import transformers
from sentence_transformers import SentenceTransformer

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "models" / "all-MiniLM-L6-v2"

WORDS = "the engine reads a text and turns it into numbers so that near meanings lie near each other".split()
random.seed(7)

TEXTS = [
    "hello world",
    "What is Deep Learning?",
    "How do transformers work?",
    "",
    " ",
    "a",
    "The capital of France is Paris.",
    "Global warming is caused by greenhouse gases in the atmosphere.",
    "def add(a, b):\n    return a + b  # the sum\n",
    "naïve café Ångström — “quoted” … ½ ﬁ",
    "東京は日本の首都です。 Москва 🙂👩‍👩‍👧",
    "tabs\tand\nnew\r\nlines   and    runs of spaces \u00a0 \u200b end",
    "[CLS] [SEP] [MASK] are words of the text here",
    " ".join(random.choice(WORDS) for _ in range(120)),
    " ".join(f"sentence number {i} makes this text longer than the limit." for i in range(60)),
]


def main():
    model = SentenceTransformer(str(MODEL), device="cpu", model_kwargs={"attn_implementation": "eager"}).double()
    vectors = [model.encode([text], convert_to_numpy=True)[0].tolist() for text in TEXTS]
    ids = [model.tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"] for text in TEXTS]
    reference = f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}, float64"
    case = {"prompt_name": None, "prompt": "", "embeddings": [[float(f"{x:.9g}") for x in v] for v in vectors]}
    expected = {"reference": reference, "texts": TEXTS, "token_ids_without_prompt": ids, "cases": [case]}
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
