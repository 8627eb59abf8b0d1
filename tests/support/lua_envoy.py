"""LuaJIT with the Lua modules in it, and the bundled filters behind a strict stand-in for Envoy."""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lupa.luajit21 import LuaRuntime

from scopeway import lua_filters
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES
from scopeway.control_plane.translator.route_templates import LOGIN_PATHS

SERVICES = {**ALIASES, **{service: service for service in SERVICE_TYPES}}
SITE = "cloud-1"

_LOGIN_PATHS = re.compile(LOGIN_PATHS, re.DOTALL)
_HERE = pathlib.Path(__file__).parent
_LUA = pathlib.Path(lua_filters.__file__).parent


def _runtime() -> Any:
    # latin-1: every byte is a character, and back
    return LuaRuntime(encoding="latin-1", unpack_returned_tuples=True)


class Modules:
    """The Lua modules of one Lua state, by name."""

    def __init__(self, constants: Mapping[str, object]) -> None:
        self._lua = _runtime()
        self._lua.execute(f"package.path = '{_LUA}/?.lua'")
        self._lua.globals().given = self._lua.table_from(constants, recursive=True)
        self._lua.execute(
            "local given = given package.preload.constants = function() return given end"
        )

    def __getitem__(self, name: str) -> Any:
        return self._lua.eval(f"require('{name}')")

    def same(self, one: Any, other: Any) -> bool:
        return bool(self._lua.eval("rawequal")(one, other))

    def to_dict(self, table: Any) -> dict[str, Any]:
        return dict(table.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a filter, or the stand-in for it, answered."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message after its filter."""

    headers: Mapping[str, str]
    body: str | None
    body_was_read: bool
    answer: Answer | None
    """What the filter answered itself: then the message goes nowhere."""
    log: list[str]
    metadata: Any
    calls: int
    """Methods of Envoy's that were called."""
    failed: str | None
    """The error upon which Envoy lets the message go on."""


class Filter:
    """One bundled filter in a Lua state of its own."""

    def __init__(self, source: str, answers: str = "") -> None:
        self._lua = _runtime()
        envoy = self._named("fake_envoy", (_HERE / "fake_envoy.lua").read_text())
        self._run = envoy.run
        self.end_requests = envoy.end_requests
        """End all that are held."""
        self.context: dict[str, str] = {}
        """What the route says to the filter."""
        self.stats = self._lua.table()
        self.now = 1_000_000
        """Milliseconds; `os.time` goes by them, too."""
        self._lua.globals().os.time = lambda: self.now // 1000
        self._named("answers", answers)  # in Envoy it has a Lua state of its own
        self._named("filter", source)

    def _named(self, name: str, source: str) -> Any:
        return self._lua.globals().loadstring(source, f"={name}")()

    def execute(self, source: str) -> Any:
        """Runs Lua beside the filter."""
        return self._lua.execute(source)

    def request(
        self,
        path: str | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: str | None = None,
        connection: Mapping[str, Mapping[str, str]] | None = None,
        broken: str | None = None,
        fails_at: int = 0,
        route: str | None = None,
        held: bool = False,
    ) -> Sent:
        """Sends a request through the filter.

        `route` is the name of its route; None: the one that a front would choose. `connection` is
        the metadata of the connection it comes by; `broken` a method of Envoy's that raises;
        `fails_at`: which call of any method does, from 1 on, 0 is none; `held`: it goes on until
        `end_requests`.
        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        pseudo = [(":method", method), *([(":path", path)] if path is not None else [])]
        if route is None:
            is_login = method == "POST" and _LOGIN_PATHS.fullmatch((path or "").partition("?")[0])
            route = "login" if is_login else "another"
        more = self._lua.table(), broken, fails_at, connection, route, held
        return self._send("envoy_on_request", [*pseudo, *pairs], body, *more)

    def refusal(self, *args: Any, **kwargs: Any) -> tuple[int, str]:
        """The status and the sentence of a request that is refused."""
        answer = self.request(*args, **kwargs).answer
        assert answer is not None, "the request went on"
        assert answer.headers["content-type"] == "application/json"
        assert answer.error["code"] == answer.status
        return answer.status, answer.error["message"]

    def response(
        self,
        request: Sent,
        headers: Mapping[str, str],
        *,
        body: str | None = "{}",
        broken: str | None = None,
    ) -> Sent:
        """Sends the answer to a request back through the filter."""
        if "x-scopeway-answer" not in request.headers:  # the route asks for no Lua
            return replace(request, headers=headers, body=body, body_was_read=False, log=[])
        pairs = list(headers.items())
        return self._send("envoy_on_response", pairs, body, request.metadata, broken)

    def answer(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        *,
        body: str | None = None,
        metadata: Mapping[str, str] | None = None,
        fails_at: int = 0,
        **stream: str,
    ) -> Sent:
        """Sends an answer through a filter that looks at answers only.

        `metadata` is what a request has left for it; `stream` the `protocol` and the `address` to
        which the client is connected.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        left = {} if metadata is None else {"scopeway": metadata}
        table = self._lua.table_from(left, recursive=True)
        return self._send("envoy_on_response", pairs, body, table, None, fails_at, **stream)

    def _send(
        self,
        hook: str,
        pairs: Any,
        body: str | None,
        metadata: Any,
        broken: str | None,
        fails_at: int = 0,
        connection: Mapping[str, Mapping[str, str]] | None = None,
        route: str = "",
        held: bool = False,
        **stream: str,
    ) -> Sent:
        table = self._lua.table_from
        message = self._lua.table()
        message.headers = table([table(list(pair)) for pair in pairs])
        message.broken = message.headers.broken = broken
        message.body, message.metadata, message.log = body, metadata, self._lua.table()
        message.route = route
        message.protocol, message.address = stream.get("protocol"), stream.get("address")
        message.fails_at, message.of_connection = fails_at, table(connection or {}, recursive=True)
        message.context, message.stats, message.now = table(self.context), self.stats, self.now
        message.held = held
        self._run(self._lua.globals()[hook], message, hook == "envoy_on_response")
        assert message.failed is None or fails_at, message.failed
        return Sent(
            headers=joined(
                (pair[1], pair[2]) for pair in message.headers.values() if pair != broken
            ),
            body=message.body,
            body_was_read=bool(message.read),
            answer=_answer(message.response),
            log=list(message.log.values()),
            metadata=metadata,
            calls=message.calls,
            failed=message.failed,
        )


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as `get` has them: several of one name are one, with commas."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _answer(response: Any) -> Answer | None:
    if response is None:
        return None
    headers = dict(response.headers.items())
    return Answer(status=int(headers.pop(":status")), headers=headers, body=response.body)


def make_modules(**constants: object) -> Modules:
    return Modules({"site": SITE, "services": SERVICES, **constants})


def make_filter(entry: str, **constants: object) -> Filter:
    given = {"site": SITE, "services": SERVICES, **constants}
    answers = lua_filters.bundle("answers", given) if entry == "front" else ""
    return Filter(lua_filters.bundle(entry, given), answers)
