"""Stand-ins for what a handler of the collector works with: the clouds of a request, its writer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from scopeway.control_plane.collector.limits import TooMuchKept
from scopeway.control_plane.collector.messages.answer import Answer
from scopeway.control_plane.collector.messages.request import FanoutRequest, Header, Missing

Cloud = Callable[[str, bytes], Awaitable[Answer] | Answer]
"""Answers path and query, and a body."""


def answer(
    status: int, document: object = None, *, cause: str = "", reason: str = "", **headers: str
) -> Answer:
    """Return the answer of a cloud; the names of headers have `_` for `-`."""
    made = Answer("")
    made.status = status
    made.headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    made.cause, made.reason = cause, reason
    if document is not None:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        made.body = bytearray(text)
    return made


def fanout(method: str, location: str, members: str, **fields: Any) -> FanoutRequest:
    """Return a request; `members` is `a&b` or `a^b`."""
    operator = "^" if "^" in members else "&"
    path, _, query = location.partition("?")
    missing = tuple(Missing(*each) for each in fields.pop("missing", ()))
    service = fields.pop("service", "image")
    return FanoutRequest(
        method=method,
        path=path,
        query=query,
        service=service,
        target=f"{service}@{members}",
        operator=operator,
        members=tuple(members.split(operator)),
        missing=missing,
        **fields,
    )


class FakeFanOut:
    """The clouds of a request, in this process; what they answer comes in the order of `later`."""

    def __init__(
        self, request: FanoutRequest, clouds: Mapping[str, Cloud], room: int = 1 << 22
    ) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        """Cloud, path and query, body."""
        self.room = room
        self._request = request
        self._clouds = clouds

    async def each(
        self,
        clouds: Iterable[str],
        *,
        locations: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Answer]:
        """As `FanOut.each`; the body of an answer is cleared when the next one is taken."""
        asked = [
            asyncio.ensure_future(self._ask(each, (locations or {}).get(each, ""), body))
            for each in clouds
        ]
        for done in asyncio.as_completed(asked):
            found = await done
            yield found
            found.body = bytearray(b"released")

    async def heads(self, clouds: Iterable[str]) -> AsyncIterator["FakeHead"]:
        """As `FanOut.heads`."""
        for done in asyncio.as_completed(
            [asyncio.ensure_future(self._ask(c, "", None)) for c in clouds]
        ):
            yield FakeHead(await done)

    def keep(self, size: int) -> None:
        """As `FanOut.keep`."""
        if size > self.room:
            raise TooMuchKept("no room")
        self.room -= size

    async def _ask(self, cloud: str, location: str, body: bytes | None) -> Answer:
        sent = self._request.body if body is None else body
        location = location or self._request.location
        self.asked.append((cloud, location, sent))
        found = self._clouds[cloud](location, sent)
        made = await found if isinstance(found, Awaitable) else found
        made.cloud = cloud
        return made


class FakeHead:
    """As `fan_out.Head`."""

    def __init__(self, made: Answer) -> None:
        self.answer = made

    def keep(self) -> None:
        """Keep it while others are taken."""

    async def collect(self) -> Answer:
        """Return the whole answer."""
        return self.answer

    async def relay(self, sink: "FakeWriter") -> bool:
        """Pass the body on."""
        sink.write(bytes(self.answer.body))
        return True


class FakeWriter:
    """The answer to the client."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = self.rejected = False

    @property
    def document(self) -> Any:
        """The body's JSON."""
        assert self.ended
        return json.loads(self.body)

    def begin(self, status: int, headers: list[Header], *, length: int | None = None) -> None:
        assert not self.status
        self.status, self.headers = status, dict(headers)

    def write(self, data: bytes) -> None:
        assert self.status
        self.body += data

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def end(self) -> None:
        assert not self.ended
        self.ended = True

    def abort(self) -> None:
        raise AssertionError("the answer broke off")

    def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        self.begin(status, headers)
        self.write(body)
        self.end()

    def error(self, status: int, body: bytes, report: bytes = b"") -> None:
        self.rejected = True
        self.whole(status, [(b"x-scopeway-report", report)] if report else [], body)
