"""What the Lua modules have to answer, in Python, after docs/lua.md and docs/scope.md.

Texts are of latin-1: a character for each byte, as Lua has them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES

SITE = "cloud-1"
SERVICES = {**ALIASES, **{service: service for service in SERVICE_TYPES}}
FRONT = {"url": "http://front", "region": "R", "ports": {"compute": "http://front:8774"}}
KEPT = {"cloud-5": True}
HTTP = {"dns": {"x-api-key": True}}
"""The services with the protocol `http`: to the headers that may go to other clouds."""
MAX_LEVELS = 32


class Number(NamedTuple):
    """A number as it was written."""

    text: str


class NotJson(ValueError):
    """A text that is no JSON, or more than may be."""


def read_json(text: str) -> Any:
    """RFC 8259 and nothing more, without twins, halves of surrogate pairs and deep nesting."""
    try:
        value = json.loads(
            text.encode("latin-1").decode(),
            object_pairs_hook=_once,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise NotJson("deep") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    if _levels(value) > MAX_LEVELS or not _is_utf8(value):
        raise NotJson("levels, or half a pair")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise NotJson("twins")
    return dict(pairs)


def _no_constant(word: str) -> None:
    raise NotJson(word)


def _levels(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


def _is_utf8(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or not re.search("[\ud800-\udfff]", value)
    if isinstance(value, dict):
        return all(map(_is_utf8, [*value, *value.values()]))
    return isinstance(value, Number) or not isinstance(value, list) or all(map(_is_utf8, value))


def has_dot_segment(path: str) -> bool:
    plain = re.sub("%2[eE]", ".", re.sub("%2[fF]", "/", path.partition("?")[0]))
    return bool({".", ".."}.intersection(plain.split("/")))


def split_path(path: str) -> tuple[str, str]:
    before, mark, query = path[1:].partition("?")
    segment, _, rest = before.partition("/")
    return segment, f"/{rest}{mark}{query}"


def take_scope(path: str) -> Any:
    """None; or "refused"; or the scope, the rest and the prefix."""
    if not re.match("/~(?:{|%7[bB])", path):
        return None
    segment, rest = split_path(path)
    if re.search("%(?![0-9A-Fa-f]{2})", segment):
        return "refused"
    text = re.sub("%(..)", lambda escape: chr(int(escape[1], 16)), segment[1:])
    plain = all(" " <= character <= "~" for character in text)
    return text, rest, f"/~{text}" if plain else f"/{segment}"


def split_token(token: str) -> Any:
    """The bare token and its scope; "refused"."""
    bare, mark, suffix = token.partition("~")
    if not mark:
        return token, None
    return (bare, suffix[2:]) if suffix.startswith("1~") else "refused"


def namespace(cloud: str) -> str:
    return sha256(cloud.encode("latin-1")).hexdigest()[:16]


def moved(identifier: str, digits: str) -> str:
    if digits and re.fullmatch("[0-9a-f]{32,}", identifier):
        return digits + identifier[16:]
    return digits + identifier


def led_back(location: str, scheme: str, authority: str, prefix: str, places: str) -> str:
    """Where a Location leads for a client that spoke `scheme` to `authority`."""
    escaped = re.sub(r"[^A-Za-z0-9/~:;,._%-]", lambda it: f"%{ord(it[0]):02X}", prefix)
    url = re.fullmatch("(?:([A-Za-z]+):)?//([^/?#]+)(.*)", location, re.DOTALL)
    if location.startswith("/") and not location.startswith("//"):
        path = _path_at_front(location, escaped, prefix, _behind_place(location, None, places))
        if not path.startswith("//"):
            return path
        return f"{scheme}://{authority}{path}" if authority else location
    if not authority or not url:
        return location
    own_scheme = url[1].lower() if url[1] else scheme
    if own_scheme not in {"http", "https"}:
        return location
    here = _host(own_scheme, url[2])
    rest = _behind_place(url[3], here, places)
    if here in {_host(scheme, authority), _host(own_scheme, authority)}:
        path = _path_at_front(url[3], escaped, prefix, rest)
    elif rest is None:
        return location
    else:
        path = _at_root(escaped, rest)
    return f"{scheme}://{authority}{path}"


def _path_at_front(path: str, escaped: str, prefix: str, rest: str | None) -> str:
    if rest is not None and rest != path:
        return _at_root(escaped, rest)
    if not prefix or re.match("/~(?:{|%7[bB])", path):
        return path
    service = re.split("[/?#]", path[1:])[0] if path.startswith("/") else ""
    names_service = re.search("/[^/~]+\\Z", prefix)
    if service in SERVICE_TYPES and names_service:
        return path
    return escaped + path


def _at_root(prefix: str, rest: str) -> str:
    return prefix + rest if prefix or rest.startswith("/") else f"/{rest}"


def _behind_place(path: str, host: str | None, places: str) -> str | None:
    rests = []
    for place in re.findall(r"[^ \t\n\v\f\r]+", places):
        name, slash, rest = place.partition("/")
        own = slash + rest
        if (
            name
            and (host is None or host == name)
            and re.match(re.escape(own) + r"([/?#]|\Z)", path)
        ):
            rests.append(path[len(own) :])
    return min(rests, key=len, default=None)


def _host(scheme: str, authority: str) -> str:
    port = {"http": ":80", "https": ":443"}.get(scheme, "")
    lower = "".join(c.lower() if c.isascii() else c for c in authority)
    return lower.removesuffix(port) if port else lower


class Refused(Exception):
    """An answer that isn't passed on; with a status."""


def foreign_token(body: str, honoured: str) -> Any:
    """The token of another cloud as this site takes it."""
    digits, _, roles = honoured.partition(";")
    try:
        document = read_json(body)
    except NotJson:
        raise Refused(502) from None
    token = _object(_object(document).get("token"))
    if "system" in token:
        raise Refused(404)
    edits: Mapping[str, Any] = {
        "user": lambda node: _owner(node, digits),
        "project": lambda node: _owner(node, digits),
        "domain": lambda node: _domain(node, digits),
        "roles": lambda node: _roles(node, roles.split(",")),
        "catalog": catalog,
        "OS-TRUST:trust": lambda node: _trust(node, digits),
    }
    made = {name: edit(token[name]) for name, edit in edits.items() if name in token}
    if "user" not in made:
        raise Refused(502)
    kept = ("is_domain", "methods", "audit_ids", "issued_at", "expires_at", "bind")
    made |= _some(token, *kept, "oauth2_credential", "application_credential")
    return {"token": {**made, "is_admin_project": False}}


def _object(node: Any) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise Refused(502)
    return node


def _some(node: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: node[name] for name in names if name in node}


def _id(value: Any, digits: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[!-~]{1,64}", value):
        raise Refused(502)
    return moved(value, digits)


def _owner(node: Any, digits: str) -> Any:
    made = {"id": _id(_object(node).get("id"), digits)}
    made["domain"] = _domain(node.get("domain"), digits)
    return made | _some(node, "name", "password_expires_at")


def _domain(node: Any, digits: str) -> Any:
    if _object(node).get("id", "") is None:
        return {"id": digits or None} | _some(node, "name")
    return {"id": _id(node.get("id"), digits)} | _some(node, "name")


def _roles(node: Any, allowed: Iterable[str]) -> Any:
    if not isinstance(node, list):
        raise Refused(502)
    names = {name.encode("latin-1") for name in allowed if name}
    return [
        _some(role, "id", "name")
        for role in map(_object, node)
        if isinstance(role.get("name"), str) and role["name"].encode() in names
    ]


def _trust(node: Any, digits: str) -> Any:
    made = {"id": _id(_object(node).get("id"), digits)} | _some(node, "impersonation")
    for name in ("trustee_user", "trustor_user"):
        made[name] = {"id": _id(_object(node.get(name)).get("id"), digits)}
    return made


def catalog(node: Any) -> Any:
    if not isinstance(node, list):
        raise Refused(502)
    return [made for entry in node if (made := _entry(entry)) is not None]


def _entry(node: Any) -> Any:
    fields = node if isinstance(node, dict) else {}
    word = fields.get("type")
    service = SERVICES.get(word) if isinstance(word, str) else None
    if service is None or not isinstance(fields.get("endpoints"), list):
        return None
    ports: Any = FRONT["ports"]
    base = ports.get(service, f"{FRONT['url']}/{service}")
    endpoints = []
    for each in fields["endpoints"]:
        rest = _versioned(each.get("url")) if isinstance(each, dict) else None
        if rest is None:
            continue
        made = _some(each, "id", "interface", "region", "region_id") | {"url": base + rest}
        endpoints.append(made)
        region = made.get("region_id")
        if region in (None, False):
            region = made.get("region")
        if region != FRONT["region"]:
            endpoints.append({**made, "region": FRONT["region"], "region_id": FRONT["region"]})
    return _some(fields, "id", "type", "name") | {"endpoints": endpoints} if endpoints else None


def _versioned(url: Any) -> str | None:
    found = re.fullmatch("https?://[^/?#]+(.*)", url, re.DOTALL) if isinstance(url, str) else None
    if found is None:
        return None
    version = re.search("/v[0-9].*", found[1], re.DOTALL)
    rest = version[0] if version else ""
    return rest if re.fullmatch("[A-Za-z0-9/._-]*", rest) and not has_dot_segment(rest) else None


def stripped_login(document: Any) -> tuple[Any, str | None]:
    """A login without the scope in its token, and that scope; a scope of no version: Refused."""
    node = document
    for name in ("auth", "identity", "token"):
        if not isinstance(node, dict) or not isinstance(node.get(name), dict):
            return document, None
        node = node[name]
    if not isinstance(node.get("id"), str):
        return document, None
    split = split_token(node["id"])
    if split == "refused":
        raise Refused(400)
    auth, identity = document["auth"], document["auth"]["identity"]
    token = {**node, "id": split[0]}
    made = {**document, "auth": {**auth, "identity": {**identity, "token": token}}}
    return made, split[1]


def hinted(document: Any, hint: str) -> tuple[Any, bool]:
    """With the hint behind the first text that is called `message`, in the order of the text."""
    if isinstance(document, list):
        for index, item in enumerate(document):
            made, done = hinted(item, hint)
            if done:
                return [*document[:index], made, *document[index + 1 :]], True
    if isinstance(document, dict) and not isinstance(document, Number):
        for name, item in document.items():
            if name == "message" and isinstance(item, str):
                return {**document, name: item + hint}, True
            made, done = hinted(item, hint)
            if done:
                return {**document, name: made}, True
    return document, False
