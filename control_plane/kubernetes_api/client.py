"""The client of a Kubernetes API server: reads, writes and watches objects by their paths.

A client may live for months: a renewed token, certificate or kubeconfig is used from the next
request on. Each answer has a limit in size and time. Errors name the API server and the context.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from scopeway.control_plane.kubernetes_api.errors import ApiError, one_line, status_error
from scopeway.control_plane.kubernetes_api.kubeconfig import SERVICE_ACCOUNT
from scopeway.control_plane.kubernetes_api.nesting import read_json
from scopeway.control_plane.kubernetes_api.renewed_pool import RenewedPool
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.kubernetes_api.watch_lines import (
    Event,
    Lines,
    LineTooLong,
    read_event,
)

if TYPE_CHECKING:  # at run time only once a client connects
    from scopeway.control_plane.kubernetes_api.access import Answer

CALL_TIMEOUT: Final = 10.0
"""Seconds for one request with a short answer, and for a watch to be opened."""
LIST_TIMEOUT: Final = 30.0
"""Seconds for one page of a list."""
WHOLE_LIST_TIMEOUT: Final = 300.0
"""Seconds for all pages of a list. 10,000 clouds take 2."""
MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of an answer. Of a list, a smaller page is asked for then."""
PAGE: Final = 500
"""Objects of one page of a list."""
PAGE_DIVISOR: Final = 10
"""A page that is too long is asked for again, with so many times fewer objects."""
LIST_ATTEMPTS: Final = 3
"""How often `list_all` begins a list, if etcd compacts it away meanwhile."""
WATCH_SECONDS: Final = 1800
"""Seconds after which the API server ends a watch."""
SILENCE: Final = WATCH_SECONDS + 60.0
"""Seconds without a byte after which a watch counts as dead. Kubernetes does not promise bookmarks,
so a watch of few objects may be silent until its end."""

APPLY_PATCH: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
NO_LIST: Final = "answered something else than a list"

Document = dict[str, Any]


class ApiClient:
    """Calls one API server as one user. Use it as an asynchronous context manager.

    Every method may raise ApiError.
    """

    def __init__(
        self, url: KubernetesUrl, *, account: Path = SERVICE_ACCOUNT, max_answer: int = MAX_ANSWER
    ) -> None:
        """Make the client; the first request connects.

        Args:
            url: Which API server, and which login.
            account: The folder of this pod's service account.
            max_answer: Bytes of an answer.
        """
        self._pool = RenewedPool(url, account=account)
        self._max_answer = max_answer

    async def __aenter__(self) -> Self:
        """Do nothing: the first request connects."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def place(self) -> str:
        """The login and the API server, for people."""
        return self._pool.place

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """Return an object or a list."""
        return await self._call("GET", path, query or {}, verb=_read_verb(path))

    async def apply(
        self,
        path: str,
        document: Mapping[str, Any],
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Document:
        """Apply the fields of an object on the server (server-side apply).

        Args:
            path: Of the object.
            document: The fields that `manager` owns, with apiVersion, kind and name.
            manager: The field manager.
            force: Whether to take fields over from other managers.
            subresource: Such as "status"; "" for the object itself.
            dry_run: Whether the API server only checks the request.
        """
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._call(
            "PATCH", _below(path, subresource), query, document, content_type=APPLY_PATCH
        )

    async def create(self, path: str, document: Mapping[str, Any]) -> Document:
        """Create an object below the path of its resource."""
        return await self._call("POST", path, {}, document)

    async def update(self, path: str, document: Mapping[str, Any]) -> Document:
        """Replace an object; a conflict if its resource version has changed."""
        return await self._call("PUT", path, {}, document)

    async def merge_patch(
        self, path: str, document: Mapping[str, Any], subresource: str = "", *, manager: str = ""
    ) -> Document:
        """Merge fields into an object (RFC 7396); `manager` is the field manager."""
        query = {"fieldManager": manager} if manager else {}
        return await self._call(
            "PATCH", _below(path, subresource), query, document, content_type=MERGE_PATCH
        )

    async def delete(self, path: str) -> bool:
        """Delete an object; return whether it existed."""
        try:
            await self._call("DELETE", path, {})
        except ApiError as error:
            if error.is_missing:
                return False
            raise
        return True

    async def list_pages(
        self, path: str, *, page: int = PAGE
    ) -> AsyncGenerator[tuple[str, list[Document]], None]:
        """Yield the resource version of a list, and the objects of one page, until all were listed.

        An error that `is_gone` means that the list must begin anew: etcd was compacted meanwhile.
        """
        async with aclosing(self.raw_pages(path, page=page)) as pages:
            async for version, items in pages:
                yield version, [await read_json(_DOCUMENT.decode, bytes(item)) for item in items]

    async def list_all(self, path: str) -> tuple[str, list[Document]]:
        """Return the resource version of a list, and all objects."""
        for attempt in range(1, LIST_ATTEMPTS + 1):
            found: list[Document] = []
            version = ""
            try:
                async with aclosing(self.list_pages(path)) as pages:
                    async for at, items in pages:
                        version = at
                        found += items
            except ApiError as error:
                if not error.is_gone or attempt == LIST_ATTEMPTS:
                    raise
            else:
                break
        return version, found

    async def raw_pages(
        self, path: str, *, page: int = PAGE
    ) -> AsyncGenerator[tuple[str, list[msgspec.Raw]], None]:
        """Yield the same as `list_pages`, each object as its JSON.

        An object is a view of the page: copy what you keep.
        """
        limit, token = page, ""
        end = time.monotonic() + WHOLE_LIST_TIMEOUT
        while True:
            query = {"limit": str(limit)} | ({"continue": token} if token else {})
            try:
                body = await self._exchange("GET", path, query, verb="list", seconds=LIST_TIMEOUT)
            except _AnswerTooLong as error:
                if limit == 1:
                    raise self._error(str(error)) from None
                limit = max(limit // PAGE_DIVISOR, 1)
                continue
            try:
                found = await read_json(_LIST.decode, body)
            except msgspec.MsgspecError:
                raise self._error(NO_LIST) from None
            if not found.metadata.resource_version:  # such as a Status: not a list of nothing
                raise self._error(NO_LIST)
            yield found.metadata.resource_version, found.items or []
            if not found.metadata.next:
                return
            if found.metadata.next == token:
                raise self._error("lists the same page again and again")
            if time.monotonic() > end:
                raise self._error(f"did not end its list within {WHOLE_LIST_TIMEOUT:g} s")
            token = found.metadata.next

    async def watch(
        self,
        path: str,
        resource_version: str,
        *,
        seconds: float = WATCH_SECONDS,
        silence: float = SILENCE,
    ) -> AsyncGenerator[list[Event], None]:
        """Yield the events after a resource version, those that arrive together in one list.

        The first list is empty: the watch is open. Ends where the API server ends the watch.

        Args:
            path: Of the resource.
            resource_version: Of the list, or of the last event.
            seconds: After which the API server ends the watch.
            silence: Seconds without a byte after which the connection counts as dead.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        async with self._send("GET", path, query, verb="watch", silence=silence) as answer:
            yield []
            lines = Lines()
            async with aclosing(answer.chunks()) as chunks:
                async for chunk in chunks:
                    try:
                        whole = lines.feed(chunk)
                        events = [await read_json(read_event, line) for line in whole]
                    except LineTooLong as error:
                        raise self._error(f"ends the watch of {path}: {error}") from None
                    except ValueError:
                        raise self._error(f"sent something else than an event of {path}") from None
                    for event in events:
                        if event.type == "ERROR":
                            raise self._event_error(path, event)
                    if events:
                        yield events

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        document: Mapping[str, Any] | None = None,
        *,
        content_type: str = JSON,
        verb: str = "",
    ) -> Document:
        body = None if document is None else msgspec.json.encode(document)
        try:
            answer = await self._exchange(
                method, path, query, body, content_type=content_type, verb=verb
            )
        except _AnswerTooLong as error:
            raise self._error(str(error)) from None
        try:
            return await read_json(_DOCUMENT.decode, answer)
        except msgspec.MsgspecError:
            raise self._error(f"answered something else than JSON to {method} {path}") from None

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        *,
        content_type: str = JSON,
        verb: str = "",
        seconds: float | None = None,
    ) -> bytes:
        """Return the whole answer to one request."""
        seconds = CALL_TIMEOUT if seconds is None else seconds
        await self._pool.get()  # a plug-in has a time limit of its own
        try:
            async with (
                asyncio.timeout(seconds),
                self._send(
                    method, path, query, body, content_type=content_type, verb=verb, silence=seconds
                ) as answer,
            ):
                return await _read(answer, self._max_answer)
        except TimeoutError:
            raise self._error("no answer in time") from None

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        *,
        content_type: str = JSON,
        verb: str = "",
        silence: float,
    ) -> AsyncIterator["Answer"]:
        """Yield a good answer; renew a credential that is refused, once."""
        for attempt in (1, 2):
            pool, credential = await self._pool.get()
            try:
                async with pool.send(
                    method,
                    path,
                    query,
                    body=body,
                    content_type=content_type,
                    authorization=credential.authorization,
                    silence=silence,
                    head=min(silence, CALL_TIMEOUT),
                ) as answer:
                    if answer.code < 400:
                        yield answer
                        return
                    status = _status(await _read(answer, self._max_answer, cut=True))
            except ApiError as error:
                raise error.at(pool.login.place) from None
            if answer.code == 401 and attempt == 1:
                pool.credentials.reject(credential)
                continue
            place = pool.login.place
            raise status_error(place, method, path, answer.code, status, verb=verb)

    def _error(self, sentence: str) -> ApiError:
        return ApiError(sentence, place=self.place)

    def _event_error(self, path: str, event: Event) -> ApiError:
        status = _status(bytes(event.object))
        code = status.get("code")
        return status_error(
            self.place, "GET", path, code if type(code) is int else 500, status, verb="watch"
        )


class _AnswerTooLong(Exception):
    """An answer is longer than its limit."""


class _ListMetadata(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


_LIST = msgspec.json.Decoder(_List)
_DOCUMENT = msgspec.json.Decoder(Document)


async def _read(answer: "Answer", most: int, *, cut: bool = False) -> bytes:
    """Return the body of an answer; of one that is too long, the begin if `cut`."""
    body = bytearray()
    async with aclosing(answer.chunks()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                if cut:
                    break
                raise _AnswerTooLong(f"sent an answer longer than {most} bytes")
    return bytes(body)


def _status(body: bytes) -> Mapping[str, Any]:
    """Return Kubernetes' Status; of another text, one with its first line."""
    try:
        return msgspec.json.decode(body, type=Document)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"message": one_line(body[:2000].decode(errors="replace"))}


def _below(path: str, subresource: str) -> str:
    return f"{path}/{subresource}" if subresource else path


def _read_verb(path: str) -> str:
    last = path.rsplit("/", 1)[-1]
    return "list" if last in ("edgeclouds", "cordons", "servicetypes") else "get"
