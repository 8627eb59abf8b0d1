"""Ties the parts of status: who leads, what replicas publish, what is written."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.paths import config_maps, leases
from scopeway.control_plane.status_writer.api import Api, FailureLog
from scopeway.control_plane.status_writer.connected_clouds import (
    LABELS,
    ReplicaClouds,
    Replicas,
    decode,
)
from scopeway.control_plane.status_writer.elector import Elector
from scopeway.control_plane.status_writer.publication import Publisher
from scopeway.control_plane.status_writer.times import StatusTimes
from scopeway.control_plane.status_writer.writer import Judge, StatusWriter

_log = logging.getLogger(__name__)

MAX_LEASES: Final = 64
"""Leases of replicas that are listed, dead ones included."""


class StatusService:
    """All of status at one replica."""

    def __init__(
        self,
        api: Api,
        judge: Judge,
        *,
        namespace: str,
        replica: str,
        clouds: Callable[[], ReplicaClouds],
        disconnected_after: float,
        count: Callable[[str, str], None] = lambda what, result: None,
        times: StatusTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Do nothing yet: `run` does the work.

        Args:
            api: The API server.
            judge: What the control plane knows of objects.
            namespace: Of the Leases and ConfigMaps.
            replica: The name of this replica; two processes may have the same one.
            clouds: Returns the clouds that are connected here.
            disconnected_after: Seconds that an Envoy may be away.
            count: Is called with ("write" or "event") and its result.
            times: The periods.
            clock: Seconds that never go back.
        """
        self._api = api
        self._leases = leases(namespace)
        self._config_maps = config_maps(namespace)
        self._clock = clock
        self._times = times = times or StatusTimes()
        self._replicas = Replicas(times.dead_after)
        self._log = FailureLog(f"read the clouds of other replicas in the namespace {namespace}")
        identity = f"{replica}-{secrets.token_hex(4)}"
        self._elector = Elector(api, namespace, identity, times.election, clock=clock)
        self._publisher = Publisher(api, namespace, identity, clouds, times=times, clock=clock)
        self.writer = StatusWriter(
            api,
            judge,
            is_leader=lambda: self._elector.is_leader,
            replica=identity,
            disconnected_after=disconnected_after,
            count=count,
            clock=clock,
        )
        """Is told what has changed."""

    @property
    def is_leader(self) -> bool:
        """Whether this replica writes status now."""
        return self._elector.is_leader

    async def run(self) -> None:
        """Publish, elect and write until it is cancelled; then leave in good order."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._elector.run(), name="status election")
                group.create_task(self._publisher.run(), name="status publication")
                group.create_task(self._lead(), name="status leader")
                group.create_task(self.writer.run(), name="status writer")
        finally:
            await asyncio.gather(self._elector.release(), self._publisher.withdraw())

    async def _lead(self) -> None:
        leads = False
        while True:
            pause = self._times.look
            if leads and not self.is_leader:
                leads = False
                _log.info("this replica no longer writes the status of objects")
                self.writer.follow()
            elif self.is_leader:
                if not leads:
                    self._replicas = Replicas(self._times.dead_after)
                clouds = await self._try_look()
                if not leads:  # only now: a first write has all conditions
                    leads = True
                    _log.info("this replica writes the status of objects now")
                    self.writer.lead()
                if clouds is None:
                    pause = self._times.retry
                else:
                    self.writer.set_clouds(clouds)
            await asyncio.sleep(pause)

    async def _try_look(self) -> ReplicaClouds | None:
        """Return the connected clouds of all replicas; None: they cannot be read."""
        try:
            clouds = await self._look()
        except ApiError as error:
            self._log.failed(error)
            return None
        self._log.succeeded()
        return clouds

    async def _look(self) -> ReplicaClouds:
        """Read what replicas publish, and delete the objects of dead ones."""
        selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
        query = {"labelSelector": selector, "limit": str(MAX_LEASES)}
        found = await self._api.get(self._leases, query)
        dead = self._replicas.observe(found["items"] or [], self._clock())
        for name, told in self._replicas.to_read().items():
            self._replicas.read(name, told, await self._clouds_of(name))
        for name in dead:
            await self._api.delete(f"{self._config_maps}/{name}")
            await self._api.delete(f"{self._leases}/{name}")
        return self._replicas.clouds()

    async def _clouds_of(self, name: str) -> ReplicaClouds:
        try:
            config_map: Mapping[str, Any] = await self._api.get(f"{self._config_maps}/{name}")
        except ApiError as error:
            if not error.is_missing:
                raise
            config_map = {}
        return decode(config_map) or ReplicaClouds()
