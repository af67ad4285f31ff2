"""An embedding function for Chroma, which keeps how it was made with the collection.

    >>> import chromadb
    >>> from taskvec.integrations.chroma import TaskvecEmbeddingFunction
    >>> client = chromadb.Client()
    >>> texts = client.create_collection("texts", embedding_function=TaskvecEmbeddingFunction())
"""

from __future__ import annotations

from typing import Any

from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from ..embedder import Embedder

_SPACES: dict[str, Space] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


@register_embedding_function
class TaskvecEmbeddingFunction(EmbeddingFunction[Documents]):
    """Chroma's ``EmbeddingFunction``: documents and queries with the prompts that the model was trained with."""

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
        self._config = {
            "model": model,
            "query_task": query_task,
            "document_task": document_task,
            "encode_options": dict(encode_options or {}),
            **how,
        }

    def _encode(self, texts: Documents, task: str) -> Embeddings:
        return list(self.embedder.encode(texts, task=task, **self._config["encode_options"]))

    def __call__(self, input: Documents) -> Embeddings:
        """The vectors of documents."""
        return self._encode(input, self._config["document_task"])

    def embed_query(self, input: Documents) -> Embeddings:
        """The vectors of queries."""
        return self._encode(input, self._config["query_task"])

    @staticmethod
    def name() -> str:
        """The name that a collection keeps."""
        return "taskvec"

    def default_space(self) -> Space:
        """The measure that the model's vectors are compared by."""
        return _SPACES.get(self.embedder.similarity_function, "cosine")

    def get_config(self) -> dict[str, Any]:
        """How it was made, which a collection keeps."""
        return dict(self._config)

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> TaskvecEmbeddingFunction:
        """The same again."""
        return TaskvecEmbeddingFunction(**config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Vectors that are there are only comparable with those that are made alike."""
        for key in ("model", "query_task", "document_task", "encode_options"):
            if old_config.get(key) != new_config.get(key):
                raise ValueError(f"{key} cannot change from {old_config.get(key)} to {new_config.get(key)}: make a new collection")
