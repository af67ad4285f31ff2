"""What callers pass for texts."""

from __future__ import annotations

from typing import Any, Iterable


def listed(texts: Any, what: str = "texts") -> tuple[Iterable[str], bool]:
    """The texts of a call, and whether it was a single one."""
    if isinstance(texts, str):
        return [texts], True
    if texts is None or isinstance(texts, (bytes, bytearray, dict, int, float)):
        raise TypeError(f"{what} is {type(texts).__name__}, expected a str or an iterable of str")
    if _is_arrow(texts):
        return texts, False
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


def strings(texts: Any, what: str = "texts") -> list[str]:
    """The texts of a call as Python's own."""
    items, _ = listed(texts, what)
    for convert in ("to_pylist", "to_list"):  # pyarrow's and Polars' names for it
        if hasattr(items, convert):
            return getattr(items, convert)()
    return list(items)


def _is_arrow(texts: Any) -> bool:
    """Whether it is a column with Arrow's C interface: of pyarrow, Polars, DuckDB and others, which is read where it lies."""
    if type(texts).__module__.partition(".")[0] == "pandas":
        return False  # needs pyarrow for it, and copies what is not Arrow's already
    return hasattr(texts, "__arrow_c_stream__") or hasattr(texts, "__arrow_c_array__")
