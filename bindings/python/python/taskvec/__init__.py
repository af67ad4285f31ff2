"""Task-aware text embeddings without torch.

The best vector for a text depends on what it is for. Models such as E5, Instructor, EmbeddingGemma, Nomic and
Qwen3-Embedding were trained with a task prompt in front of the text; this engine puts it there, and says what it did.

    >>> from taskvec import Embedder
    >>> embedder = Embedder()                       # the built-in all-MiniLM-L6-v2
    >>> documents = embedder.encode_document(["Attention relates tokens.", "Tea is made of leaves."])
    >>> query = embedder.encode_query("How do transformers work?")
    >>> int(embedder.similarity(query, documents).argmax())
    0
"""

from ._taskvec import __version__
from .embedder import Embedder, maxsim
from .errors import CancelledError, DeviceError, HubError, ModelError, RequestError, TaskvecError
from .reranker import Reranker

__all__ = [
    "CancelledError",
    "DeviceError",
    "Embedder",
    "HubError",
    "ModelError",
    "RequestError",
    "Reranker",
    "TaskvecError",
    "__version__",
    "maxsim",
]
