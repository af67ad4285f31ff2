"""What callers pass for texts."""

from __future__ import annotations

from typing import Any, Iterable


def listed(texts: Any, what: str = "texts") -> tuple[Iterable[str], bool]:
    """The texts of a call, and whether it was a single one."""
    if isinstance(texts, str):
        return [texts], True
    if texts is None or isinstance(texts, (bytes, bytearray, dict, int, float)):
        raise TypeError(f"{what} is {type(texts).__name__}, expected a str or an iterable of str")
    if hasattr(texts, "to_pylist"):  # pyarrow
        return texts.to_pylist(), False
    if hasattr(texts, "tolist"):  # NumPy, pandas
        texts = texts.tolist()
        if isinstance(texts, str):
            return [texts], True
        return texts, False
    try:
        iter(texts)
    except TypeError:
        raise TypeError(f"{what} is {type(texts).__name__}, expected a str or an iterable of str") from None
    return list(texts), False
