"""Reads the watches of all three resources at once, and keeps the last state of each object.

The next listing finds what still waits when the watches end.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Final

import msgspec

from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.registry.change_pacer import ChangePacer
from scopeway.control_plane.registry.interface import Place
from scopeway.control_plane.registry.kubernetes.objects import RESOURCES, Resource, SeenObject, see

PROBE_TIMEOUT: Final = 5.0
"""Seconds that an API server may take to answer a probe."""
PROBE_RETRY: Final = 1.0
"""Seconds between a probe without an answer and the next one."""


class Silent(ApiError):
    """The API server answers no probe: it hangs, or the way to it is cut."""


class Ended(ApiError):
    """The API server has ended a watch in good order, as it does now and then."""


Change = SeenObject | None
"""The last state of an object; None if it was deleted."""


class WentBack(Exception):
    """The API server has a lower resource version than it had: it was restored, or replaced."""


class Watches:
    """One watch for each resource, and a probe that notices an API server that hangs."""

    def __init__(
        self,
        client: ApiClient,
        versions: Mapping[Resource, str],
        *,
        seconds: float,
        probe_interval: float,
    ) -> None:
        """Make them; `open` starts them.

        Args:
            client: Of the API server.
            versions: The resource versions of the lists.
            seconds: After which the API server ends a watch.
            probe_interval: Seconds between two probes.
        """
        self.pacer: ChangePacer[Change] = ChangePacer()
        self.highest = max(map(number, versions.values()), default=0)
        """The highest resource version that was seen."""
        self._client = client
        self._versions = versions
        self._seconds = seconds
        self._probe_interval = probe_interval
        self._tasks: list[asyncio.Task[None]] = []
        self._open = 0
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Return once all watches are open.

        Raises:
            ApiError: the API server refuses one.
        """
        start = asyncio.create_task
        self._tasks = [start(self._read(each), name=f"watch {each.name}") for each in RESOURCES]
        while self._open < len(RESOURCES):
            self._news.clear()
            self._raise_errors()
            await self._news.wait()
        self._tasks.append(start(self._probe(), name="probe of the API server"))

    async def take(self) -> Mapping[Place, Change]:
        """Wait for objects whose change is due; return the last state of each.

        Raises:
            ApiError: a watch has ended.
            WentBack: all must be listed anew.
        """
        while True:
            now = time.monotonic()
            if due := self.pacer.take_due(now):
                return due
            self._news.clear()
            self._raise_errors()
            rest = self.pacer.seconds_until_due(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._news.wait()

    async def close(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:  # mark the exceptions as retrieved
            _ = task.cancelled() or task.exception()

    def _raise_errors(self) -> None:
        failed = [task.exception() for task in self._tasks if task.done()]
        # always the same one of several errors: another reason would be reported again
        errors = [error for error in failed if error is not None]
        if errors:
            raise min(errors, key=_rank)

    async def _read(self, resource: Resource) -> None:
        watch = self._client.watch(resource.path, self._versions[resource], seconds=self._seconds)
        try:
            async with aclosing(watch) as lists:
                async for events in lists:
                    if not events:
                        self._open += 1
                    for event in events:
                        self._add(resource, event.type, event.object)
                    self._news.set()
            raise Ended("it ended the watch", place=self._client.place)
        finally:
            self._news.set()

    def _add(self, resource: Resource, kind: str, raw: msgspec.Raw) -> None:
        if kind == "BOOKMARK":
            return
        try:
            seen = see(resource, raw)
        except msgspec.MsgspecError:
            sentence = f"sent something else than an object of {resource.name}"
            raise ApiError(sentence, place=self._client.place) from None
        self.highest = max(self.highest, number(seen.version))
        self.pacer.add(seen.place, None if kind == "DELETED" else seen)

    async def _probe(self) -> None:
        """Ask for one object now and then: an open watch looks the same if nobody is there."""
        missed = 0
        try:
            while True:
                await asyncio.sleep(PROBE_RETRY if missed else self._probe_interval)
                error = await self._ask()
                if error is None:
                    missed = 0
                elif error.is_refused:  # the watches go on, but no other could be opened
                    raise error
                elif error.code == 0:  # an API server that is busy answers 429
                    missed += 1
                    if missed > 1:
                        raise Silent(error.sentence, place=error.place)
        finally:
            self._news.set()

    async def _ask(self) -> ApiError | None:
        """Return why a resource cannot be listed."""
        for resource in RESOURCES:
            highest = self.highest
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    found = await self._client.get(resource.path, {"limit": "1"})
            except TimeoutError:
                return ApiError("no answer in time", place=self._client.place)
            except ApiError as error:
                return error
            metadata = found.get("metadata")
            version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
            if 0 < number(version) < highest:
                raise WentBack
        return None


def number(version: object) -> int:
    """Return a resource version to compare; 0 if it is no number."""
    text = version if isinstance(version, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _rank(error: BaseException) -> tuple[bool, bool, str]:
    refused = isinstance(error, ApiError) and error.is_refused
    return not isinstance(error, WentBack), not refused, str(error)
