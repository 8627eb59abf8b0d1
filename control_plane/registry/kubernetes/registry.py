"""The Kubernetes registry: EdgeClouds, Cordons and ServiceTypes, listed and watched.

`watches` reads the events; `kubernetes_api` makes the connections. Invariant: no change is missed.
After each interruption, the registry lists all objects and compares them with what it has reported,
as the etcd registry does (docs/adr/0016): a resource version does not show that an API server has
the same contents as before, and a watch from a version of the future is silent for ever.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from scopeway.control_plane.kubernetes_api.client import LIST_ATTEMPTS, WATCH_SECONDS, ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import SERVICE_ACCOUNT
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.registry.change_pacer import ChangePacer
from scopeway.control_plane.registry.interface import Batch, Entry, Place, RegistryUnavailable
from scopeway.control_plane.registry.kubernetes.objects import (
    RESOURCES,
    Digest,
    ObservedObject,
    Resource,
    SeenObject,
    see,
)
from scopeway.control_plane.registry.kubernetes.watches import (
    Change,
    Ended,
    Silent,
    Watches,
    WentBack,
    number,
)

log = logging.getLogger(__name__)

SLICE: Final = 0.002
"""Seconds of parsing before other tasks get a turn."""
FIRST_PAUSE: Final = 0.1
"""Seconds between the first two attempts to list and watch, before jitter."""
LONGEST_PAUSE: Final = 5.0
REFUSAL_PATIENCE: Final = 2.0
"""Seconds to wait at the start if the API server refuses: one that has just started may not know
roles and custom resources yet."""
OPENING_SECONDS: Final = 30.0
"""Seconds to try to open the watches of one listing, while the API server is initialising."""
PROBE_INTERVAL: Final = 10.0
"""Seconds between two probes of an API server whose watches are open."""
BUSY: Final = 429

Observer = Callable[[Collection[Place]], None]


class KubernetesRegistry:
    """The registry in one API server."""

    def __init__(
        self,
        url: KubernetesUrl,
        *,
        patience: float,
        account: Path = SERVICE_ACCOUNT,
        watch_seconds: float = WATCH_SECONDS,
        probe_interval: float = PROBE_INTERVAL,
    ) -> None:
        """Make the registry; `watch` connects.

        Args:
            url: Which API server, and which login.
            patience: Seconds after which `watch` raises RegistryUnavailable if no listing
                succeeded.
            account: The folder of this pod's service account.
            watch_seconds: Seconds until the API server ends a watch, and all is listed again.
            probe_interval: Seconds between two probes while the watches are open.
        """
        self.on_observed: Observer | None = None
        """Called with the places whose `observed` has changed, or has gone."""
        self._url = url
        self._name = str(url)
        self._patience = patience
        self._account = account
        self._watch_seconds = watch_seconds
        self._probe_interval = probe_interval
        self._observed: dict[Place, ObservedObject] = {}
        self._digests: dict[Place, Digest] = {}
        """The digests of the objects that were reported and still exist."""
        self._highest = 0
        """The highest resource version that was seen."""
        self._is_listed = False
        """Whether the complete batch was reported."""
        self._is_current = False
        """Whether the watches of the present connection are open."""

    @property
    def name(self) -> str:
        """The URL; once connected, with the login and the API server that it leads to."""
        return self._name

    @property
    def observed(self) -> Mapping[Place, ObservedObject]:
        """What the writer of status needs of each object.

        Of a changed spec only once the receiver has applied its batch, so that no version is here
        that nobody has judged.
        """
        return self._observed

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`."""
        self._observed, self._digests, self._highest, self._is_listed = {}, {}, 0, False
        start = opened = time.monotonic()
        failures, current = 0, time.time()
        reported: str | None = None  # the last reason that was reported
        while True:
            self._is_current = False
            try:
                async with ApiClient(self._url, account=self._account) as client:
                    opened = time.monotonic()
                    async with aclosing(self._follow(client, reported)) as batches:
                        async for batch in batches:
                            reported = batch.stale
                            self._name = client.place
                            yield batch
            except ApiError as error:
                now = time.monotonic()
                if self._is_current:
                    current = time.time()
                lasted = self._is_current and now - opened > LONGEST_PAUSE
                failures = 1 if lasted else failures + 1
                if isinstance(error, Silent):  # two probes have failed already
                    failures = max(failures, 2)
                if not self._is_listed:
                    if now - start > self._patience_for(error):
                        raise RegistryUnavailable(_text(error, "cannot be read")) from None
                elif isinstance(error, Ended):
                    pass  # what was listed and watched until now is current
                # after the first failure, another server or the same one may answer at once
                elif failures > 1 and (reason := _reason(error)) != reported:
                    reported = reason
                    yield Batch(stale=reason, current_until=current)
            except WentBack:
                failures = 1
            # the start of the control plane waits for the first listing
            await asyncio.sleep(_pause(failures if self._is_listed else min(failures, 2)))

    async def close(self) -> None:
        """Do nothing: `watch` closes its connections."""

    def _patience_for(self, error: ApiError) -> float:
        if not error.is_refused:
            return self._patience
        # without a code, the login itself is wrong
        return min(self._patience, REFUSAL_PATIENCE) if error.code else 0.0

    async def _follow(self, client: ApiClient, reported: str | None) -> AsyncGenerator[Batch, None]:
        """Yield changes until a watch ends with an ApiError.

        Args:
            client: Of the API server.
            reported: The reason for being stale that was reported: the first batch without one is
                yielded even if empty.
        """
        listing = _Listing(client, self._digests)
        await listing.read()
        self._take_over(listing)
        batch = Batch(upserts=listing.upserts, deletes=listing.gone, complete=not self._is_listed)
        if batch.complete:
            self._is_listed = True
            yield batch
            self._observe(listing.observed, complete=True)
            batch = Batch()
        async with aclosing(self._open(client, listing, batch, reported)) as batches:
            async for each in batches:
                yield each

    async def _open(
        self, client: ApiClient, listing: "_Listing", batch: Batch, reported: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Open the watches, then yield the differences of the listing and all changes.

        Only open watches show that the API server can be reached. One that has just started lists
        custom resources for seconds before it lets them be watched.
        """
        end, attempts = time.monotonic() + OPENING_SECONDS, 0
        while True:
            watches = Watches(
                client,
                listing.versions,
                seconds=self._watch_seconds,
                probe_interval=self._probe_interval,
            )
            try:
                await watches.open()
                self._is_current = True
                if reported is not None or batch.upserts or batch.deletes:
                    yield batch
                self._observe(listing.observed, complete=True)
                async with aclosing(self._changes(watches)) as changes:
                    async for each in changes:
                        yield each
            except ApiError as error:
                attempts += 1
                if self._is_current or error.code != BUSY or time.monotonic() > end:
                    if not self._is_current and (batch.upserts or batch.deletes):
                        yield _stale(batch, error)
                        self._observe(listing.observed, complete=True)
                    raise
                if attempts > 1 and _reason(error) != reported:
                    yield _stale(batch, error)
                    self._observe(listing.observed, complete=True)
                    reported, batch = _reason(error), Batch()
            finally:
                self._highest = max(self._highest, watches.highest)
                await watches.close()
            await asyncio.sleep(_pause(attempts))

    async def _changes(self, watches: Watches) -> AsyncGenerator[Batch, None]:
        """Yield the changes that the watches report."""
        while True:
            changes = await watches.take()
            batch, observed = await self._to_batch(changes, watches.pacer)
            if batch.upserts or batch.deletes:
                yield batch
            self._observe(observed)

    async def _to_batch(
        self, changes: Mapping[Place, Change], pacer: ChangePacer[Change]
    ) -> tuple[Batch, Mapping[Place, ObservedObject | None]]:
        """Return the batch of some changes, and what becomes observed with it."""
        reader = _Reader(self._digests)
        for seen in changes.values():
            if seen is not None:
                await reader.read(seen)
        deletes = [
            at for at, seen in changes.items() if seen is None and self._digests.pop(at, b"")
        ]
        self._digests |= reader.digests

        def report_cost(seconds: float) -> None:
            pacer.record_cost(changes, reader.seconds + seconds, time.monotonic())

        batch = Batch(upserts=reader.upserts, deletes=deletes, report_cost=report_cost)
        return batch, {at: None if seen is None else seen.observed for at, seen in changes.items()}

    def _take_over(self, listing: "_Listing") -> None:
        """Make a listing what was reported."""
        if 0 < listing.highest < self._highest:
            log.warning(
                "the API server was restored from a backup, or is another one; "
                "taking over what it holds",
                extra={
                    "registry": self.name,
                    "version": listing.highest,
                    "version_before": self._highest,
                    "changed": len(listing.upserts),
                    "gone": len(listing.gone),
                },
            )
        self._digests = listing.reader.digests
        self._highest = listing.highest

    def _observe(
        self, seen: Mapping[Place, ObservedObject | None], *, complete: bool = False
    ) -> None:
        """Make `seen` what is observed; of all objects if `complete`."""
        changed = {at for at, each in seen.items() if self._observed.get(at) != each}
        for at in changed:
            each = seen[at]
            if each is None:
                del self._observed[at]
            else:
                self._observed[at] = each
        if complete:
            for at in self._observed.keys() - seen.keys():
                del self._observed[at]
                changed.add(at)
        if changed and self.on_observed is not None:
            self.on_observed(changed)


class _Reader:
    """Parses objects that differ from what was reported; other tasks get turns meanwhile."""

    def __init__(self, reported: Mapping[Place, Digest]) -> None:
        self.upserts: dict[Place, Entry] = {}
        self.digests: dict[Place, Digest] = {}
        """Of all objects."""
        self._reported = reported
        self._took = 0.0
        self._start = time.thread_time()

    @property
    def seconds(self) -> float:
        """The CPU time."""
        return self._took + time.thread_time() - self._start

    async def read(self, seen: SeenObject) -> None:
        """Read one object."""
        place, digest = seen.place, seen.digest
        self.digests[place] = digest
        if self._reported.get(place) != digest:
            self.upserts[place] = seen.entry()
        await self.pause()

    async def pause(self) -> None:
        """Let other tasks run, if it is time."""
        if (worked := time.thread_time() - self._start) > SLICE:
            self._took += worked
            await asyncio.sleep(0)
            self._start = time.thread_time()


class _Listing:
    """All objects of all resources."""

    def __init__(self, client: ApiClient, reported: Mapping[Place, Digest]) -> None:
        self.versions: dict[Resource, str] = {}
        self.observed: dict[Place, ObservedObject] = {}
        self.reader = _Reader(reported)
        self._client = client
        self._reported = reported

    @property
    def upserts(self) -> Mapping[Place, Entry]:
        """The objects that differ from what was reported."""
        return self.reader.upserts

    @property
    def gone(self) -> Collection[Place]:
        """The objects that were reported and do not exist."""
        return self._reported.keys() - self.reader.digests.keys()

    @property
    def highest(self) -> int:
        """The highest resource version."""
        return max(map(number, self.versions.values()), default=0)

    async def read(self) -> None:
        """Read all lists.

        Raises:
            ApiError: one cannot be read.
        """
        for resource in RESOURCES:
            for attempt in range(1, LIST_ATTEMPTS + 1):
                try:
                    await self._read(resource)
                    break
                except ApiError as error:  # etcd was compacted between two pages
                    if not error.is_gone or attempt == LIST_ATTEMPTS:
                        raise

    async def _read(self, resource: Resource) -> None:
        self._forget(resource)
        async with aclosing(self._client.raw_pages(resource.path)) as pages:
            async for version, items in pages:
                self.versions[resource] = version
                for item in items:
                    try:
                        seen = see(resource, item)
                    except msgspec.MsgspecError:
                        sentence = f"listed something else than objects of {resource.name}"
                        raise ApiError(sentence, place=self._client.place) from None
                    self.observed[seen.place] = seen.observed
                    await self.reader.read(seen)

    def _forget(self, resource: Resource) -> None:
        """Forget what the attempt before has read."""
        for found in (self.observed, self.reader.digests, self.reader.upserts):
            for place in [at for at in found if at.startswith(f"{resource.name}/")]:
                del found[place]


def _stale(batch: Batch, error: ApiError) -> Batch:
    return replace(batch, stale=_reason(error), current_until=time.time())


def _reason(error: ApiError) -> str:
    return str(error) if error.is_refused else _text(error, "is away")


def _text(error: ApiError, what: str) -> str:
    return f"{error.place} {what}: {error.sentence}" if error.place else str(error)


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)
