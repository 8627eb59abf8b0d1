"""Measures the turns of the event loop, during which no client is served.

The measure is the CPU time of the loop's thread between two waits for events. It excludes garbage
collections, whose length does not depend on what one client asks for, and the time of other
processes.
"""

import asyncio
import gc
import selectors
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from time import thread_time
from typing import Any


class LoopLag:
    """The longest turn since the last `take`."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._thread = 0
        self._began: float | None = None
        """When the turn began, in seconds of CPU, later by the collections since; None: none is
        under way."""
        self._collection_began = 0.0

    def take(self) -> float:
        """Return it in seconds of CPU, and reset it; from any thread."""
        longest, self._longest = self._longest, 0.0
        return longest

    @contextmanager
    def measured(self) -> Iterator[asyncio.Runner]:
        """Return a runner of coroutines whose event loop is measured, in this thread."""
        self._thread = get_ident()
        gc.callbacks.append(self._collected)
        try:
            with asyncio.Runner(loop_factory=self._loop) as runner:
                yield runner
        finally:
            gc.callbacks.remove(self._collected)

    def end_turn(self) -> None:
        """The loop is about to wait."""
        if self._began is not None:
            self._longest = max(self._longest, thread_time() - self._began)

    def begin_turn(self) -> None:
        """The loop has something to do."""
        self._began = thread_time()

    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Watched(self))

    def _collected(self, phase: str, info: Mapping[str, Any]) -> None:
        if get_ident() != self._thread or self._began is None:
            return
        if phase == "start":
            self._collection_began = thread_time()
        else:
            self._began += thread_time() - self._collection_began


class _Watched(selectors.DefaultSelector):
    """What an event loop waits by: all else that it does is its turn."""

    def __init__(self, lag: LoopLag) -> None:
        super().__init__()
        self._lag = lag

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._lag.end_turn()
        try:
            return super().select(timeout)
        finally:
            self._lag.begin_turn()
