"""Clouds registered in etcd: `<prefix>/clouds/<name>`, each a JSON document, cordons beside them.

Owns listing and watching; a connection is in `etcd_client`. Knows nothing of what clouds are for.
Invariant: no change is missed: after an interruption the watch goes on at the revision after the
last one seen, or everything is listed anew and the differences are told.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import grpc
from aetcd import rpc

from control_plane.registry.documents import parse_json
from control_plane.registry.etcd_client import EtcdError, Session, connected, describe
from control_plane.registry.etcd_url import EtcdUrl
from control_plane.registry.pace import Pace
from control_plane.registry.protocol import Batch, Entry, Place, RegistryUnavailable

log = logging.getLogger(__name__)

PAGE = 500
"""Keys of one request of a listing."""
SLICE = 0.002
"""Seconds for which documents are read at once; others have their turn in between. One document
takes up to 17 ms: what it may hold is bounded (`clouds.limits`)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect, before jitter."""


class EtcdRegistry:
    """The clouds of one etcd."""

    def __init__(self, url: EtcdUrl, *, patience: float) -> None:
        """Make it; nothing is connected before `watch`.

        Args:
            url: Where.
            patience: Seconds to try until `watch` raises RegistryUnavailable.
        """
        self._url = url
        self._patience = patience
        self._folder = f"{url.prefix}/clouds/"
        self._known: dict[Place, int] = {}
        """The keys told so far, to the revision of their last change."""
        self._cluster = 0
        self._revision = 0
        """All changes up to it have been told; 0 before the first listing."""

    @property
    def name(self) -> str:
        """The URL without its password."""
        return str(self._url)

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        start = connection = time.monotonic()
        failures, told_away, used, lost = 0, False, "", time.time()
        while True:
            avoid, used = used, ""  # for one attempt only: it may be the only one that lives
            try:
                async with connected(self._url, avoid=avoid) as session:
                    used, connection = session.endpoint, time.monotonic()
                    if told_away:
                        told_away = False
                        yield Batch()
                    async with aclosing(self._session(session)) as batches:
                        async for batch in batches:
                            failures = 0
                            yield batch
            except EtcdError as error:
                lost = time.time() if used else lost
                lasted = bool(used) and time.monotonic() - connection > LONGEST_PAUSE
                failures = 1 if lasted else failures + 1
                if not self._revision:
                    if error.refused or time.monotonic() - start > self._patience:
                        raise RegistryUnavailable(f"{self.name} cannot be read: {error}") from None
                elif failures > 1 and not told_away:  # the first may be a member that is restarted
                    told_away = True
                    yield Batch(stale=f"{self.name} is away: {error}", current=lost)
            # before the first listing somebody waits
            await asyncio.sleep(_pause(failures if self._revision else min(failures, 2)))

    def release(self, names: Collection[str]) -> None:
        """Do nothing: what is gone is not remembered here."""

    async def close(self) -> None:
        """Do nothing: a connection lives as long as its `watch`."""

    async def _session(self, session: Session) -> AsyncGenerator[Batch, None]:
        """Yield what is new, until the connection breaks with an EtcdError."""
        another = session.cluster != self._cluster or session.revision < self._revision
        if not another:
            async for batch in self._changes(session):
                yield batch
        while True:
            yield await self._listing(session)
            async for batch in self._changes(session):
                yield batch

    async def _listing(self, session: Session) -> Batch:
        """List everything: all of it at first and of another cluster, else the differences."""
        whole = session.cluster != self._cluster
        known = {} if whole else self._known
        found: dict[Place, int] = {}
        upserts: dict[Place, Entry] = {}
        revision = 0
        async for at, page in pages(session, self._folder):
            revision = at
            entries = {kv.key.decode(errors="backslashreplace"): kv for kv in page}
            found.update((place, kv.mod_revision) for place, kv in entries.items())
            news = {at: kv for at, kv in entries.items() if known.get(at) != kv.mod_revision}
            upserts |= await self._read(news)
        self._known, self._revision, self._cluster = found, revision, session.cluster
        return Batch(upserts=upserts, deletes=known.keys() - found.keys(), complete=whole)

    async def _changes(self, session: Session) -> AsyncGenerator[Batch, None]:
        """Yield the changes after `_revision`; end where these are compacted away."""
        call = rpc.WatchStub(session.channel).Watch(metadata=session.metadata)
        watch = _Watch(call, self._revision)
        try:
            await call.write(_watch_request(self._folder, self._revision + 1))
            reading = asyncio.create_task(watch.read(), name="etcd watch")
            try:
                while events := await watch.take(reading):
                    start = time.monotonic()
                    yield await self._batch(events)
                    now = time.monotonic()
                    watch.pace.took(events, now - start, now)
            finally:
                self._revision = watch.told()
                reading.cancel()
                await asyncio.wait((reading,))
            log.warning("etcd was compacted; listing anew", extra={"registry": self.name})
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise describe(error) from None
        finally:
            call.cancel()

    async def _batch(self, last: Mapping[Place, Any]) -> Batch:
        """Return the state that the last events of some keys lead to."""
        puts = {place: event.kv for place, event in last.items() if event.type == event.PUT}
        upserts = await self._read(puts)
        deletes = last.keys() - puts.keys()
        for place in deletes:
            self._known.pop(place, None)
        self._known.update((place, kv.mod_revision) for place, kv in puts.items())
        return Batch(upserts=upserts, deletes=deletes)

    async def _read(self, values: Mapping[Place, Any]) -> dict[Place, Entry]:
        """Parse documents, letting others have their turn."""
        entries: dict[Place, Entry] = {}
        start = time.perf_counter()
        for place, kv in values.items():
            entries[place] = parse_json(kv.value, place, key=place.removeprefix(self._folder))
            if time.perf_counter() - start > SLICE:
                await asyncio.sleep(0)
                start = time.perf_counter()
        return entries


class _Watch:
    """Reads a watch as quickly as etcd tells: of each key only the last event is kept."""

    def __init__(self, call: Any, revision: int) -> None:
        self.pace: Pace[Any] = Pace()
        self._call = call
        self._read = revision
        """The last revision that was read."""
        self._under_way: Mapping[Place, Any] = {}
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Read until the changes are compacted away.

        Raises:
            EtcdError: the watch has ended.
        """
        try:
            while True:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise EtcdError("it has ended the watch")
                if answer.compact_revision:
                    return
                if answer.canceled:
                    raise EtcdError(answer.cancel_reason or "it has cancelled the watch")
                for event in answer.events:
                    self.pace.add(event.kv.key.decode(errors="backslashreplace"), event)
                    self._read = max(self._read, event.kv.mod_revision)
                if not answer.events and not answer.created:
                    # a progress notice: nothing happened up to here
                    self._read = max(self._read, answer.header.revision)
                self._news.set()
        finally:
            self._news.set()

    async def take(self, reading: "asyncio.Task[None]") -> Mapping[Place, Any]:
        """Wait for events that are to be handed on; return the last of each key.

        What was taken before has been told then. Nothing at all: the watch has ended.
        """
        self._under_way = {}
        while True:
            now = time.monotonic()
            self._under_way = self.pace.take(now)
            if self._under_way:
                return self._under_way
            if reading.done():
                reading.result()
                return {}
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pace.pause(now)):
                    await self._news.wait()

    def told(self) -> int:
        """Return the revision up to which all has been told."""
        left = (*self._under_way.values(), *self.pace.waiting)
        return min((event.kv.mod_revision - 1 for event in left), default=self._read)


async def pages(session: Session, folder: str) -> AsyncGenerator[tuple[int, Sequence[Any]], None]:
    """Yield all keys below a folder as of one revision, in pages with that revision."""
    start, revision = folder.encode(), 0
    while True:
        request = rpc.RangeRequest(key=start, range_end=_end(folder), limit=PAGE, revision=revision)
        answer = await session.call(session.kv.Range, request)
        revision = revision or answer.header.revision
        yield revision, answer.kvs
        if not answer.more:
            return
        start = answer.kvs[-1].key + b"\0"


def _watch_request(folder: str, revision: int) -> Any:
    create = rpc.WatchCreateRequest(
        key=folder.encode(),
        range_end=_end(folder),
        start_revision=revision,
        progress_notify=True,
    )
    return rpc.WatchRequest(create_request=create)


def _end(folder: str) -> bytes:
    """Return the first key after all those that begin with `folder`, which ends with a slash."""
    return folder[:-1].encode() + b"0"


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)
