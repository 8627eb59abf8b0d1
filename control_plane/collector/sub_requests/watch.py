"""Ends a client that is too slow while others wait for the room that it takes."""

import asyncio
import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Watch:
    """Looks, from some seconds on and then each second, whether others need what is held here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        is_crowded: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        """Begin."""
        self._loop = loop
        self._is_crowded = is_crowded
        self._end = end
        self._timer = loop.call_later(seconds, self._look)

    def stop(self) -> None:
        """End it."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._is_crowded():
            _log.info("a client is too slow while others wait; its answer breaks off")
            self._end()
        else:
            self._timer = self._loop.call_later(1.0, self._look)
