"""What status needs of the API server, and small helpers for the calls.

`Api` is a part of `kubernetes_api.client.ApiClient`, so that tests can stand in for it.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from scopeway.control_plane.kubernetes_api.errors import ApiError

_log = logging.getLogger("scopeway.control_plane.status_writer")

Document = dict[str, Any]
MANAGER: Final = "scopeway"
"""The field manager of status."""


class Api(Protocol):
    """The calls of an API server. Each may raise ApiError."""

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """Return an object or a list."""

    async def apply(
        self,
        path: str,
        document: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Document:
        """Apply fields on the server."""

    async def create(self, path: str, document: Mapping[str, Any]) -> Document:
        """Create an object below the path of its resource."""

    async def update(self, path: str, document: Mapping[str, Any]) -> Document:
        """Replace an object of the same version."""

    async def delete(self, path: str) -> bool:
        """Delete an object; return whether it existed."""


class FailureLog:
    """Logs the first failure of a row, and the first success after it."""

    def __init__(self, what: str) -> None:
        """Begin without failures.

        Args:
            what: What is done, for people, behind "cannot": "write status".
        """
        self._what = what
        self._told: int | None = None

    def failed(self, error: ApiError) -> None:
        """Log a failure, if the one before was another."""
        if error.code != self._told:
            self._told = error.code
            _log.warning("cannot %s, everything else goes on: %s", self._what, error)

    def succeeded(self) -> None:
        """Log that it works again, if it did not."""
        if self._told is not None:
            self._told = None
            _log.info("can %s again", self._what)


class OwnObject:
    """An object that only this process writes."""

    def __init__(self, api: Api, resource: str, name: str) -> None:
        """Write nothing yet.

        Args:
            api: The API server.
            resource: The path of the resource, such as that of the Leases of a namespace.
            name: The object's.
        """
        self._api = api
        self._resource = resource
        self._path = f"{resource}/{name}"
        self._version: str | None = None

    async def write(self, document: Document) -> bool:
        """Create or replace the object; return whether it did not exist."""
        is_new = self._version is None
        try:
            await self._write(document)
        except ApiError as error:
            if not (error.is_conflict or error.is_missing):
                raise
            # somebody has deleted it, or an answer was lost
            self._version = await self._stored_version()
            await self._write(document)
            return error.is_missing
        return is_new

    async def delete(self) -> None:
        """Delete the object, if it exists."""
        await self._api.delete(self._path)

    async def _write(self, document: Document) -> None:
        if self._version is None:
            written = await self._api.create(self._resource, document)
        else:
            metadata = {**document["metadata"], "resourceVersion": self._version}
            written = await self._api.update(self._path, {**document, "metadata": metadata})
        self._version = written["metadata"]["resourceVersion"]

    async def _stored_version(self) -> str | None:
        try:
            found = await self._api.get(self._path)
        except ApiError as error:
            if error.is_missing:
                return None
            raise
        return str(found["metadata"]["resourceVersion"])
