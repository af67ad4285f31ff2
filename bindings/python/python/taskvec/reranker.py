"""Cross-encoders."""

from __future__ import annotations

import os
from typing import Any, Iterable

import numpy as np

from . import _taskvec
from ._open import Opened
from ._texts import listed, strings


class Reranker(Opened):
    """A model that says how relevant a document is for a query. Arguments are those of :class:`taskvec.Embedder`."""

    _engine_class = _taskvec.RerankerEngine

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        adapter: str | None = None,
        precision: str = "f32",
        threads: int | None = None,
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        instruction_set: str | None = None,
    ) -> None:
        super().__init__(
            {
                "model": os.fspath(model),
                "device": device,
                "adapter": adapter,
                "precision": precision,
                "threads": threads,
                "max_tokens": max_tokens,
                "batch_tokens": batch_tokens,
                "dimensions": None,
                "registry": None,
                "instruction_set": instruction_set,
            }
        )

    def score(self, query: str, documents: Iterable[str]) -> np.ndarray:
        """How relevant each document is, ``[documents]``."""
        return self._engine.score(query, listed(documents, "documents")[0])

    def predict(self, pairs: Iterable[tuple[str, str]]) -> np.ndarray:
        """The score of each pair of a query and a document, ``[pairs]``; those of one query in a row are one call."""
        pairs = list(pairs)
        scores = np.empty(len(pairs), dtype=np.float32)
        start = 0
        while start < len(pairs):
            end = start
            while end < len(pairs) and pairs[end][0] == pairs[start][0]:
                end += 1
            scores[start:end] = self.score(pairs[start][0], [document for _, document in pairs[start:end]])
            start = end
        return scores

    def rank(
        self, query: str, documents: Iterable[str], top_k: int | None = None, return_documents: bool = False
    ) -> list[dict[str, Any]]:
        """The documents by relevance, the best first, as ``corpus_id``, ``score`` and, if asked for, ``text``."""
        documents = strings(documents, "documents")
        scores = self.score(query, documents)
        order = np.argsort(-scores, kind="stable")[:top_k]
        ranked = [{"corpus_id": int(i), "score": float(scores[i])} for i in order]
        if return_documents:
            for entry in ranked:
                entry["text"] = documents[entry["corpus_id"]]
        return ranked
