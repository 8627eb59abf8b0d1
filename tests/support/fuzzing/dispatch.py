"""One attempt at a cloud of an `|`, as Envoy runs the Lua of `dispatch`, beside a model.

Inputs are those of `messages`. The header `x-scopeway-target` stands for the metadata of the
connection: Envoy itself removes a header of that name before the Lua. The first letter says which
ids are moved (_MOVED); an "n" is metadata without a target.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from fuzzing import id_models, lua_coverage, lua_models, messages
from fuzzing.lua_models import SITE, Refused
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters
from scopeway.control_plane.scope import ScopeError, any_service_type, complete_scope

_TARGET, _SERVICE, _TOKEN = "x-scopeway-target", "x-scopeway-service", "x-auth-token"
_MOVED = {"d": None, "m": {"cloud-2": True}}
_ID = "1f" * 16
_WORDS = (
    *(_TARGET, _SERVICE, _TOKEN, "x-scope", "compute", "image", "object-store", "block-storage"),
    *(f"compute@{SITE}", f"image@{SITE}", "compute@cloud-2", f"@{SITE}", "@", SITE, "cloud-2"),
    *("t~1~*:cloud-2", "t~1~keystone:cloud-2", "t~1~*:cloud-5", "~1~", "a|b", "local", "~"),
    *("network", f"network@{SITE}", "content-length", "9", "project_id", "tenant_id", "PUT", "@"),
    *("/v2.1/", "/v1/AUTH_", "/v3/", _ID, "1", "f" * 16, "?", "/", "GET", "POST", "\xff"),
)
DICTIONARY = (*_WORDS, "\n")


@cache
def _filter(letter: str) -> Filter:
    constants = {
        "site": SITE,
        "services": lua_models.SERVICES,
        "clouds_with_kept_ids": lua_models.KEPT,
    }
    return Filter(
        lua_filters.bundle("dispatch", {**constants, "clouds_with_mapped_ids": _MOVED[letter]})
    )


def check(data: bytes) -> None:
    request = messages.read(data.decode("latin-1"))
    letter = request.where[:1] if request.where[:1] in _MOVED else "d"
    target = next((value for name, value in request.headers if name == _TARGET), None)
    has_metadata = target is not None or "n" in request.where
    connection = {"scopeway": {} if target is None else {"target": target}} if has_metadata else {}
    rest = [(name, value) for name, value in request.headers if name != _TARGET]
    request = replace(request, headers=rest, path=request.path or "/")
    sent = _send(letter, request, connection, 0)
    try:
        wanted, ids = _model(letter, request, target)
    except Refused as refused:
        assert sent.answer is not None, f"it went on, and not {refused}"
        assert sent.answer.status == refused.args[0]
    else:
        assert sent.answer is None, sent.answer
        assert not sent.log
        ids.check(sent.body)
        assert sent.headers == {":method": request.method, **wanted}
        _never(request, target, sent)
    if 0 < request.fails_at <= sent.calls:
        failed = _send(letter, request, connection, request.fails_at)
        if sent.answer is not None and request.fails_at == sent.calls:
            return  # the refusal itself has failed
        assert failed.answer is not None, "it went on though Envoy's method failed"
        assert failed.answer.status == failed.answer.error["code"] == 500
        assert failed.log


def _send(letter: str, request: Message, connection: Any, fails_at: int) -> Sent:
    more: Any = {"method": request.method, "body": request.body, "fails_at": fails_at}
    return _filter(letter).request(request.path, request.headers, connection=connection, **more)


def _model(
    letter: str, request: Message, target: str | None
) -> tuple[dict[str, str], id_models.Body]:
    """The headers and the body that go on, after docs/envoy.md ("`dispatch`")."""
    assert request.path is not None
    headers = {**request.by_name(), ":path": request.path}
    users = id_models.Users(None)
    ids = id_models.Body(request.body, (), users)
    if target is None:
        return headers, ids
    service = headers.get(_SERVICE, "")
    if target == f"{service}@{SITE}":
        identity = None
        split = lua_models.split_token(headers.get(_TOKEN, ""))
        if split != "refused" and split[1] is not None:
            with suppress(ScopeError):
                text = split[1].encode("latin-1")
                identity = complete_scope(text, SITE, any_service_type()).expression_for("identity")
        users = id_models.Users(identity, _MOVED[letter])
        headers[":path"] = id_models.path(request.path, service, users)
        ids = id_models.body(request, service, request.path, users)
    return headers | {_TARGET: target}, ids


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
        assert len(path) <= len(request.path or "")
        assert path.count("/") == (request.path or "").count("/")


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
    neutron = [(_SERVICE, "network"), (_TARGET, f"network@{SITE}"), token]
    body = f'{{"port": {{"project_id": "{_ID}", "name": "a"}}}}'
    for length in ([], [("content-length", str(len(body)))], [("content-length", "65537")]):
        yield text_of(f"d POST /v2.0/ports?tenant_id={_ID}", [*neutron, *length], body)
        yield text_of(f"d9 POST /v2.0/quotas/{_ID}", [*neutron, *length], body)
    cinder = [(_SERVICE, "block-storage"), (_TARGET, f"block-storage@{SITE}"), token]
    yield text_of(f"d GET /v3/{_ID}/default-types/{_ID}", cinder)
    for fails_at in range(1, 12):
        yield text_of(f"d{fails_at} GET {path}", [service, home, token])
        yield text_of(f"d{fails_at} GET /", [(_TARGET, "image@cloud-2")])
        yield text_of(f"d{fails_at} GET /")
