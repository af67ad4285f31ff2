"""Embeddings for LangChain.

    >>> from taskvec.integrations.langchain import TaskvecEmbeddings
    >>> embeddings = TaskvecEmbeddings("intfloat/e5-small-v2")
"""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from ..embedder import Embedder


class TaskvecEmbeddings(Embeddings):
    """LangChain's ``Embeddings``: documents and queries with the prompts that the model was trained with."""

    def __init__(
        self,
        model: str | None = None,
        *,
        query_task: str = "retrieval-query",
        document_task: str = "retrieval-document",
        encode_options: dict[str, Any] | None = None,
        **how: Any,
    ) -> None:
        self.embedder = Embedder(model, **how)
        self.query_task = query_task
        self.document_task = document_task
        self.encode_options = dict(encode_options or {})

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents that are to be found."""
        return self.embedder.encode(texts, task=self.document_task, **self.encode_options).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self.embedder.encode(text, task=self.query_task, **self.encode_options).tolist()
