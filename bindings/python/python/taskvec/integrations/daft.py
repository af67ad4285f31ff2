"""A provider for Daft's ``embed_text``, on one machine or on many.

    >>> import daft
    >>> from daft.functions import embed_text
    >>> from taskvec.integrations.daft import provider
    >>> frame = daft.from_pydict({"text": ["tea is made of leaves"]})
    >>> frame = frame.with_column("embedding", embed_text(frame["text"], provider=provider(), task="retrieval-document"))

The model is opened once in each process that embeds, with all threads, so that one instance is enough on a machine
(``concurrency=1``); of several each has its share, and they share the mapped file. A null text has a null vector.
"""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daft import DataType
from daft.ai.protocols import TextEmbedder, TextEmbedderDescriptor
from daft.ai.provider import Provider
from daft.ai.typing import EmbeddingDimensions, Options, UDFOptions

from ..embedder import Embedder
from ._share import threads_of_worker

if TYPE_CHECKING:
    from daft import CheckpointStore

# Rows of a batch: a call's last batches are filled less well, so there should be many in it.
_ROWS = 2048


def provider(**how: Any) -> TaskvecProvider:
    """A provider whose models are opened so: the arguments are those of :class:`taskvec.Embedder`."""
    return TaskvecProvider(how)


def remove_unfinished(store: CheckpointStore, folder: str | os.PathLike[str]) -> list[str]:
    """Removes the Parquet files of a local folder that a killed job wrote in part, or whole without having said so to the store,
    before the same job is run again with its ``CheckpointStore``: their rows are embedded again. Gives the paths."""
    from daft.recordbatch import MicroPartition

    finished: set[str] = set()
    for file in store.get_checkpointed_files():
        paths = MicroPartition.from_ipc_stream(file.data).to_pydict()["path"]
        finished |= {os.path.realpath(path.removeprefix("file://")) for path in paths}
    unfinished = [str(path) for path in pathlib.Path(folder).rglob("*.parquet") if os.path.realpath(path) not in finished]
    for path in unfinished:
        os.remove(path)
    return unfinished


class TaskvecProvider(Provider):
    """Daft's ``Provider`` for taskvec."""

    def __init__(self, how: dict[str, Any]) -> None:
        self.how = how

    @property
    def name(self) -> str:
        """The provider's name."""
        return "taskvec"

    def get_text_embedder(
        self, model: str | None = None, dimensions: int | None = None, **options: Any
    ) -> TaskvecDescriptor:
        """How texts are embedded. ``options``: those of :meth:`taskvec.Embedder.encode`, and ``batch_size``,
        ``concurrency``, ``max_retries`` and ``on_error`` as Daft has them."""
        of_daft = {key: options.pop(key) for key in list(options) if key in UDFOptions.__annotations__}
        return TaskvecDescriptor(model, self.how, {**options, "dimensions": dimensions}, of_daft)


@dataclass
class TaskvecDescriptor(TextEmbedderDescriptor):
    """What a worker needs to open the model."""

    model: str | None
    how: dict[str, Any]
    encode_options: dict[str, Any]
    udf_options: dict[str, Any] = field(default_factory=dict)

    def get_provider(self) -> str:
        """The provider's name."""
        return "taskvec"

    def get_model(self) -> str:
        """The model's name."""
        return self.model or "all-MiniLM-L6-v2"

    def get_options(self) -> Options:
        """All options by name."""
        return {**self.how, **self.encode_options, **self.udf_options}

    def get_dimensions(self) -> EmbeddingDimensions:
        """Values of a vector, for which the model is opened once."""
        size = Embedder(self.model, **{**self.how, "device": "cpu"}).encode([], **self.encode_options).shape[1]
        return EmbeddingDimensions(size=size, dtype=DataType.float32())

    def get_udf_options(self) -> UDFOptions:
        """How Daft calls it."""
        return UDFOptions(**{"concurrency": 1, "batch_size": _ROWS, **self.udf_options})

    def instantiate(self) -> TaskvecTextEmbedder:
        """Opens the model, in the process that embeds."""
        how = {"threads": threads_of_worker(self.udf_options.get("concurrency")), **self.how}
        return TaskvecTextEmbedder(Embedder(self.model, **how), self.encode_options)


class TaskvecTextEmbedder(TextEmbedder):
    """Daft's ``TextEmbedder``."""

    def __init__(self, embedder: Embedder, encode_options: dict[str, Any]) -> None:
        self.embedder = embedder
        self.encode_options = encode_options

    def embed_text(self, text: list[str | None]) -> list[Any]:
        """The vectors of a batch."""
        vectors = iter(self.embedder.encode([one for one in text if one is not None], **self.encode_options))
        return [None if one is None else next(vectors) for one in text]
