"""Publishes which clouds have an Envoy at this replica, and that the replica lives.

`Publication` has the rules, `Publisher` does the I/O. An object is written when the clouds have
changed, and the Lease besides every `StatusTimes.renew` seconds.
"""

import asyncio
import time
from collections.abc import Callable
from math import ceil

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.paths import config_maps, leases
from scopeway.control_plane.status_writer.api import Api, Document, FailureLog, OwnObject
from scopeway.control_plane.status_writer.connected_clouds import (
    DIGEST,
    LABELS,
    PREFIX,
    ReplicaClouds,
    digest,
    encode,
)
from scopeway.control_plane.status_writer.leader import micro_time
from scopeway.control_plane.status_writer.times import StatusTimes

WITHDRAW_TIMEOUT = 2.0
"""Seconds that the end of the process waits; the leader deletes what is left."""


class Publication:
    """What is published, and when it has to be written; its caller has the clock."""

    def __init__(self, times: StatusTimes) -> None:
        self._times = times
        self._left: dict[int, float] = {}
        """The clouds whose streams have ended, to when."""
        self._clouds: ReplicaClouds | None = None
        """What is published; None: nothing."""
        self._connected: frozenset[int] = frozenset()
        """The clouds with a stream, as of the last call of `due`."""
        self._written = 0.0
        self._renewed = 0.0

    def due(self, clouds: ReplicaClouds, now: float) -> ReplicaClouds | None:
        """Return what has to be published now; None: nothing."""
        if self._connected is not clouds.connected:
            self._left |= dict.fromkeys(self._connected - clouds.connected, now)
            self._connected = clouds.connected
        self._left = {
            key: left
            for key, left in self._left.items()
            if now - left < self._times.keep and key not in clouds.connected
        }
        before = self._clouds.policy_too_large if self._clouds is not None else frozenset()
        wanted = ReplicaClouds(
            clouds.connected | self._left.keys(),
            clouds.policy_too_large | (before & self._left.keys()),
        )
        if self._clouds is None:
            return wanted
        is_due = wanted != self._clouds and now - self._written >= self._times.rest
        return wanted if is_due else None

    def is_renewal_due(self, now: float) -> bool:
        """Return whether the Lease has to be renewed."""
        return self._clouds is not None and now - self._renewed >= self._times.renew

    def written(self, clouds: ReplicaClouds, now: float) -> None:
        """Note that these clouds were published."""
        self._clouds, self._written = clouds, now
        self.renewed(now)

    def forget(self) -> None:
        """Note that nothing is published any more."""
        self._clouds = None

    def renewed(self, now: float) -> None:
        """Note that the Lease was renewed."""
        self._renewed = now


class Publisher:
    """Keeps the two objects of this replica."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str,
        clouds: Callable[[], ReplicaClouds],
        *,
        times: StatusTimes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish nothing yet.

        Args:
            api: The API server.
            namespace: Of the objects.
            identity: The name of this process; no other may have it.
            clouds: Returns the clouds that are connected here.
            times: The periods.
            clock: Seconds that never go back.
        """
        self._name = f"{PREFIX}{identity}"
        self._identity = identity
        self._clouds = clouds
        self._clock = clock
        self._times = times
        self._publication = Publication(times)
        self._digest = ""
        self._lease = OwnObject(api, leases(namespace), self._name)
        self._config_map = OwnObject(api, config_maps(namespace), self._name)
        self._log = FailureLog(f"publish the connected clouds in the namespace {namespace}")

    async def run(self) -> None:
        """Publish changes and renew the Lease; for ever."""
        while True:
            try:
                await self.step()
                self._log.succeeded()
                pause = self._times.look
            except ApiError as error:
                self._log.failed(error)
                pause = self._times.retry
            await asyncio.sleep(pause)

    async def step(self) -> None:
        """Write what is due."""
        now = self._clock()
        clouds = self._publication.due(self._clouds(), now)
        if clouds is not None:
            data = encode(clouds)
            await self._config_map.write(self._config_map_document(data))
            self._digest = digest(data)
            await self._lease.write(self._lease_document())
            self._publication.written(clouds, now)
        elif self._publication.is_renewal_due(now):
            if await self._lease.write(self._lease_document()):
                self._publication.forget()  # the leader took this one for dead
            else:
                self._publication.renewed(now)

    async def withdraw(self) -> None:
        """Delete both objects: this process ends."""
        try:
            async with asyncio.timeout(WITHDRAW_TIMEOUT):
                await self._lease.delete()
                await self._config_map.delete()
        except (TimeoutError, ApiError):
            pass  # the leader deletes them

    def _config_map_document(self, data: dict[str, str]) -> Document:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name, "labels": dict(LABELS)},
            "binaryData": data,
        }

    def _lease_document(self) -> Document:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "labels": dict(LABELS),
                "annotations": {DIGEST: self._digest},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": ceil(self._times.dead_after),
                "renewTime": micro_time(time.time()),
            },
        }
