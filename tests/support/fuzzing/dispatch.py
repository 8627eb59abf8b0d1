"""One attempt at a cloud of an `|`, as Envoy runs the Lua of `dispatch`, beside a model.

Inputs are those of `messages`. The header `x-scopeway-target` stands for the metadata of the
connection: Envoy itself removes a header of that name before the Lua. The first letter says which
ids are moved (_MOVED); an "n" is metadata without a target.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from lua_envoy import Filter, Sent

import lua_filters
from control_plane.scope import ScopeError, binding_for
from fuzzing import lua_coverage, lua_models, messages
from fuzzing.lua_models import SITE
from fuzzing.messages import Message, text_of

_TARGET, _SERVICE, _TOKEN = "x-scopeway-target", "x-scopeway-service", "x-auth-token"
_MOVED = {"d": None, "m": {"cloud-2": True}}
_ID = "1f" * 16
_WORDS = (
    *(_TARGET, _SERVICE, _TOKEN, "x-scope", "compute", "image", "object-store", "block-storage"),
    *(f"compute@{SITE}", f"image@{SITE}", "compute@cloud-2", f"@{SITE}", "@", SITE, "cloud-2"),
    *("t~1~*:cloud-2", "t~1~keystone:cloud-2", "t~1~*:cloud-5", "~1~", "a|b", "local", "~"),
    *("/v2.1/", "/v1/AUTH_", "/v3/", _ID, "1", "f" * 16, "?", "/", "GET", "POST", "\xff"),
)
DICTIONARY = (*_WORDS, "\n")


@cache
def _filter(letter: str) -> Filter:
    constants = {"site": SITE, "services": lua_models.SERVICES, "kept": lua_models.KEPT}
    return Filter(lua_filters.bundle("dispatch", {**constants, "moved": _MOVED[letter]}))


def check(data: bytes) -> None:
    request = messages.read(data.decode("latin-1"))
    letter = request.where[:1] if request.where[:1] in _MOVED else "d"
    target = next((value for name, value in request.headers if name == _TARGET), None)
    has_metadata = target is not None or "n" in request.where
    connection = {"scopeway": {} if target is None else {"target": target}} if has_metadata else {}
    rest = [(name, value) for name, value in request.headers if name != _TARGET]
    request = replace(request, headers=rest, path=request.path or "/")
    sent = _send(letter, request, connection, 0)
    assert sent.answer is None, sent.answer
    assert not sent.log
    assert sent.body == request.body
    assert sent.headers == {":method": request.method, **_model(letter, request, target)}
    _never(request, target, sent)
    if 0 < request.fails_at <= sent.calls:
        failed = _send(letter, request, connection, request.fails_at)
        assert failed.answer is not None, "it went on though Envoy's method failed"
        assert failed.answer.status == failed.answer.error["code"] == 500
        assert failed.log


def _send(letter: str, request: Message, connection: Any, fails_at: int) -> Sent:
    more: Any = {"method": request.method, "body": request.body, "fails_at": fails_at}
    return _filter(letter).request(request.path, request.headers, connection=connection, **more)


def _model(letter: str, request: Message, target: str | None) -> dict[str, str]:
    """The headers that go on, after docs/envoy.md ("`dispatch`") and docs/lua.md ("Ids")."""
    assert request.path is not None
    headers = {**request.by_name(), ":path": request.path}
    if target is None:
        return headers
    service = headers.get(_SERVICE, "")
    if target == f"{service}@{SITE}":
        identity = None
        split = lua_models.split_token(headers.get(_TOKEN, ""))
        if split != "refused" and split[1] is not None:
            with suppress(ScopeError):
                identity = binding_for(split[1].encode("latin-1"), "identity", SITE)
        moved = _MOVED[letter]
        headers[":path"] = lua_models.project_path(request.path, service, identity, moved)
    return headers | {_TARGET: target}


def _never(request: Message, target: str | None, sent: Sent) -> None:
    """What would lead to another service or project, whatever the model says."""
    assert sent.headers.get(_TARGET) == target
    ours = {_TARGET, ":path", ":method"}
    rest = {name: value for name, value in sent.headers.items() if name not in ours}
    assert rest == request.by_name()
    path = sent.headers[":path"]
    if path != request.path:
        assert target is not None
        assert target.endswith(f"@{SITE}"), "a path for another site"
        assert len(path) == len(request.path or "")
        assert re.fullmatch(r"/v[0-9.]+/(?:AUTH_)?[0-9a-f]{32}(?:[/?].*)?", path, re.DOTALL)


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter(letter).execute for letter in _MOVED])


def seeds() -> Iterator[bytes]:
    path, token = f"/v2.1/{_ID}/servers?a=b", (_TOKEN, "t~1~*:cloud-2")
    service, home = (_SERVICE, "compute"), (_TARGET, f"compute@{SITE}")
    yield text_of(f"d GET {path}", [service, token])
    yield text_of(f"dn GET {path}", [service, token])
    for target in (home, (_TARGET, "compute@cloud-2"), (_TARGET, f"image@{SITE}"), (_TARGET, "")):
        for named in ([service], [], [(_SERVICE, "nova")], [service, service]):
            yield text_of(f"d GET {path}", [*named, target, token])
    for text in ("*:cloud-4", "keystone:cloud-2", "*:cloud-5", f"*:{SITE}", "*:a|b", "x", ""):
        for letter in _MOVED:
            yield text_of(f"{letter} POST {path}", [service, home, (_TOKEN, f"t~1~{text}")], "{}")
    for other in ("t", "t~2~*:cloud-2"):
        yield text_of(f"d GET {path}", [service, home, (_TOKEN, other)])
    for length in (31, 32, 33):
        for behind in ("", "/a", "?a", "g"):
            yield text_of(f"d GET /v2/{'1' * length}{behind}", [service, home, token])
    swift = [(_SERVICE, "object-store"), (_TARGET, f"object-store@{SITE}"), token]
    yield text_of(f"m PUT /v1/AUTH_{_ID}/a//b", swift)
    yield text_of(f"d GET {path}", [(_SERVICE, "image"), (_TARGET, f"image@{SITE}"), token])
    for fails_at in range(1, 12):
        yield text_of(f"d{fails_at} GET {path}", [service, home, token])
        yield text_of(f"d{fails_at} GET /", [(_TARGET, "image@cloud-2")])
        yield text_of(f"d{fails_at} GET /")
