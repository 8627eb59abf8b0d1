"""Takes and renews the Lease of the leader. The rules are in `leader`."""

import asyncio
import time
from collections.abc import Callable

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.paths import leases
from scopeway.control_plane.status_writer.api import Api, Document, FailureLog
from scopeway.control_plane.status_writer.leader import (
    LEASE_NAME,
    Election,
    ElectionTimes,
    Write,
)

RELEASE_TIMEOUT = 2.0
"""Seconds that the end of the process waits for the release; others then wait for the lease."""


class Elector:
    """One candidate."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str,
        times: ElectionTimes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin as a candidate; `run` does the work.

        Args:
            api: The API server.
            namespace: Of the Lease.
            identity: The name of this process; no other may have it.
            times: The periods.
            clock: Seconds that never go back.
        """
        self._api = api
        self._resource = leases(namespace)
        self._times = times or ElectionTimes()
        self._election = Election(identity, self._times)
        self._clock = clock
        self._log = FailureLog(f"read or renew the Lease {namespace}/{LEASE_NAME}")

    @property
    def is_leader(self) -> bool:
        """Whether this process may write status now."""
        return self._election.is_leader(self._clock())

    async def run(self) -> None:
        """Take the Lease whenever it is free, and renew it; for ever."""
        while True:
            await self.attempt()
            await asyncio.sleep(self._times.retry_period)

    async def attempt(self) -> None:
        """Try once."""
        begun = self._clock()
        try:
            async with asyncio.timeout(self._times.renew_deadline / 2):
                lease = await self._read()
                write = self._election.next_write(lease, begun, time.time())
                if write is not None:
                    self._election.written(await self._write(write), begun)
            self._log.succeeded()
        except TimeoutError:
            self._log.failed(ApiError("no answer in time"))
        except ApiError as error:
            if not error.is_conflict:  # else another candidate was faster
                self._log.failed(error)

    async def release(self) -> None:
        """Give the Lease up, so that another replica follows at once."""
        write = self._election.next_release(time.time())
        if write is None:
            return
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._write(write)
        except (TimeoutError, ApiError):
            pass  # then others wait until it runs out

    async def _read(self) -> Document | None:
        try:
            return await self._api.get(f"{self._resource}/{LEASE_NAME}")
        except ApiError as error:
            if error.is_missing:
                return None
            raise

    async def _write(self, write: Write) -> Document:
        if write.create:
            return await self._api.create(self._resource, write.document)
        return await self._api.update(f"{self._resource}/{LEASE_NAME}", write.document)
