"""Clouds registered in etcd: `<prefix>/clouds/<name>`, each a JSON document, cordons beside them.

Owns listing and watching; a connection is in `etcd_client`. Knows nothing of what clouds are for.
Invariant: no change is missed: after each interruption, and now and then without one, everything is
listed and compared by its contents with what was told (docs/adr/0016). Neither revisions nor the id
of the cluster say that an etcd is the one it was: one that was restored or set up anew may repeat
both.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import grpc
from aetcd import rpc

from scopeway.control_plane.registry.documents import parse_json
from scopeway.control_plane.registry.etcd.client import EtcdError, Session, connected, describe
from scopeway.control_plane.registry.etcd.pace import Pace
from scopeway.control_plane.registry.etcd.url import EtcdUrl
from scopeway.control_plane.registry.protocol import Batch, Entry, Place, RegistryUnavailable

log = logging.getLogger(__name__)

PAGE = 500
"""Keys of one request of a listing."""
SLICE = 0.002
"""Seconds for which documents are read at once; others have their turn in between. One document
takes up to 17 ms: what it may hold is bounded (`clouds.limits`)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect, before jitter."""
CHECK = 30.0
"""Seconds between two listings of a connection that seems to be fine."""
CHECK_SHARE = 100
"""The same is at least so many times what the last listing took."""

Digest = bytes
"""Of a value, to compare it without keeping it."""


class EtcdRegistry:
    """The clouds of one etcd."""

    def __init__(self, url: EtcdUrl, *, patience: float, check: float = CHECK) -> None:
        """Make it; nothing is connected before `watch`.

        Args:
            url: Where.
            patience: Seconds to try until `watch` raises RegistryUnavailable.
            check: Seconds between two listings of a connection that seems to be fine.
        """
        self._url = url
        self._patience = patience
        self._check = check
        self._folder = f"{url.prefix}/clouds/"
        self._known: dict[Place, Digest] = {}
        """What was told so far and holds still."""
        self._cluster = 0
        self._revision = 0
        """All changes up to it have been told; 0 before the first listing."""
        self._follows = False
        """What was told is what this connection has listed."""

    @property
    def name(self) -> str:
        """The URL without its password."""
        return str(self._url)

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        start = connection = time.monotonic()
        failures, used, current = 0, "", time.time()
        told: str | None = None  # why it is away, as it was told last
        while True:
            avoid, used = used, ""  # for one attempt only: it may be the only one that lives
            self._follows = False
            try:
                async with connected(self._url, avoid=avoid) as session:
                    used, connection = session.endpoint, time.monotonic()
                    async with aclosing(self._session(session, stale=told is not None)) as batches:
                        async for batch in batches:
                            told = None
                            yield batch
            except EtcdError as error:
                now = time.monotonic()
                if self._follows:
                    current = time.time()
                lasted = self._follows and now - connection > LONGEST_PAUSE
                failures = 1 if lasted else failures + 1
                reason = f"{self.name} {'refuses us' if error.refused else 'is away'}: {error}"
                if not self._revision:
                    if error.refused or now - start > self._patience:
                        raise RegistryUnavailable(f"{self.name} cannot be read: {error}") from None
                elif failures > 1 and reason != told:  # the first may be a member that is restarted
                    told = reason
                    yield Batch(stale=reason, current=current)
            # before the first listing somebody waits
            await asyncio.sleep(_pause(failures if self._revision else min(failures, 2)))

    def release(self, names: Collection[str]) -> None:
        """Do nothing: what is gone is not remembered here."""

    async def close(self) -> None:
        """Do nothing: a connection lives as long as its `watch`."""

    async def _session(self, session: Session, *, stale: bool) -> AsyncGenerator[Batch, None]:
        """Yield what is new, until the connection breaks with an EtcdError.

        Args:
            session: The connection.
            stale: It was told that etcd is away: the first listing is told though nothing is new.
        """
        while True:
            start = time.monotonic()
            batch = await self._listing(session)
            self._follows = True
            if stale or batch.complete or batch.upserts or batch.deletes:
                yield batch
            stale = False
            now = time.monotonic()
            end = now + max(self._check, CHECK_SHARE * (now - start))
            async with aclosing(self._changes(session, end)) as batches:
                async for batch in batches:
                    yield batch
            await asyncio.sleep(FIRST_PAUSE)

    async def _listing(self, session: Session) -> Batch:
        """List everything: all of it at first, then what differs from what was told."""
        first = not self._revision
        found: dict[Place, Digest] = {}
        upserts: dict[Place, Entry] = {}
        revision = 0
        async for at, page in pages(session, self._folder):
            revision = at
            upserts |= (await self._read(page, found))[0]
        gone = self._known.keys() - found.keys()
        if not first and (session.cluster != self._cluster or revision < self._revision):
            log.warning(
                "etcd was set up anew, restored from a backup, or is another one; "
                "taking over what it holds",
                extra={
                    "registry": self.name,
                    "endpoint": session.endpoint,
                    "revision": revision,
                    "revision_before": self._revision,
                    "changed": len(upserts),
                    "gone": len(gone),
                },
            )
        self._known, self._revision, self._cluster = found, revision, session.cluster
        return Batch(upserts=upserts, deletes=gone, complete=first)

    async def _changes(self, session: Session, end: float) -> AsyncGenerator[Batch, None]:
        """Yield the changes after `_revision`.

        Returns when everything is to be listed anew: at `end`, of time.monotonic, or where changes
        were compacted away, or are those of an etcd that knows less than was told.
        """
        call = rpc.WatchStub(session.channel).Watch(metadata=session.metadata)
        watch = _Watch(call, self._revision)
        try:
            await call.write(_watch_request(self._folder, self._revision + 1))
            reading = asyncio.create_task(watch.read(), name="etcd watch")
            try:
                while events := await watch.take(reading, end):
                    batch = await self._batch(events, watch.pace)
                    if batch.upserts or batch.deletes:
                        yield batch
            finally:
                self._revision = watch.revision
                reading.cancel()
                await asyncio.wait((reading,))
            if watch.compacted:
                log.warning("etcd was compacted; listing anew", extra={"registry": self.name})
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise describe(error) from None
        finally:
            call.cancel()

    async def _batch(self, last: Mapping[Place, Any], pace: Pace[Any]) -> Batch:
        """Return what the last events of some keys change."""
        puts = [event.kv for event in last.values() if event.type == event.PUT]
        found: dict[Place, Digest] = {}
        upserts, read = await self._read(puts, found)
        deletes = [at for at in last.keys() - found.keys() if self._known.pop(at, None)]
        self._known |= found

        def took(seconds: float) -> None:
            pace.took(last, read + seconds, time.monotonic())

        return Batch(upserts=upserts, deletes=deletes, took=took)

    async def _read(
        self, kvs: Sequence[Any], found: dict[Place, Digest]
    ) -> tuple[dict[Place, Entry], float]:
        """Return the entries that differ from what was told, letting others have their turn.

        Args:
            kvs: Keys with their values.
            found: Gets the digests of all of these.

        Returns:
            The entries, and the seconds of CPU that this took.
        """
        entries: dict[Place, Entry] = {}
        took, start = 0.0, time.thread_time()
        for kv in kvs:
            place = _place(kv)
            found[place] = digest = hashlib.blake2b(kv.value, digest_size=16).digest()
            if self._known.get(place) != digest:
                entries[place] = parse_json(kv.value, place, key=place.removeprefix(self._folder))
            if (worked := time.thread_time() - start) > SLICE:
                took += worked
                await asyncio.sleep(0)
                start = time.thread_time()
        return entries, took + time.thread_time() - start


class _Watch:
    """Reads a watch as quickly as etcd tells: of each key only the last event is kept.

    What is not handed on when it ends is told by the listing after it.
    """

    def __init__(self, call: Any, revision: int) -> None:
        self.pace: Pace[Any] = Pace()
        self.revision = revision
        """The last one that was read."""
        self.compacted = False
        """Changes that were not read are not there any more."""
        self._call = call
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Read until everything is to be listed anew.

        Raises:
            EtcdError: the watch has ended.
        """
        try:
            while True:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise EtcdError("it has ended the watch")
                if answer.compact_revision:
                    self.compacted = True
                    return
                if answer.canceled:
                    raise EtcdError(answer.cancel_reason or "it has cancelled the watch")
                if 0 < answer.header.revision < self.revision:
                    return  # of an etcd that knows less than was told
                for event in answer.events:
                    self.pace.add(_place(event.kv), event)
                    self.revision = max(self.revision, event.kv.mod_revision)
                self._news.set()
        finally:
            self._news.set()

    async def take(self, reading: "asyncio.Task[None]", end: float) -> Mapping[Place, Any]:
        """Wait for events that are to be handed on; return the last of each key.

        Nothing at all: the watch has ended, or it is `end`, of time.monotonic.
        """
        while (now := time.monotonic()) < end:
            due = self.pace.take(now)
            if due:
                return due
            if reading.done():
                reading.result()
                break
            self._news.clear()
            rest = self.pace.pause(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(end - now if rest is None else min(rest, end - now)):
                    await self._news.wait()
        return {}


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
    )
    return rpc.WatchRequest(create_request=create)


def _place(kv: Any) -> Place:
    return str(kv.key.decode(errors="backslashreplace"))


def _end(folder: str) -> bytes:
    """Return the first key after all those that begin with `folder`, which ends with a slash."""
    return folder[:-1].encode() + b"0"


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)
