"""Embeddings for LlamaIndex.

    >>> from taskvec.integrations.llama_index import TaskvecEmbedding
    >>> embedding = TaskvecEmbedding(model_name="intfloat/e5-small-v2")
"""

from __future__ import annotations

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr

from ..embedder import Embedder


class TaskvecEmbedding(BaseEmbedding):
    """LlamaIndex's ``BaseEmbedding``: texts and queries with the prompts that the model was trained with."""

    query_task: str = Field(default="retrieval-query", description="What queries are embedded for.")
    text_task: str = Field(default="retrieval-document", description="What texts are embedded for.")
    encode_options: dict[str, Any] = Field(default_factory=dict, description="Further options of a call.")
    open_options: dict[str, Any] = Field(default_factory=dict, description="How the model is opened.")
    _embedder: Embedder = PrivateAttr()

    def __init__(self, model_name: str | None = None, **data: Any) -> None:
        super().__init__(model_name=model_name or "all-MiniLM-L6-v2 (built in)", **data)
        is_builtin = model_name is None or model_name.endswith("(built in)")
        self._embedder = Embedder(None if is_builtin else model_name, **self.open_options)

    @classmethod
    def class_name(cls) -> str:
        """The name in stored settings."""
        return "TaskvecEmbedding"

    def _encode(self, texts: Any, task: str) -> Any:
        return self._embedder.encode(texts, task=task, **self.encode_options).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encode(query, self.query_task)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        import asyncio

        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encode(text, self.text_task)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encode(texts, self.text_task)
