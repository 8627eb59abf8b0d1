"""A request at a front, as Envoy runs its Lua, beside the model; and what must never happen.

Inputs are those of `messages`. The first letter is the listener (_LISTENERS); a "p" behind it makes
the body as long as the body of a login may be.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from fuzzing import front_model as model
from fuzzing import lua_coverage, lua_models, messages
from fuzzing import scope as scopes
from fuzzing.lua_models import SITE
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters
from scopeway.control_plane.scope import SERVICE_TYPES, ScopeError, lexical_form

_LISTENERS = {"f": None, "i": "identity", "c": "compute", "d": "dns"}
_MOVED = {"c": {"cloud-2": True}}
_UNBOUNDED = {"max_targets": 10**9, "new_targets_burst": 10**9}
_SCOPE = "{keystone:cloud-1;glance:cloud-3}"
_COMPLETED = "*:cloud-1;identity:cloud-1;image:cloud-3"
_ELSEWHERE = "t~1~*:cloud-2;image:cloud-3"
_TOKENS = "/identity/v3/auth/tokens"
_LOGIN = '{"auth": {"identity": {"methods": ["token"], "token": {"id": "%s"}}}}'
_WORDS = (
    *("x-scope", "x-auth-token", "x-subject-token", "x-service-token", "accept-encoding"),
    *("x-scopeway-target", "x-scopeway-service", "x-scopeway-answer", "x-forwarded-prefix"),
    *("/dns", "dns:cloud-2", "cookie", "accept", "x-api-key", "authorization", "via", "range"),
    *("content-length", "65536", "65537", "GET", "HEAD", "POST", "DELETE", _TOKENS, _SCOPE),
    *("/identity/v3/auth/catalog", "/~{image:cloud-2}", "/~%7Bimage:a%7D", "/image", "/compute"),
    *("/object-store/v1/AUTH_", "/v3/", "1f" * 16, "a~1~", _COMPLETED, _ELSEWHERE, "t~2~a", "~1~"),
    *("/image/v2/images/7/members", "/members/", "/network/v2.0/", "os-quota-sets/", "quotas/"),
    *("project_id", "tenant_id", "owner", "member", "@cloud-1", "%40cloud-2", "PUT", "PATCH"),
    *(
        "image:a|b",
        "image:[a=b]",
        "keystone:cloud-2",
        "identity:local|cloud-2",
        "local",
        "/..",
        "/",
    ),
    *(
        "%2e",
        "%2F",
        "%0d%0a",
        "//",
        "?",
        ";",
        ",",
        ":",
        _LOGIN % _ELSEWHERE,
        '"',
        "\\",
        "\xff",
        "~",
    ),
)
DICTIONARY = (*_WORDS, *scopes.DICTIONARY, "\n", "\n\n")
# what a front may set, change or take away
_OURS = frozenset(
    {
        *(":path", "x-scopeway-target", "x-scopeway-service", "x-scopeway-answer"),
        *("x-auth-token", "x-forwarded-prefix", "x-envoy-retry-on", "x-scopeway-limit"),
        *("x-envoy-retriable-status-codes", "x-subject-token", "x-scopeway-route"),
    }
)
_TAKEN_AWAY = frozenset({"x-auth-token", "x-service-token", "accept-encoding"})


@cache
def _filter(letter: str) -> Filter:
    words = {"services": lua_models.SERVICES, "http": lua_models.HTTP}
    constants = {"site": SITE, **words, **_UNBOUNDED}
    own = {
        "service": _LISTENERS[letter],
        "clouds_with_mapped_ids": _MOVED.get(letter),
        "clouds_with_kept_ids": lua_models.KEPT,
    }
    return Filter(lua_filters.bundle("front", {**constants, **own}))


def check(data: bytes) -> None:
    request = messages.read(data.decode("latin-1"))
    letter = request.where[:1] if request.where[:1] in _LISTENERS else "f"
    if "p" in request.where[1:]:
        request = messages.padded(request, model.MAX_LOGIN)
    sent = _send(letter, request, 0)
    _as_the_model_says(letter, request, sent)
    if sent.answer is None:
        _never(request, sent)
    if 0 < request.fails_at <= sent.calls:
        refuses = sent.answer is not None and request.fails_at == sent.calls
        messages.check_failed(request, _send(letter, request, request.fails_at), refuses)


def _send(letter: str, request: Message, fails_at: int) -> Sent:
    more: Any = {"method": request.method, "body": request.body, "fails_at": fails_at}
    return _filter(letter).request(request.path, request.headers, **more)


def _as_the_model_says(letter: str, request: Message, sent: Sent) -> None:
    try:
        wanted = model.front(request, _LISTENERS[letter], _MOVED.get(letter))
    except model.Unknown:
        return
    except lua_models.Refused as refused:
        assert sent.answer is not None, f"it went on, and not {refused}"
        assert sent.answer.status == refused.args[0]
        assert sent.answer.error["code"] == refused.args[0]
        assert sent.answer.error["message"]
        assert sent.answer.body.isascii()
        return
    assert sent.answer is None, sent.answer
    assert sent.headers == {":method": request.method, **wanted.headers}
    if wanted.ids is None:
        assert sent.body == wanted.body
    else:
        wanted.ids.check(sent.body)
    assert not sent.log
    left = sent.metadata["scopeway"]
    assert dict(left.items() if left else ()) == wanted.awaited


def _never(request: Message, sent: Sent) -> None:
    """What would be somebody's way in, whatever the model says."""
    before, headers = {":path": request.path, **request.by_name()}, sent.headers
    changed = {name for name in headers if headers[name] != before.get(name, headers[name])}
    new = headers.keys() - before.keys() - {":method"}
    assert changed | new <= _OURS
    name, _, expression = headers["x-scopeway-target"].partition("@")
    service = headers["x-scopeway-service"]
    if service in lua_models.HTTP:
        _only_needed_headers(before, headers)
    else:
        assert before.keys() - headers.keys() <= _TAKEN_AWAY
    assert service in SERVICE_TYPES
    assert name in {service, "identity.validate"}
    assert f"{service}:{expression}" == lexical_form(f"{service}:{expression}")
    validates = service == "identity" and request.method in {"GET", "HEAD"}
    if "x-scope" in before and not (validates and "~" in before.get("x-subject-token", "")):
        assert _is_scope(before["x-scope"] or ""), "an invalid scope went on"
    if expression != SITE and headers.get("x-scopeway-route") != "fanout":
        assert "x-service-token" not in headers
    if service == "identity":
        assert "~" not in headers.get("x-auth-token", "") + headers.get("x-subject-token", "")
        assert "accept-encoding" not in headers
    if name == "identity.validate":
        assert headers.get("x-auth-token") == headers.get("x-subject-token")
    _no_way_out(before[":path"] or "", headers)


def _only_needed_headers(before: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Nothing that opens something leaves the site, and who is of the site gets all."""
    credentials = {"authorization", "cookie", "x-auth-token", "x-service-token", "x-scope"}
    is_fanout = headers.get("x-scopeway-route") == "fanout"
    if is_fanout or headers["x-scopeway-target"].endswith(f"@{SITE}"):
        assert before.keys() <= headers.keys()
    else:
        assert not credentials & headers.keys()
    assert headers.get("x-auth-token") in {None, before.get("x-auth-token")}


def _is_scope(text: str) -> bool:
    try:
        lexical_form(text.encode("latin-1"))
    except ScopeError:
        return False
    return True


def _no_way_out(received: str, headers: dict[str, str] | Any) -> None:
    """The path stays within the service, and is the client's but for the id of a project."""
    path = headers[":path"]
    assert path.startswith("/") or path == received
    assert not {".", ".."}.intersection(unquote(path.partition("?")[0], "latin-1").split("/"))
    if not received.endswith(path.lstrip("/")):
        moved = re.fullmatch(r"(/v[0-9.]+/(?:AUTH_)?)[0-9a-f]{16}([0-9a-f]{16}.*)", path, re.DOTALL)
        assert moved, path
        assert received.endswith(moved[2])
    prefix = headers.get("x-forwarded-prefix", "")
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f]", prefix), "a line of somebody's own"


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter(letter).execute for letter in _LISTENERS])


def seeds() -> Iterator[bytes]:
    scope, token = [("x-scope", _SCOPE)], [("x-auth-token", "t")]
    stale, service = [("x-auth-token", f"t~1~{_COMPLETED}")], [("x-service-token", "nova")]
    for headers in ([], scope, scope + token, stale, scope + stale + service, scope * 2):
        yield text_of("f GET /image/v2/images?limit=1", headers)
    for path in ("/~%7Bglance:cloud-3%7D/image/v2", "/~{image:a%}/image", "/~{nova:\xe9}/image/x"):
        yield text_of(f"f GET {path}", token)
    for text in (
        "image:a|b",
        "image:[a=b]",
        "image:local",
        "image:(a^b)%c",
        "image:a&b",
        "image:&[a=b]",
        "",
        "nosuch:a",
    ):
        yield text_of("f GET /image", [("x-scope", text), *token, *service])
        yield text_of("f POST /image", [("x-scope", text), *stale, *service])
    for two in (token * 2, [*token, ("x-auth-token", "u")], [("x-subject-token", "t")] * 2):
        for path in ("/image", "/identity/v3", _TOKENS):
            yield text_of(f"f GET {path}", two)
    for text in ("image:a", "nosuch:a", "nova:a"):
        yield text_of("f GET /~{image:b}/image", [("x-scope", text)])
        yield text_of("f GET /~{nosuch:b}/image", [("x-scope", text)])
        yield text_of("f GET /~{image:%09b}/image", [("x-auth-token", f"t~1~{text}")])
        yield text_of("f GET /image", [("x-scope", text), ("x-scope", "image:b")])
        yield text_of("f GET /~{image:b}/image", [("x-auth-token", f"t~1~{text}")])
    for path in ("", "/", "/glance", "/image/../x", "/image/%2e%2E/x", "/image/a//b;c%2Fd?..", "*"):
        yield text_of(f"f GET {path}")
    for method in ("GET", "HEAD", "DELETE", "POST"):
        for path in (_TOKENS, f"{_TOKENS}?a=b", f"{_TOKENS}/", "/identity/v3/auth/catalog", "/v3"):
            for subject in ("t", _ELSEWHERE):
                yield text_of(f"f {method} {path}", [*stale, ("x-subject-token", subject)])
            yield text_of(f"f {method} {path}", [("x-scope", "keystone:cloud-2"), *token])
    for body in (_LOGIN % "t", _LOGIN % _ELSEWHERE, _LOGIN % "t~2~a", "", "{}", "no ~"):
        for headers in ([], scope, [("content-length", "65537")]):
            yield text_of(f"f POST {_TOKENS}", headers, body)
    for body in ('{"member": "%s"}', '[{"member": "%s@cloud-1", "x": {"member": "%s"}}]'):
        text = body.replace("%s", "1f" * 16)
        for method in ("POST", "PUT"):
            headers = [*token, ("x-scope", "keystone:cloud-2")]
            length = ("content-length", str(len(text)))
            yield text_of(f"f {method} /image/v2/images/7/members", headers, text)
            yield text_of(f"f {method} /image/v2/images/7/members", [*headers, length], text)
    for length in (99, 100, 101):  # as long as may be, less one and more one
        yield text_of(f"fp POST {_TOKENS}", (), (_LOGIN % _ELSEWHERE).ljust(length))
        yield text_of(f"f POST {_TOKENS}", [("content-length", str(65436 + length))], "{}")
    crossing = [("accept", "*/*"), ("x-api-key", "k"), ("range", "bytes=0-"), ("via", "1.1 a")]
    for headers in (token, stale, [("cookie", "a")] * 2, crossing, [*service, ("x-any", "b")]):
        for path in ("/dns/v2", "/~{dns:cloud-2}/dns/v2?a", f"/~{{*:a|b}}/dns/v3/{'1f' * 16}"):
            yield text_of(f"f GET {path}", headers)
            yield text_of(f"f GET {path}", [*headers, ("x-scope", "designate:cloud-3")])
        yield text_of("d POST /v2", [*headers, ("x-scope", "dns:[a=b]")], "{}")
        yield text_of("d GET /v2", [*headers, ("x-scope", "dns:a & local")])
    yield text_of("d GET /v2", [("x-scope", "dns:a")] * 2)
    yield text_of("d8 GET /v2", [*token, *scope, ("x-scope", "dns:a")])
    yield text_of("i GET /v3/auth/tokens", [("x-subject-token", _ELSEWHERE)])
    yield text_of("i POST /~{nova:b}/v3/auth/tokens", [("accept-encoding", "gzip")], "{}")
    for path in (
        f"/v2.1/{'1f' * 16}/servers",
        *(f"/v2.1/{'1' * length}{behind}" for length in (31, 33) for behind in ("", "/a", "?a")),
        *(f"/v2.1/{'1' * 32}{behind}" for behind in ("", "?a", "g", "A")),
        f"/~{{keystone:cloud-2}}/v2/{'a' * 32}",
    ):
        for text in ("keystone:cloud-2", "keystone:cloud-4", "keystone:a|b"):
            for letter, way in (("c", path), ("f", f"/block-storage{path}")):
                yield text_of(f"{letter} GET {way}", [("x-scope", text), *token])
    for fails_at in range(1, 12):
        yield text_of(f"f{fails_at} GET /image", scope + token + service)
        yield text_of(f"f{fails_at} POST {_TOKENS}", scope, _LOGIN % _ELSEWHERE)
