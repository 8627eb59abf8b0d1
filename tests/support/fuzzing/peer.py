"""A request of another site at a peer, as Envoy runs its Lua, beside a model; what may never be.

Inputs are those of `messages`. The first letter says how peers speak: "t" by TLS, "p" plain. With
TLS `x-scopeway-origin` is the certificate: Envoy itself sets it, and removes a client's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from fuzzing import id_models, lua_coverage, lua_models, messages
from fuzzing.lua_models import SITE, Refused
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters
from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    SERVICE_TYPES,
    ScopeError,
    any_service_type,
    complete_scope,
)

_CALLERS = "spiffe://fleet/cloud/"
_ORIGIN = "x-scopeway-origin"
_FORM = "application/x-www-form-urlencoded"
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_TOKENS = f"/{IDENTITY_VALIDATE}/v3/auth/tokens"
_FOUND = ("target", "service", "method", "limit")
_WORDS = (
    *(_ORIGIN, "x-scopeway-target", "x-scopeway-service", "x-scope", "x-auth-token", "via"),
    *(
        _CALLERS,
        f"{_CALLERS}cloud-7",
        "spiffe://other/cloud/a",
        "cloud-7",
        ",",
        "/",
        "%2c",
        "-",
        "A",
    ),
    *(
        _TOKENS,
        "/identity",
        "/image",
        "/compute/v2.1/",
        "/object-store/v1/AUTH_",
        "1f" * 16,
        "/v3/",
    ),
    *("/image/v2/images/7/members", "/members/", "/network/v2.0/", "os-quota-sets/", "quotas/"),
    *("project_id", "tenant_id", "owner", "member", "@cloud-1", "%40cloud-2", "PUT", "PATCH"),
    *(
        "GET",
        "HEAD",
        "POST",
        "t~1~keystone:cloud-2",
        "a~1~*:a|b",
        "~1~",
        "/..",
        "%2e",
        "%2F",
        "?",
        "#",
    ),
    *(
        "_method=DELETE",
        "%5Fmethod",
        "&",
        "image:cloud-2",
        "/~{image:a}",
        ".validate",
        *("content-type", "content-length", "form-data", "application/json", "0", ";"),
        _FORM,
        "\xff",
        "//",
    ),
)
DICTIONARY = (*_WORDS, "\n")


@cache
def _filter(letter: str) -> Filter:
    constants = {
        "site": SITE,
        "services": lua_models.SERVICES,
        "clouds_with_kept_ids": lua_models.KEPT,
    }
    callers = {"callers": _CALLERS} if letter == "t" else {}
    return Filter(lua_filters.bundle("peer", {**constants, **callers}))


def check(data: bytes) -> None:
    request = messages.read(data.decode("latin-1"))
    letter = "p" if request.where.startswith("p") else "t"
    sent = _send(letter, request, 0)
    try:
        wanted, body = _model(request, letter == "t")
    except Refused as refused:
        assert sent.answer is not None, f"it went on, and not {refused}"
        assert sent.answer.status == sent.answer.error["code"] == refused.args[0]
        assert sent.answer.body.isascii()
    else:
        assert sent.answer is None, sent.answer
        assert sent.headers == {":method": request.method, **wanted}
        body.check(sent.body)
        assert not sent.log
        _never(letter, request, sent)
    if request.fails_at:
        sent = _send(letter, request, 0)  # the first one of a worker asks for more
    if 0 < request.fails_at <= sent.calls:
        refuses = sent.answer is not None and request.fails_at == sent.calls
        messages.check_failed(request, _send(letter, request, request.fails_at), refuses)


def _send(letter: str, request: Message, fails_at: int) -> Sent:
    more: Any = {"method": request.method, "body": request.body, "fails_at": fails_at}
    return _filter(letter).request(request.path, request.headers, **more)


def _model(request: Message, by_tls: bool) -> tuple[dict[str, str], id_models.Body]:
    """The headers and the body that go on, after docs/lua.md ("The peer")."""
    headers, path = request.by_name(), request.path
    if by_tls:
        certificate = headers.get(_ORIGIN, "")
        name = certificate.removeprefix(_CALLERS)
        if name == certificate or not _NAME.fullmatch(name):
            raise Refused(403)
        headers[_ORIGIN] = name
    if path is None or lua_models.has_dot_segment(path) or _names_method(path):
        raise Refused(400)
    service, rest = lua_models.split_path(path)
    about_tokens = re.fullmatch(r"/v3/auth/tokens(\?.*)?", rest, re.DOTALL)
    if service == IDENTITY_VALIDATE:
        if request.method not in {"GET", "HEAD"} or not about_tokens:
            raise Refused(404)
    elif service not in SERVICE_TYPES:
        raise Refused(404)
    identity = None
    split = lua_models.split_token(headers.get("x-auth-token", ""))
    if split != "refused" and split[1] is not None:
        with suppress(ScopeError):
            text = split[1].encode("latin-1")
            identity = complete_scope(text, SITE, any_service_type()).expression_for("identity")
    users = id_models.Users(identity)
    limit = {}
    if service == IDENTITY_VALIDATE:
        limit = {"x-scopeway-limit": "validation"}
    elif (service, request.method) == ("identity", "POST") and about_tokens:
        limit = {"x-scopeway-limit": "login"}
    sent = (
        headers
        | limit
        | {
            "x-scopeway-target": f"{service.removesuffix('.validate')}@{SITE}",
            "x-scopeway-service": service,
            "x-scopeway-method": "form"
            if _may_be_form(request.method, headers)
            else request.method,
            ":path": id_models.path(rest, service, users),
        }
    )
    return sent, id_models.body(request, service, rest, users)


def _names_method(path: str) -> bool:
    """A parameter of the query is called `_method`, when its escapes are read."""
    query = unquote(path.partition("?")[2], "latin-1")
    return any(re.split("[=\\0]", part)[0] == "_method" for part in re.split("[?&;]", query))


def _may_be_form(method: str, headers: Mapping[str, str]) -> bool:
    """What docs/policy.md says of `methods`."""
    if headers.get("content-length") == "0":
        return False
    types = headers.get("content-type", "").split(",")
    if any("form-" in each.lower() for each in types):
        return True
    return method == "POST" and (len(types) > 1 or types[0][:1] in {"", ";", " ", "\t"})


def _never(letter: str, request: Message, sent: Sent) -> None:
    """What would be somebody's way in, whatever the model says."""
    before, headers = request.by_name(), sent.headers
    assert headers["x-scopeway-target"].endswith(f"@{SITE}"), "by way of this site to another"
    certificates = [value for name, value in request.headers if name == _ORIGIN]
    if letter == "t":
        assert certificates == [_CALLERS + headers[_ORIGIN]]
        assert "/" not in headers[_ORIGIN]
    ours = {_ORIGIN, ":path", ":method", *(f"x-scopeway-{each}" for each in _FOUND)}
    rest = {name: value for name, value in headers.items() if name not in ours}
    assert rest == {name: value for name, value in before.items() if name not in ours}
    path = headers[":path"].partition("?")[0]
    assert not {".", ".."}.intersection(unquote(path, "latin-1").split("/"))
    _no_form(request, headers)
    assert "_method" not in dict(parse_qsl(headers[":path"].partition("?")[2], True))
    if headers["x-scopeway-service"] == IDENTITY_VALIDATE:
        assert path == "/v3/auth/tokens"


def _no_form(request: Message, headers: Mapping[str, str]) -> None:
    """WebOb itself finds no form where the policy looks at the request's own method."""
    if headers["x-scopeway-method"] == "form" or headers.get("content-length") == "0":
        return
    assert headers["x-scopeway-method"] == request.method
    types = [value for name, value in request.headers if name == "content-type"]
    for each in types or [""]:
        kind = each.partition(";")[0].strip().lower()
        assert kind not in {"application/x-www-form-urlencoded", "multipart/form-data"}
        assert kind or request.method != "POST"


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter(letter).execute for letter in "tp"])


def seeds() -> Iterator[bytes]:
    cloud = (_ORIGIN, f"{_CALLERS}cloud-7")
    for uri in ("cloud-7", "spiffe://other/cloud/a", _CALLERS, f"{_CALLERS}a,{_CALLERS}b"):
        yield text_of("t GET /image/v2", [(_ORIGIN, uri)])
    for name in ("a/b", "A", "-", "a-", "a" * 63, "a" * 64, "a b", "a\xff", "a%2fb"):
        yield text_of("t GET /image/v2", [(_ORIGIN, _CALLERS + name)])
    yield text_of("t GET /image/v2")
    yield text_of("t GET /image/v2", [cloud, cloud])
    for method, rest in (("GET", ""), ("HEAD", "?a"), ("POST", ""), ("GET", "/"), ("GET", "x")):
        yield text_of(f"t {method} {_TOKENS}{rest}", [cloud, ("x-auth-token", "t")])
    paths = ("", "/", "/glance", "/image", "/image/..", "/image/%2e./x", "/~{a:b}/image", "*")
    for path in (*paths, '/"\\\xff'):
        yield text_of(f"t GET {path}", [cloud, ("x-scope", "image:cloud-9")])
        yield text_of(f"p GET {path}", [("x-scopeway-target", "image@cloud-9")] * 2)
    for query in (
        "_method=PUT",
        "a&_method",
        "a;%5fmethod=",
        "hash_method=a",
        "a=_method",
        "_methods",
    ):
        yield text_of(f"t GET /image/v2?{query}", [cloud])
    for kind in (
        None,
        "",
        ";a",
        _FORM,
        f"{_FORM};a",
        _FORM.upper(),
        "a/json",
        "multipart/form-data",
    ):
        types = [] if kind is None else [("content-type", kind)]
        for method in ("POST", "PUT", "GET"):
            yield text_of(f"t {method} /image/v2", [cloud, *types])
            yield text_of(f"t {method} /image/v2", [cloud, *types, ("content-type", "a/json")])
            yield text_of(f"t {method} /image/v2", [cloud, *types, ("content-length", "0")])
    for scope in ("keystone:cloud-2", "keystone:cloud-5", "keystone:a|b", "nonsense", "*:cloud-3"):
        for path in (
            f"/compute/v2.1/{'1f' * 16}/a",
            f"/object-store/v1/AUTH_{'a' * 32}?x",
            *(f"/compute/v2.1/{'1' * length}" for length in (31, 32, 33)),
        ):
            yield text_of(f"t GET {path}", [cloud, ("x-auth-token", f"t~1~{scope}")])
    foreign = [cloud, ("x-auth-token", "t~1~keystone:cloud-2")]
    for method, path, body in (
        ("POST", "image/v2/images/7/members", '{"member": "%s"}'),
        ("POST", "network/v2.0/ports", '{"ports": [{"project_id": "%s", "tenant_id": 1}]}'),
        ("PATCH", "image/v2/images/7", '[{"path": "/owner", "value": "%s"}]'),
        ("POST", "compute/v2.1/flavors/1/action", '{"addTenantAccess": {"tenant": "%s@cloud-1"}}'),
    ):
        text = body % ("1f" * 16)
        for length in (str(len(text)), "0", "65537"):
            yield text_of(f"t {method} /{path}", [*foreign, ("content-length", length)], text)
        yield text_of(f"t {method} /{path}", foreign, text)
        yield text_of(f"t9 {method} /{path}", [*foreign, ("content-length", "9")], text)
    for fails_at in range(1, 10):
        yield text_of(f"t{fails_at} GET /compute/v2/{'1f' * 16}", [cloud])
        yield text_of(f"p{fails_at} GET /image/..")
