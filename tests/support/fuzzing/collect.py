"""One cloud of a fan-out, as Envoy runs the Lua of `collect`, beside a model.

Inputs are those of `messages`; the first letter says which ids are moved (_MOVED).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from fuzzing import id_models, lua_coverage, lua_models, messages
from fuzzing.lua_models import SITE, Refused
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters
from scopeway.control_plane.scope import SERVICE_TYPES, ScopeError, complete_scope

_TARGET, _SERVICE, _TOKEN = "x-scopeway-target", "x-scopeway-service", "x-auth-token"
_MOVED = {"d": None, "m": {"cloud-2": True}}
_ID = "1f" * 16
_WORDS = (
    *(_TARGET, _SERVICE, _TOKEN, "compute", "image", "object-store", "block-storage", "identity"),
    *(f"compute@{SITE}", f"image@{SITE}", "compute@cloud-2", "image@a&b", "image@a|b", "@", SITE),
    *("identity.validate@cloud-2", "image@[a=b]", "image@&[a=b]", "glance@a", "^", "&", "cloud-2"),
    *("t~1~*:cloud-2", "t~1~keystone:cloud-2", "t~1~*:cloud-5", "~1~", "local", "~", "network"),
    *("content-length", "9", "project_id", "tenant_id", "PUT", "/v2.1/", "/v1/AUTH_", "/v3/", _ID),
    *("1", "f" * 16, "?", "/", "GET", "POST", "\xff", "\0"),
)
DICTIONARY = (*_WORDS, "\n")


@cache
def _filter(letter: str) -> Filter:
    constants = {
        "site": SITE,
        "services": lua_models.SERVICES,
        "clouds_with_kept_ids": lua_models.KEPT,
        "clouds_with_mapped_ids": _MOVED[letter],
        "max_targets": 1 << 30,
        "new_targets_burst": 1 << 30,
    }
    return Filter(lua_filters.bundle("collect", constants))


def check(data: bytes) -> None:
    request = messages.read(data.decode("latin-1"))
    letter = request.where[:1] if request.where[:1] in _MOVED else "d"
    sent = _send(letter, request, 0)
    try:
        wanted, ids = _model(letter, request)
    except Refused as refused:
        assert sent.answer is not None, f"it went on, and not {refused}"
        assert sent.answer.status == sent.answer.error["code"] == refused.args[0]
        assert sent.answer.body.isascii()
    else:
        assert sent.answer is None, sent.answer
        assert not sent.log
        ids.check(sent.body)
        assert sent.headers == {":method": request.method, **wanted}
    if sent.answer is None:
        _never(request, sent)
    if 0 < request.fails_at <= sent.calls:
        refuses = sent.answer is not None and request.fails_at == sent.calls
        messages.check_failed(request, _send(letter, request, request.fails_at), refuses)


def _send(letter: str, request: Message, fails_at: int) -> Sent:
    more: Any = {"method": request.method, "body": request.body, "fails_at": fails_at}
    return _filter(letter).request(request.path or "/", request.headers, **more)


def _model(letter: str, request: Message) -> tuple[dict[str, str], id_models.Body]:
    """The headers and the body that go on, after docs/lua.md ("`collect`")."""
    path = request.path or "/"
    headers = {**request.by_name(), ":path": path}
    found = re.fullmatch("([a-z0-9-]+)@([a-z0-9-]+)", headers.get(_TARGET, ""))
    if found is None or found[1] not in SERVICE_TYPES or found[1] == "identity":
        raise Refused(400)
    service, cloud = found.groups()
    users = id_models.Users(None)
    ids = id_models.Body(request.body, (), users)
    if cloud == SITE:
        identity = None
        split = lua_models.split_token(headers.get(_TOKEN, ""))
        if split != "refused" and split[1] is not None:
            with suppress(ScopeError):
                scope = complete_scope(split[1].encode("latin-1"), SITE)
                identity = scope.expression_for("identity")
        users = id_models.Users(identity, _MOVED[letter])
        headers[":path"] = id_models.path(path, service, users)
        ids = id_models.body(request, service, path, users)
    return headers | {_SERVICE: service}, ids


def _never(request: Message, sent: Sent) -> None:
    """What would lead to several clouds or another service, whatever the model says."""
    target = sent.headers[_TARGET]
    assert not set("&^|%[]()*,. ").intersection(target)
    assert target == request.by_name()[_TARGET]
    assert sent.headers[_SERVICE] == target.partition("@")[0] != "identity"
    if sent.headers[":path"] != (request.path or "/"):
        assert target.endswith(f"@{SITE}"), "a path for another site"


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter(letter).execute for letter in _MOVED])


def seeds() -> Iterator[bytes]:
    path, token = f"/v2.1/{_ID}/servers?a=b", (_TOKEN, "t~1~*:cloud-2")
    for target in (f"compute@{SITE}", "compute@cloud-2", "compute@a&b", "identity@a", "nova@a", ""):
        yield text_of(f"d GET {path}", [(_TARGET, target), token])
        yield text_of(f"d POST {path}", [(_SERVICE, "image"), (_TARGET, target), token], "{}")
    yield text_of(f"d GET {path}", [token])
    yield text_of(f"d GET {path}", [(_TARGET, "image@a"), (_TARGET, "image@b")])
    for text in ("*:cloud-4", "keystone:cloud-2", "*:cloud-5", f"*:{SITE}", "*:a|b", "x", ""):
        for letter in _MOVED:
            home = (_TARGET, f"compute@{SITE}")
            yield text_of(f"{letter} POST {path}", [home, (_TOKEN, f"t~1~{text}")], "{}")
    for fails_at in range(1, 6):
        yield text_of(f"d{fails_at} GET {path}", [(_TARGET, f"compute@{SITE}"), token])
