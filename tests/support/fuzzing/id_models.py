"""What becomes of the ids of projects and users in a request, in Python, after docs/foreign-ids.md.

Texts are of latin-1, as in `lua_models`. The places themselves are those of `id_places.lua`.
"""

import re
from collections.abc import Container, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from lupa.luajit21 import LuaRuntime

from fuzzing import lua_models as model
from fuzzing.lua_models import Refused
from scopeway import lua_filters

MAX_BODY = 65536
_WITH_PROJECT = (
    *("block-storage", "compute", "database", "object-store", "orchestration"),
    "shared-file-system",
)
_VERSION = re.compile(r"/v[0-9][0-9.]*(?=/)")
_PROJECT = re.compile(r"/(?:AUTH_)?([0-9a-f]{32})(?=[/?]|\Z)")
_ID = r"([0-9a-f]{32,64})(?![0-9a-f])(?:(?:@|%40)([a-z0-9-]+))?"


class Places(NamedTuple):
    paths: Sequence[str]
    refused: Sequence[str]
    queries: Container[str]
    bodies: Sequence[tuple[str, str, str]]


@cache
def places() -> dict[str, Places]:
    """What the Lua has, by service."""
    text = (Path(lua_filters.__file__).parent / "id_places.lua").read_text()
    table = LuaRuntime(unpack_returned_tuples=True).execute(text)
    return {
        service: Places(
            paths=list(of.paths.values()),
            refused=list(of.refused or ()),
            queries=set(of.queries.values()),
            bodies=[tuple(body.values()) for body in of.bodies.values()],
        )
        for service, of in table.items()
    }


class Users(NamedTuple):
    """Whose ids they are."""

    identity: str | None
    """Which clouds the token's scope names for it; None: it has no scope."""
    only: Container[str] | None = None
    """The clouds whose ids are moved; None: all but those of KEPT."""

    def moved(self, cloud: str) -> bool:
        if cloud == model.SITE or cloud in model.KEPT:
            return False
        return self.only is None or cloud in self.only

    @property
    def cloud(self) -> str | None:
        """The one cloud whose ids are moved."""
        cloud = self.identity or ""
        return cloud if re.fullmatch("[a-z0-9-]+", cloud) and self.moved(cloud) else None

    def here(self, identifier: str, named: str | None = None) -> str:
        cloud = named or self.cloud
        assert cloud
        if not self.moved(cloud):
            return identifier
        return model.moved(identifier, model.namespace(cloud))

    def text(self, text: str) -> str:
        found = re.fullmatch(_ID, text)
        return self.here(found[1], found[2]) if found else text


def path(text: str, service: str, users: Users) -> str:
    """The path as this site has it; a place that could not work: Refused."""
    if users.cloud is None:
        return text
    version, project, rest = _parts(text, service)
    if version and service in _WITH_PROJECT and (found := _PROJECT.match(project)):
        project = project.replace(found[1], users.here(found[1]))
    if service not in places():
        return version + project + rest
    of_service = places()[service]
    for refused, patterns in ((False, of_service.paths), (True, of_service.refused)):
        for each in patterns:
            before = _pattern(each.partition("<id>")[0])
            found = re.match(rf"({before}){_ID}(?=[/.?]|\Z)", rest) if version else None
            if found and refused:
                raise Refused(501)
            if found:
                rest = found[1] + users.here(found[2], found[3]) + rest[found.end() :]
    whole = version + project + rest
    before, mark, query = whole.partition("?")

    def parameter(found: re.Match[str]) -> str:
        plain = unquote(found[2], "latin-1")
        moved = users.text(plain)
        wanted = unquote(found[1], "latin-1") in of_service.queries and moved != plain
        return f"{found[1]}={moved}" if wanted else found[0]

    return before + mark + re.sub("([^&;=]+)=([^&;]*)", parameter, query)


def mentioned(text: str, service: str) -> dict[str, str]:
    """What a hint says of an id in a path or a query."""
    version, _, rest = _parts(text, service)
    of_service = places().get(service)
    for each in (*of_service.paths, *of_service.refused) if of_service and version else ():
        before = _pattern(each.partition("<id>")[0])
        if found := re.match(rf"{before}{_ID}(?=[/.?]|\Z)", rest):
            return {"id": found[1], "where": "path", "id_of": found[2] or ""}
    for name, value in re.findall("([^&;=]+)=([^&;]*)", rest.partition("?")[2]):
        plain = unquote(value, "latin-1")
        is_place = of_service and unquote(name, "latin-1") in of_service.queries
        if is_place and (found := re.fullmatch(_ID, plain)):
            return {"id": found[1], "where": "query", "id_of": found[2] or ""}
    if version and service != "object-store":
        for segment in rest.partition("?")[0].split("/")[1:]:
            if re.fullmatch("[0-9a-f]{32,64}", segment):
                return {"id": segment, "where": "path"}
    return {}


def _parts(text: str, service: str) -> tuple[str, str, str]:
    """Version, project and what stands behind; without a version all is behind."""
    found = _VERSION.match(text)
    if found is None:
        return "", "", text
    rest = text[found.end() :]
    project = _PROJECT.match(rest) if service in _WITH_PROJECT else None
    length = project.end() if project else 0
    return found[0], rest[:length], rest[length:]


def _pattern(where: str) -> str:
    return re.escape(where).replace(r"\*", "[^/?]+")


class Body(NamedTuple):
    """What a body has to be."""

    received: str | None
    names: Sequence[str]
    """Its places; none: nothing of it may change."""
    users: Users

    def check(self, sent: str | None) -> None:
        if not self.names or self.received is None:
            assert sent == self.received
            return
        try:
            document = model.read_json(self.received)
        except model.NotJson:
            return
        assert sent is not None
        if "\\" not in self.received:  # names with escapes are left alone
            assert model.read_json(sent) == _moved(document, self.names, self.users)


def body(message: Any, service: str, where: str, users: Users) -> Body:
    """What becomes of a body; what can't be bounded: Refused.

    Args:
        message: A `messages.Message`.
        where: The path, without what tells the service.
    """
    version, _, rest = _parts(where, service)
    of_service = places().get(service)
    names = [
        name
        for method, pattern, name in (of_service.bodies if of_service and version else ())
        if method == message.method
        and (pattern == "**" or re.match(rf"{_pattern(pattern)}/?(?:\?|\Z)", rest))
    ]
    if not names or users.cloud is None:
        return Body(message.body, (), users)
    length = message.by_name().get("content-length")
    if length is None:
        raise Refused(411)
    if int(length) > MAX_BODY or (int(length) and len(message.body or "") > MAX_BODY):
        raise Refused(413)
    return Body(message.body, names if int(length) else (), users)


def _moved(document: Any, names: Iterable[str], users: Users) -> Any:
    for name in names:
        if name.startswith("/"):
            document = _patched(document, name, users)
        else:
            document = _at(document, name.split("."), users)
    return document


def _patched(document: Any, name: str, users: Users) -> Any:
    if not isinstance(document, list) or isinstance(document, model.Number):
        return document
    return [
        {**each, "value": users.text(each["value"])}
        if isinstance(each, dict) and each.get("path") == name and _is_text(each.get("value"))
        else each
        for each in document
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, model.Number)


def _at(node: Any, names: Sequence[str], users: Users) -> Any:
    if isinstance(node, list) and not isinstance(node, model.Number):
        return [_at(each, names, users) for each in node]
    if not names:
        return users.text(node) if _is_text(node) else node
    if not isinstance(node, dict):
        return node
    return {
        name: _at(each, names[1:], users) if names[0] in {name, "*"} else each
        for name, each in node.items()
    }
