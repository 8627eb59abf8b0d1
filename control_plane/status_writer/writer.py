"""Writes the conditions of objects, while this replica leads.

A write is made only if it changes something, and its rate is limited, because each one is an event
for every replica. A server-side apply leaves the conditions of others alone. It names the object's
uid, so it never concerns a new object of the same name.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.paths import GROUP_VERSION, events
from scopeway.control_plane.registry.interface import Place
from scopeway.control_plane.status_writer.api import MANAGER, Api, FailureLog
from scopeway.control_plane.status_writer.conditions import (
    ACCEPTED,
    Condition,
    Connection,
    Verdict,
    conditions_of_cloud,
    conditions_of_other,
    is_told,
    to_write,
)
from scopeway.control_plane.status_writer.connected_clouds import ReplicaClouds, cloud_key
from scopeway.control_plane.status_writer.contention import Contention
from scopeway.control_plane.status_writer.events import NAMESPACE, TokenBucket, refusal
from scopeway.control_plane.status_writer.leader import time_of
from scopeway.control_plane.status_writer.presence import Presence
from scopeway.control_plane.status_writer.work_queue import WorkQueue

_log = logging.getLogger(__name__)

WORKERS: Final = 4
"""Writes at once."""
WRITES_PER_SECOND: Final = 50.0
WRITE_BURST: Final = 50
EVENTS_PER_SECOND: Final = 1.0
EVENT_BURST: Final = 25
SLICE: Final = 0.001
"""Seconds of looking at objects between two turns of the event loop."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds without writes after the API server could not be used; each further time doubles it."""
REFUSED_PAUSE: Final = 60.0
"""Seconds without writes after the API server has denied one."""
IDLE: Final = 1.0
"""Seconds between two looks at what became due by time."""

KINDS: Final[Mapping[str, str]] = {
    "edgeclouds": "EdgeCloud",
    "cordons": "Cordon",
    "servicetypes": "ServiceType",
}


class Observed(Protocol):
    """What the registry's watch saw of an object; another instance after each change."""

    @property
    def uid(self) -> str:
        """The object's."""

    @property
    def generation(self) -> int:
        """Of the spec."""

    @property
    def conditions(self) -> Sequence[Condition]:
        """Of the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What the control plane knows of objects; its functions are called between two batches."""

    observed: Callable[[], Mapping[Place, Observed]]
    """Returns the objects that there are; after a listing it may be another mapping."""
    verdict: Callable[[Place], Verdict | None]
    """Judges the version that is observed; None: this place isn't known."""
    settled: Callable[[], AbstractAsyncContextManager[None]]
    """Keeps batches away meanwhile: between two of them, verdict and observation agree."""


@dataclass(frozen=True, slots=True)
class _Write:
    observed: Observed
    conditions: list[dict[str, Any]]
    refusal: Condition | None
    """The condition that an Event tells; None: none."""


class StatusWriter:
    """The conditions of all objects of one API server."""

    def __init__(
        self,
        api: Api,
        judge: Judge,
        *,
        is_leader: Callable[[], bool],
        replica: str,
        disconnected_after: float,
        count: Callable[[str, str], None] = lambda what, result: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Write nothing yet: `run` does the work.

        Args:
            api: The API server.
            judge: What the control plane knows.
            is_leader: Whether this replica may write now.
            replica: Its name, for Events.
            disconnected_after: Seconds that an Envoy may be away.
            count: Is called with ("write" or "event") and its result.
            clock: Seconds that never go back.
            wall: Seconds since 1970.
        """
        self._api = api
        self._judge = judge
        self._is_leader = is_leader
        self._replica = replica
        self._grace = disconnected_after
        self._count = count
        self._clock = clock
        self._wall = wall
        self._queue = WorkQueue()
        self._wake = asyncio.Event()
        self._leads = False
        self._paused_until = 0.0
        self._pauses = 0
        self._writes = TokenBucket(per_second=WRITES_PER_SECOND, burst=WRITE_BURST)
        self._events = TokenBucket(per_second=EVENTS_PER_SECOND, burst=EVENT_BURST)
        self._log = FailureLog("write the status of objects")
        self._event_log = FailureLog(f"write Events in the namespace {NAMESPACE}")
        self._places: dict[int, Place] = {}
        """The EdgeClouds by their keys."""
        self._written: dict[Place, tuple[Observed, list[dict[str, Any]]]] = {}
        """What was written to an object as it was observed, until the watch shows it."""
        self._contention = Contention()
        self._connected = Presence(disconnected_after)
        self._too_large = Presence(disconnected_after)

    @property
    def pending(self) -> int:
        """How many objects wait to be looked at."""
        return len(self._queue)

    def lead(self) -> None:
        """Begin to lead: look at all objects."""
        self._leads = True
        self._contention = Contention()
        self._connected = Presence(self._grace)
        self._too_large = Presence(self._grace)
        self.touch_all()

    def follow(self) -> None:
        """Lead no more."""
        self._leads = False
        self._queue.clear()
        self._places.clear()
        self._written.clear()

    def touch(self, places: Iterable[Place]) -> None:
        """Look at objects that have changed, or whose verdict may have."""
        if self._leads:
            self._queue.add(places)
            self._wake.set()

    def touch_all(self) -> None:
        """Look at all objects, after those that have changed."""
        if self._leads:
            self._queue.add(list(self._judge.observed()), urgent=False)
            self._wake.set()

    def set_clouds(self, clouds: ReplicaClouds) -> None:
        """Take which clouds are connected to some replica now."""
        now = self._clock()
        if self._connected.is_unknown:
            self.touch_all()
        keys = {*self._connected.update(clouds.connected, now)}
        keys.update(self._too_large.update(clouds.policy_too_large, now))
        for presence in (self._connected, self._too_large):
            expired = presence.expire(now)
            if expired is None:
                self.touch_all()
            else:
                keys.update(expired)
        self.touch(place for key in keys if (place := self._places.get(key)) is not None)

    async def run(self) -> None:
        """Write; for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"status {number}")

    async def _work(self) -> None:
        end = time.perf_counter() + SLICE
        while True:
            now = self._clock()
            if self._paused_until > now:
                await asyncio.sleep(self._paused_until - now)
                continue
            place = self._queue.take(now)
            if place is None:
                self._wake.clear()
                await self._rest(now)
                end = time.perf_counter() + SLICE
                continue
            try:
                await self._settle(place)
            except Exception:  # the others must be done all the same
                _log.exception("the status of %s could not be worked out", place)
                self._queue.failed(place, self._clock())
            if time.perf_counter() >= end:
                await asyncio.sleep(0)
                end = time.perf_counter() + SLICE

    async def _rest(self, now: float) -> None:
        wait = self._queue.wait(now)
        try:
            async with asyncio.timeout(IDLE if wait is None else min(wait, IDLE)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _settle(self, place: Place) -> None:
        """Write what differs at one place."""
        async with self._judge.settled():
            write = self._work_out(place)
        if write is None:
            self._queue.done(place)
            return
        until = self._contention.free_at(place, write.observed.generation)
        if until > self._clock():
            self._queue.postpone(place, until)
            return
        await asyncio.sleep(self._writes.reserve(self._clock()))
        async with self._judge.settled():
            write = self._work_out(place)
        if write is None or not self._leads:
            self._queue.done(place)
        elif not self._is_leader():  # the renewal is late, and may still come
            self._queue.postpone(place, self._clock() + FIRST_PAUSE)
        else:
            await self._write(place, write)

    def _work_out(self, place: Place) -> _Write | None:
        """Return what has to be written to an object; None: nothing."""
        resource, _, name = place.partition("/")
        observed = self._judge.observed().get(place)
        if observed is None:
            self._forget(place, resource, name)
            return None
        verdict = self._judge.verdict(place)
        if verdict is None or resource not in KINDS:
            return None
        current = self._current(place, observed)
        if resource == "edgeclouds":
            key = cloud_key(name)
            self._places[key] = place
            connection = self._connected.state(key)
            verdict = replace(verdict, policy_too_large=self._is_too_large(key, connection))
            wanted = conditions_of_cloud(
                verdict, connection, current=current, generation=observed.generation
            )
        else:
            wanted = conditions_of_other(verdict)
        now = time_of(self._wall())
        conditions = to_write(current, wanted, generation=observed.generation, now=now)
        if conditions is None:
            return None
        told = None
        accepted = wanted[0]
        if not accepted.status and not is_told(current, accepted, observed.generation):
            told = next(each for each in conditions if each["type"] == ACCEPTED)
        return _Write(observed, conditions, told)

    def _is_too_large(self, key: int, connection: Connection) -> bool | None:
        found = self._too_large.state(key)
        if found is Connection.CONNECTED:
            return True
        known = found is Connection.ABSENT and connection is Connection.CONNECTED
        return False if known else None

    def _current(self, place: Place, observed: Observed) -> Sequence[Condition]:
        """Return the conditions that an object has, as far as this replica knows."""
        before = self._written.get(place)
        if before is not None:
            if before[0] is observed:
                return before[1]
            del self._written[place]
        return observed.conditions

    def _forget(self, place: Place, resource: str, name: str) -> None:
        self._written.pop(place, None)
        self._contention.forget(place)
        if resource == "edgeclouds":
            self._places.pop(cloud_key(name), None)

    async def _write(self, place: Place, write: _Write) -> None:
        resource, _, name = place.partition("/")
        path = f"/apis/{GROUP_VERSION}/{place}"
        document = {
            "apiVersion": GROUP_VERSION,
            "kind": KINDS[resource],
            "metadata": {"name": name, "uid": write.observed.uid},
            "status": {"conditions": write.conditions},
        }
        try:
            await self._api.apply(path, document, manager=MANAGER, subresource="status")
        except ApiError as error:
            self._failed(place, error)
            return
        self._pauses = 0
        self._log.succeeded()
        self._count("write", "written")
        self._written[place] = (write.observed, write.conditions)
        if self._contention.note(place, write.observed.generation, self._clock()):
            _log.warning(
                "the status of %s is changed again and again: does a control plane of another "
                "namespace write it, too? It is written less often from now on",
                place,
            )
        if write.refusal is not None:
            await self._tell(KINDS[resource], name, write.observed, write.refusal)
        self._queue.done(place)

    def _failed(self, place: Place, error: ApiError) -> None:
        now = self._clock()
        if error.is_missing:  # deleted meanwhile
            self._count("write", "gone")
            self._queue.done(place)
            return
        self._queue.failed(place, now)
        if error.is_conflict:  # it is another object now: the watch will show it
            self._count("write", "conflict")
            return
        self._log.failed(error)
        self._count("write", "denied" if error.is_refused else "failed")
        if error.is_refused:
            self._paused_until = now + REFUSED_PAUSE
        elif error.code in (0, 429) or error.code >= 500:
            pause = min(FIRST_PAUSE * 2.0 ** min(self._pauses, 16), LONGEST_PAUSE)
            self._pauses += 1
            self._paused_until = now + pause * random.uniform(0.5, 1.0)

    async def _tell(self, kind: str, name: str, observed: Observed, told: Condition) -> None:
        """Create the Event of a refusal."""
        if not self._events.take(self._clock()):
            self._count("event", "dropped")
            return
        event = refusal(
            kind=kind,
            name=name,
            uid=observed.uid,
            generation=observed.generation,
            reason=told["reason"],
            message=told["message"],
            replica=self._replica,
            wall=self._wall(),
        )
        try:
            await self._api.create(events(NAMESPACE), event)
        except ApiError as error:
            if error.is_conflict:  # another leader has told it
                return
            self._event_log.failed(error)
            self._count("event", "failed")
        else:
            self._event_log.succeeded()
            self._count("event", "created")
