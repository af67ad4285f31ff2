"""How models are opened, again in each process that needs them."""

from __future__ import annotations

import os
from typing import Any

# Engines of the process that this one was forked from: their threads are not here. They are kept, since closing one
# would wait for those.
_inherited: list[Any] = []


class Opened:
    """Something that is opened by a class of the Rust half, and once more in a process that was forked or unpickled."""

    _engine_class: Any

    def __init__(self, how: dict[str, Any]) -> None:
        self._how = how
        self._open()

    def _open(self) -> None:
        self._engine_in_use = self._engine_class(self._how)
        self._process = os.getpid()

    @property
    def _engine(self) -> Any:
        if self._process != os.getpid():
            _inherited.append(self._engine_in_use)
            self._open()
        return self._engine_in_use

    @property
    def max_tokens(self) -> int:
        """The most tokens that the model sees at once, special ones included."""
        return self._engine.max_tokens

    @property
    def device(self) -> str:
        """What runs the model."""
        return self._engine.device

    def __getstate__(self) -> dict[str, Any]:
        return self._how

    def __setstate__(self, how: dict[str, Any]) -> None:
        Opened.__init__(self, how)
