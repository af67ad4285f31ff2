"""Embedders for Haystack.

    >>> from taskvec.integrations.haystack import TaskvecDocumentEmbedder, TaskvecTextEmbedder
    >>> documents, queries = TaskvecDocumentEmbedder(), TaskvecTextEmbedder()
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from ..embedder import Embedder


class _Embedding:
    """What both components are made of: the model is opened when it is first needed, or by ``warm_up``."""

    def _set_up(self, model: str | None, task: str, encode_options: dict[str, Any] | None, how: dict[str, Any]) -> None:
        self.model = model
        self.task = task
        self.encode_options = dict(encode_options or {})
        self.how = how
        self._embedder: Embedder | None = None

    def warm_up(self) -> None:
        """Opens the model."""
        if self._embedder is None:
            self._embedder = Embedder(self.model, **self.how)

    def _encode(self, texts: Any) -> Any:
        self.warm_up()
        assert self._embedder is not None
        return self._embedder.encode(texts, task=self.task, **self.encode_options).tolist()

    def _settings(self) -> dict[str, Any]:
        return {"model": self.model, "task": self.task, "encode_options": self.encode_options, **self.how}


@component
class TaskvecTextEmbedder(_Embedding):
    """The vector of a query."""

    def __init__(
        self,
        model: str | None = None,
        *,
        task: str = "retrieval-query",
        encode_options: dict[str, Any] | None = None,
        **how: Any,
    ) -> None:
        self._set_up(model, task, encode_options, how)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Embeds a text."""
        return {"embedding": self._encode(text)}

    def to_dict(self) -> dict[str, Any]:
        """Its settings, for a pipeline that is stored."""
        return default_to_dict(self, **self._settings())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TaskvecTextEmbedder:
        """The same again."""
        return default_from_dict(cls, data)


@component
class TaskvecDocumentEmbedder(_Embedding):
    """The vectors of documents, written into copies of them."""

    def __init__(
        self,
        model: str | None = None,
        *,
        task: str = "retrieval-document",
        encode_options: dict[str, Any] | None = None,
        **how: Any,
    ) -> None:
        self._set_up(model, task, encode_options, how)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embeds the contents of documents."""
        for i, document in enumerate(documents):
            if document.content is None:
                raise TypeError(f"document {i} has no content")
        vectors = self._encode([document.content for document in documents])
        return {"documents": [replace(document, embedding=vector) for document, vector in zip(documents, vectors)]}

    def to_dict(self) -> dict[str, Any]:
        """Its settings, for a pipeline that is stored."""
        return default_to_dict(self, **self._settings())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TaskvecDocumentEmbedder:
        """The same again."""
        return default_from_dict(cls, data)
