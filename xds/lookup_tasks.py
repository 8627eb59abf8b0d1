"""Awaits what a source answers later, for one stream: a task each, so many at a time.

For a session's owner on an event loop: `xds.grpc_server.stream` and `xds.testing`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from scopeway.xds.protocol.lookups import Lookup


class LookupTasks:
    """The lookups of one stream that are under way.

    Args:
        most: So many are awaited at a time.
        finished: Is told what came of each, as `Session.lookup_finished`.
    """

    __slots__ = ("_finished", "_most", "_queue", "_tasks")

    def __init__(self, most: int, finished: Callable[[Lookup, object], object]) -> None:
        self._most = most
        self._finished = finished
        self._queue: dict[Lookup, None] = {}  # first come, first served
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """The number of those for which there is no room yet."""
        return len(self._queue)

    def start(self, lookups: list[Lookup]) -> None:
        """Await these, as soon as there is room."""
        for lookup in lookups:
            if lookup.is_abandoned:
                lookup.close()
            else:
                self._queue[lookup] = None
                lookup.on_abandoned(partial(self._leave_queue, lookup))
        self._fill()

    def close(self) -> None:
        """Cancel all."""
        for lookup in self._queue:
            lookup.close()
        self._queue.clear()
        for task in tuple(self._tasks):
            task.cancel()

    async def wait(self) -> bool:
        """Wait until one ends; return whether there was any."""
        if not self._tasks:
            return False
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return True

    def _fill(self) -> None:
        while self._queue and len(self._tasks) < self._most:
            lookup = next(iter(self._queue))
            del self._queue[lookup]
            task = asyncio.create_task(self._await(lookup), name="xds lookup")
            lookup.on_abandoned(task.cancel)
            self._tasks.add(task)
            task.add_done_callback(self._done(lookup))

    def _leave_queue(self, lookup: Lookup) -> None:
        self._queue.pop(lookup, None)
        lookup.close()

    def _done(self, lookup: Lookup) -> Callable[[asyncio.Task[None]], Any]:
        def done(task: asyncio.Task[None]) -> None:
            lookup.close()  # harmless unless it was cancelled before its first step
            self._tasks.discard(task)
            self._fill()

        return done

    async def _await(self, lookup: Lookup) -> None:
        try:
            answer: object = await _unshared(lookup.answer)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # what the source awaits was cancelled, by somebody else
            answer = RuntimeError("what the lookup waits for was cancelled")
        except Exception as error:
            answer = error
        self._finished(lookup, answer)


def _unshared(answer: Awaitable[Any]) -> Awaitable[Any]:
    """Return what to await, so that a cancellation ends no future that others await, too."""
    return asyncio.shield(answer) if asyncio.isfuture(answer) else answer
