"""The etcd registry: each cloud is a JSON document at `<prefix>/clouds/<name>`, its cordon below.

Service types are at `<prefix>/clouds/_service-types/<name>`.

Lists and watches the keys; `client` makes the connections. Invariant: no change is missed. After
each interruption, and at intervals without one, the registry lists all keys and compares their
contents with what it has reported (docs/adr/0016). Neither the revision nor the cluster id shows
that etcd has the same contents as before: an etcd that was restored or set up anew may repeat both.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import grpc
from aetcd import rpc

from scopeway.control_plane.registry.change_pacer import ChangePacer
from scopeway.control_plane.registry.documents import parse_json
from scopeway.control_plane.registry.etcd.client import EtcdError, Session, connect, to_etcd_error
from scopeway.control_plane.registry.etcd.url import EtcdUrl
from scopeway.control_plane.registry.interface import Batch, Entry, Place, RegistryUnavailable

log = logging.getLogger(__name__)

PAGE = 500
"""Keys of one request of a listing."""
SLICE = 0.002
"""Seconds of parsing before other tasks get a turn. One document takes up to 17 ms, because its
contents are bounded (`clouds.limits`)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts to connect, before jitter."""
RELIST_INTERVAL = 30.0
"""Seconds between two listings of a healthy connection."""
RELIST_COST_FACTOR = 100
"""The interval is at least the duration of the last listing times this factor."""

Digest = bytes
"""The hash of a value, to compare values without keeping them."""


class EtcdRegistry:
    """The registry in one etcd."""

    def __init__(
        self, url: EtcdUrl, *, patience: float, relist_interval: float = RELIST_INTERVAL
    ) -> None:
        """Make the registry; `watch` connects.

        Args:
            url: The members of etcd, and how to log in.
            patience: Seconds after which `watch` raises RegistryUnavailable if no listing
                succeeded.
            relist_interval: Seconds between two listings of a healthy connection.
        """
        self._url = url
        self._patience = patience
        self._relist_interval = relist_interval
        self._folder = f"{url.prefix}/clouds/"
        self._digests: dict[Place, Digest] = {}
        """The digests of the entries that were reported and still exist."""
        self._cluster = 0
        self._revision = 0
        """All changes up to this revision were reported; 0 before the first listing."""
        self._is_listed = False
        """Whether the current connection has listed all keys."""

    @property
    def name(self) -> str:
        """The URL without its password."""
        return str(self._url)

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        start = connection = time.monotonic()
        failures, used, current = 0, "", time.time()
        reported: str | None = None  # the last reason that was reported
        while True:
            avoid, used = used, ""  # for one attempt only: no other member may be alive
            self._is_listed = False
            try:
                async with connect(self._url, avoid=avoid) as session:
                    used, connection = session.endpoint, time.monotonic()
                    async with aclosing(
                        self._follow(session, stale=reported is not None)
                    ) as batches:
                        async for batch in batches:
                            reported = None
                            yield batch
            except EtcdError as error:
                now = time.monotonic()
                if self._is_listed:
                    current = time.time()
                lasted = self._is_listed and now - connection > LONGEST_PAUSE
                failures = 1 if lasted else failures + 1
                reason = f"{self.name} {'denies access' if error.refused else 'is away'}: {error}"
                if not self._revision:
                    if error.refused or now - start > self._patience:
                        raise RegistryUnavailable(f"{self.name} cannot be read: {error}") from None
                # the first failure may be a member that restarts
                elif failures > 1 and reason != reported:
                    reported = reason
                    yield Batch(stale=reason, current_until=current)
            # the start of the control plane waits for the first listing
            await asyncio.sleep(_pause(failures if self._revision else min(failures, 2)))

    async def close(self) -> None:
        """Do nothing: `watch` closes its connection."""

    async def _follow(self, session: Session, *, stale: bool) -> AsyncGenerator[Batch, None]:
        """Yield changes until the connection breaks with an EtcdError.

        Args:
            session: The connection.
            stale: etcd was reported as unavailable: the first listing is yielded even if empty.
        """
        while True:
            start = time.monotonic()
            batch = await self._list_all(session)
            self._is_listed = True
            if stale or batch.complete or batch.upserts or batch.deletes:
                yield batch
            stale = False
            now = time.monotonic()
            end = now + max(self._relist_interval, RELIST_COST_FACTOR * (now - start))
            async with aclosing(self._watch_changes(session, end)) as batches:
                async for batch in batches:
                    yield batch
            await asyncio.sleep(FIRST_PAUSE)

    async def _list_all(self, session: Session) -> Batch:
        """List all keys; return everything the first time, and then the differences."""
        first = not self._revision
        found: dict[Place, Digest] = {}
        upserts: dict[Place, Entry] = {}
        revision = 0
        async for at, page in list_pages(session, self._folder):
            revision = at
            upserts |= (await self._read(page, found))[0]
        gone = self._digests.keys() - found.keys()
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
        self._digests, self._revision, self._cluster = found, revision, session.cluster
        return Batch(upserts=upserts, deletes=gone, complete=first)

    async def _watch_changes(self, session: Session, end: float) -> AsyncGenerator[Batch, None]:
        """Yield the changes after `_revision`.

        Returns when all keys must be listed again: at `end` (time.monotonic), if etcd compacted
        changes away, or if etcd's revision is lower than the one that was reported.
        """
        call = rpc.WatchStub(session.channel).Watch(metadata=session.metadata)
        watch = _Watch(call, self._revision)
        try:
            await call.write(_watch_request(self._folder, self._revision + 1))
            reading = asyncio.create_task(watch.read(), name="etcd watch")
            try:
                while events := await watch.take(reading, end):
                    batch = await self._to_batch(events, watch.pacer)
                    if batch.upserts or batch.deletes:
                        yield batch
            finally:
                self._revision = watch.revision
                reading.cancel()
                await asyncio.wait((reading,))
            if watch.compacted:
                log.warning("etcd was compacted; listing anew", extra={"registry": self.name})
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise to_etcd_error(error) from None
        finally:
            call.cancel()

    async def _to_batch(self, last: Mapping[Place, Any], pacer: ChangePacer[Any]) -> Batch:
        """Return the batch of the last events of some keys."""
        puts = [event.kv for event in last.values() if event.type == event.PUT]
        found: dict[Place, Digest] = {}
        upserts, read = await self._read(puts, found)
        deletes = [at for at in last.keys() - found.keys() if self._digests.pop(at, None)]
        self._digests |= found

        def report_cost(seconds: float) -> None:
            pacer.record_cost(last, read + seconds, time.monotonic())

        return Batch(upserts=upserts, deletes=deletes, report_cost=report_cost)

    async def _read(
        self, kvs: Sequence[Any], found: dict[Place, Digest]
    ) -> tuple[dict[Place, Entry], float]:
        """Return the entries that differ from what was reported; other tasks get turns meanwhile.

        Args:
            kvs: Keys with their values.
            found: Receives the digests of all of them.

        Returns:
            The entries, and the CPU time in seconds.
        """
        entries: dict[Place, Entry] = {}
        took, start = 0.0, time.thread_time()
        for kv in kvs:
            place = _place(kv)
            found[place] = digest = hashlib.blake2b(kv.value, digest_size=16).digest()
            if self._digests.get(place) != digest:
                entries[place] = parse_json(kv.value, place, key=place.removeprefix(self._folder))
            if (worked := time.thread_time() - start) > SLICE:
                took += worked
                await asyncio.sleep(0)
                start = time.thread_time()
        return entries, took + time.thread_time() - start


class _Watch:
    """Reads a watch as fast as etcd sends it, and keeps only the last event of each key.

    The next listing reports what is still waiting when the watch ends.
    """

    def __init__(self, call: Any, revision: int) -> None:
        self.pacer: ChangePacer[Any] = ChangePacer()
        self.revision = revision
        """The last revision that was read."""
        self.compacted = False
        """Whether etcd compacted changes away before they were read."""
        self._call = call
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Read until all keys must be listed again.

        Raises:
            EtcdError: the watch has ended.
        """
        try:
            while True:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise EtcdError("etcd closed the watch")
                if answer.compact_revision:
                    self.compacted = True
                    return
                if answer.canceled:
                    raise EtcdError(answer.cancel_reason or "etcd cancelled the watch")
                if 0 < answer.header.revision < self.revision:
                    return  # etcd was restored or replaced
                for event in answer.events:
                    self.pacer.add(_place(event.kv), event)
                    self.revision = max(self.revision, event.kv.mod_revision)
                self._news.set()
        finally:
            self._news.set()

    async def take(self, reading: "asyncio.Task[None]", end: float) -> Mapping[Place, Any]:
        """Wait for events that are due; return the last event of each key.

        Returns nothing once the watch has ended, or at `end` (time.monotonic).
        """
        while (now := time.monotonic()) < end:
            due = self.pacer.take_due(now)
            if due:
                return due
            if reading.done():
                reading.result()
                break
            self._news.clear()
            rest = self.pacer.seconds_until_due(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(end - now if rest is None else min(rest, end - now)):
                    await self._news.wait()
        return {}


async def list_pages(
    session: Session, folder: str
) -> AsyncGenerator[tuple[int, Sequence[Any]], None]:
    """Yield the revision and one page of keys, until all keys below a folder were listed."""
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
    """Return the first key after those that begin with `folder`, which ends with a slash."""
    return folder[:-1].encode() + b"0"


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)
