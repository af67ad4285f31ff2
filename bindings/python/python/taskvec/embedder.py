"""Embedding models."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, Sequence

import numpy as np

from . import _taskvec
from ._open import Opened
from ._texts import listed

if TYPE_CHECKING:
    import pyarrow
    import scipy.sparse

Texts = str | Iterable[str]
OutputType = Literal["f32", "f16", "int8", "uint8", "binary", "ubinary"]


class Embedder(Opened):
    """A model that gives vectors of texts. Threads may share one; a pickled one is opened again where it is unpickled.

    Args:
        model: A folder, or a model of the Hugging Face Hub as ``org/name`` or ``org/name@revision``, which is downloaded
            once. ``None``: the built-in all-MiniLM-L6-v2.
        device: ``auto`` (the CPU, and for calls of many tokens a GPU if it is faster), ``cpu``, ``gpu`` or ``reference``.
        adapter: Which GPU: a number or a part of its name, ``vulkan``, ``metal``, ``dx12`` or ``fastest``.
        precision: ``f32`` (the reference's vector), ``bf16``, ``int8`` (CPU), ``f16`` (GPU) or ``auto``.
        threads: Threads on the CPU; all of them unless said.
        max_tokens: The most tokens of a text, its prompt included; the model's own limit unless said.
        batch_tokens: Tokens that are computed together; what suits the device unless said.
        dimensions: Opens the model's projection to that size, if it has one.
        registry: A file of prompts that come before the model's own.
        instruction_set: The CPU's, such as ``avx2``; the fastest unless said.

    Raises:
        ModelError, DeviceError, HubError, RequestError: If it cannot be opened so.
    """

    _engine_class = _taskvec.Engine

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        adapter: str | None = None,
        precision: str = "f32",
        threads: int | None = None,
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        dimensions: int | None = None,
        registry: str | os.PathLike[str] | None = None,
        instruction_set: str | None = None,
    ) -> None:
        super().__init__(
            {
                "model": None if model is None else os.fspath(model),
                "device": device,
                "adapter": adapter,
                "precision": precision,
                "threads": threads,
                "max_tokens": max_tokens,
                "batch_tokens": batch_tokens,
                "dimensions": dimensions,
                "registry": None if registry is None else os.fspath(registry),
                "instruction_set": instruction_set,
            }
        )

    def encode(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        template: str | None = None,
        instruction: str | None = None,
        titles: Iterable[str | None] | None = None,
        dimensions: int | None = None,
        output_type: OutputType = "f32",
        ranges: tuple[Sequence[float], Sequence[float]] | None = None,
        normalize: bool | None = None,
        too_long: str | None = None,
        show_progress: bool = False,
    ) -> np.ndarray:
        """The vectors of texts, ``[texts, values]``; of a single ``str``, ``[values]``.

        Args:
            texts: A ``str``, any iterable of them, or a column of strings with Arrow's C interface (of pyarrow, Polars and others),
                which is read where it lies.
            task: What the vectors are for: ``retrieval-query``, ``retrieval-document``, ``question-answering``,
                ``fact-verification``, ``code-retrieval-query``, ``semantic-similarity``, ``classification`` or ``clustering``;
                vendors' own names are known too. See :meth:`tasks`.
            prompt_name: A prompt of the model by its name.
            prompt: A text to put in front.
            template: A text with ``{text}`` in it to put around.
            instruction: In your own words, for models that take one.
            titles: A title, or ``None``, for each text, for models whose prompt has a place for one.
            dimensions: Cuts vectors to that size.
            output_type: The type of values. ``binary`` and ``ubinary`` are packed bits.
            ranges: For ``int8`` and ``uint8``: the smallest and the largest value of each dimension.
            normalize: Whether vectors get unit length; as the model says unless said.
            too_long: ``truncate``, ``truncate-start``, ``error`` or ``windows``; as the model says unless said.
            show_progress: Shows a bar with tqdm, if that is installed.

        Raises:
            TypeError, ValueError: If a text is none: it says which.
            RequestError: If options do not fit the model.
        """
        items, is_single = listed(texts)
        options = _options(task, prompt_name, prompt, template, instruction, dimensions, normalize, too_long)
        if titles is not None:
            titles = listed(titles, "titles")[0]
        with _bar(show_progress, items) as progress:
            vectors = self._engine.encode(items, titles, options, output_type, ranges, progress)
        return vectors[0] if is_single else vectors

    def encode_query(self, texts: Texts, **options: Any) -> np.ndarray:
        """:meth:`encode` for search queries."""
        return self.encode(texts, **{"task": "retrieval-query", **options})

    def encode_document(self, texts: Texts, **options: Any) -> np.ndarray:
        """:meth:`encode` for documents that are to be found."""
        return self.encode(texts, **{"task": "retrieval-document", **options})

    def encode_arrow(self, texts: Any, **options: Any) -> pyarrow.FixedSizeListArray:
        """:meth:`encode` as an Arrow array of fixed-size lists, over the memory of the vectors. Needs pyarrow."""
        import pyarrow

        vectors = self.encode(listed(texts)[0], **options)
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])

    def encode_sparse(
        self, texts: Texts, *, show_progress: bool = False, **options: Any
    ) -> scipy.sparse.csr_matrix:
        """Weights for entries of the vocabulary (SPLADE, bge-m3), ``[texts, vocabulary]``. Needs scipy."""
        import scipy.sparse

        items, _ = listed(texts)
        with _bar(show_progress, items) as progress:
            values, indices, starts, size = self._engine.encode_sparse(items, _options(**options), progress)
        return scipy.sparse.csr_matrix((values, indices, starts), shape=(len(starts) - 1, size))

    def encode_tokens(self, texts: Texts, *, show_progress: bool = False, **options: Any) -> Any:
        """A vector for each token (ColBERT): a list of ``[tokens, values]``; of a single ``str`` one of them."""
        items, is_single = listed(texts)
        with _bar(show_progress, items) as progress:
            vectors = self._engine.encode_tokens(items, _options(**options), progress)
        return vectors[0] if is_single else vectors

    def similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """How alike vectors are, ``[one, other]``, by the model's own measure; the larger, the more alike."""
        one, other = (np.atleast_2d(np.asarray(vectors, dtype=np.float32)) for vectors in (one, other))
        function = self.similarity_function
        if function == "dot":
            return one @ other.T
        if function == "cosine":
            lengths = [np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (one, other)]
            one, other = (v / np.where(length == 0, 1, length) for v, length in zip((one, other), lengths))
            return one @ other.T
        difference = one[:, None, :] - other[None, :, :]
        if function == "euclidean":
            return -np.sqrt((difference**2).sum(-1))
        return -np.abs(difference).sum(-1)

    def explain(self, text: str, **options: Any) -> dict[str, Any]:
        """What the model sees of a text: the prompt and where it is from, the tokens, and which of them are pooled."""
        return json.loads(self._engine.explain(text, _options(**options)))

    def tasks(self) -> list[dict[str, Any]]:
        """What each task does with this model: its prompt, where that is from, and what to know about it."""
        return json.loads(self._engine.tasks())

    def fingerprint(self, **options: Any) -> str:
        """Of the space that vectors with these options lie in. Only vectors of one space can be compared."""
        return self._engine.fingerprint(_options(**options))

    @staticmethod
    def check_comparable(one: str, other: str) -> None:
        """Raises a :class:`RequestError` if vectors of these fingerprints may not be compared."""
        _taskvec.Engine.check_comparable(one, other)

    @property
    def dimensions(self) -> int:
        """Values of a vector."""
        return self._engine.dimensions

    @property
    def similarity_function(self) -> str:
        """How vectors of this model are compared: ``cosine``, ``dot``, ``euclidean`` or ``manhattan``."""
        return self._engine.similarity_function

    @property
    def model(self) -> str:
        """The model's folder, or a name for the one inside."""
        return self._engine.model

    def __repr__(self) -> str:
        return f"<taskvec.Embedder {self.model} on {self.device}>"


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    """How well a document's token vectors match a query's: for each of the query's the best product, added up."""
    return _taskvec.maxsim(query, document)


def _options(
    task: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    template: str | None = None,
    instruction: str | None = None,
    dimensions: int | None = None,
    normalize: bool | None = None,
    too_long: str | None = None,
) -> dict[str, Any]:
    return {
        "task": task,
        "prompt_name": prompt_name,
        "prompt": prompt,
        "template": template,
        "instruction": instruction,
        "dimensions": dimensions,
        "normalize": normalize,
        "too_long": too_long,
    }


class _bar:
    """A bar for so many texts, as a function that is told how many are done; without tqdm there is none."""

    def __init__(self, show: bool, items: Any) -> None:
        self._bar: Any = None
        if show:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=len(items) if hasattr(items, "__len__") else None, unit="text")

    def __enter__(self) -> Callable[[int], None] | None:
        if self._bar is None:
            return None
        return lambda done: self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
