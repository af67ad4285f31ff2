"""A class for Ray Data's ``map_batches``. It does not import Ray: it is called with batches of arrays by name.

    >>> from taskvec.integrations.ray import EmbedBatches
    >>> how = {"model": "intfloat/e5-small-v2", "task": "retrieval-document"}
    >>> # rows.map_batches(EmbedBatches, fn_constructor_kwargs=how, concurrency=2, num_cpus=4, batch_size=2048)

Each actor has as many threads as ``num_cpus`` says, unless ``threads`` does. Leave a CPU for Ray's own tasks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..embedder import Embedder
from ._share import threads_of_worker


class EmbedBatches:
    """Adds the vectors of a column of texts to each batch.

    Args:
        model: As for :class:`taskvec.Embedder`, as is what is not named here.
        text: The column of texts.
        output: The column that the vectors are written to.
        task: What the vectors are for.
        encode_options: Further options of :meth:`taskvec.Embedder.encode`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        text: str = "text",
        output: str = "embedding",
        task: str | None = None,
        encode_options: dict[str, Any] | None = None,
        **how: Any,
    ) -> None:
        how.setdefault("threads", threads_of_worker())
        self.embedder = Embedder(model, **how)
        self.text, self.output = text, output
        self.encode_options = {"task": task, **(encode_options or {})}

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with its vectors."""
        return {**batch, self.output: self.embedder.encode(batch[self.text], **self.encode_options)}
