"""The Lua modules beside their models in Python: the same answers for the same texts.

The first byte of an input says which module; lines are its arguments, the last has all the rest.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lupa.luajit21 import LuaRuntime

from fuzzing import id_models, json_mutation, lua_coverage
from fuzzing import lua_models as model
from fuzzing import scope as scopes
from scopeway import lua_filters
from scopeway.control_plane.scope import (
    ScopeError,
    any_service_type,
    complete_scope,
    lexical_form,
)

_LUA = Path(lua_filters.__file__).parent
_VECTORS = Path(__file__).parents[2] / "vectors"
_HONOURED = f"{'ab' * 8};member,reader"
_TOKEN = {
    "methods": ["password"],
    "user": {"id": "1" * 32, "name": "u", "domain": {"id": "default", "name": "D"}},
    "project": {"id": "x", "name": "p", "domain": {"id": None, "name": None}},
    "roles": [{"id": "1", "name": "admin"}, {"id": "2", "name": "member"}],
    "catalog": [
        {
            "type": "volumev3",
            "name": "cinder",
            "id": "7",
            "endpoints": [{"url": "http://a:1/v3/x", "interface": "public", "region_id": "R2"}],
        }
    ],
    "is_admin_project": True,
}
DICTIONARY = (
    *(*scopes.DICTIONARY, "~1~", "/~{", "/~%7B", "%2e", "%2F", "/..", "/.", "//", "?", "#", "\\u"),
    *('"token"', '"user"', '"id"', '"domain"', '"roles"', '"name"', '"catalog"', '"system"'),
    *('"OS-TRUST:trust"', '"trustee_user"', '"trustor_user"', '"auth"', '"identity"', '"message"'),
    *('"endpoints"', '"url"', '"type"', '"region"', '"region_id"', "null", "\\ud83d\\ude00"),
    *("\\ud800", "\\udbff", "\\udc00", "\\udfff", "\\ue000", "\xed\xa0\x80", "\xf4\x90\x80\x80"),
    *("http://", "https://", "front", ":80", ":443", "/image", "10.0.0.1:9292", "/v3/", "AUTH_"),
    *("0123456789abcdef" * 2, "cloud-5", "compute", "1e5", "-0", "[[", "{}", "\xef\xbb\xbf"),
)
_WORDS = (
    *(json.loads(word) for word in DICTIONARY if word[:1] == '"' and word[1:]),
    *("a~1~image:b", "~2~", "member", "admin", "volumev3", "https://h/v3/1", "1" * 32, "\xe9", "R"),
)
_FAKE = """
local given = ...
local handle, headers, buffer = {}, {}, {}
function headers:get(name) return given[name] end
function headers:replace(name, value) given[name] = value end
function headers:remove(name) given[name] = nil end
function buffer:length() return #given.body end
function buffer:getBytes(from, length) return given.body:sub(from + 1, from + length) end
function buffer:setBytes(bytes) given.body = bytes end
function handle:headers() return headers end
function handle:body() return buffer end
return handle, headers
"""


class _Lua:
    """The modules in one Lua state."""

    def __init__(self) -> None:
        self.state = LuaRuntime(encoding="latin-1", unpack_returned_tuples=True)
        self.state.execute(f"package.path = '{_LUA}/?.lua'")
        constants = {
            "site": model.SITE,
            "services": model.SERVICES,
            "front": model.FRONT,
            "clouds_with_kept_ids": model.KEPT,
        }
        self.state.globals().given = self.state.table_from(constants, recursive=True)
        self.state.execute(
            "local given = given package.preload.constants = function() return given end"
        )
        self.fake = self.state.eval(f"function(...) {_FAKE} end")
        names = ("scope", "json", "path", "links", "namespace", "sha256", "tokens", "token_body")
        more = ("error_hints", "foreign_token", "project_ids", "resolve")
        self.modules = {name: self.state.eval(f"require('{name}')") for name in (*names, *more)}

    def __getitem__(self, name: str) -> Any:
        return self.modules[name]

    def handle(self, **given: str) -> tuple[Any, Any, Any]:
        """A handle, its headers, and the table that holds them and the body."""
        table = self.state.table_from({name.replace("_", "-"): it for name, it in given.items()})
        return (*self.fake(table), table)


_LUA_STATE: list[_Lua] = []


def _lua() -> _Lua:
    if not _LUA_STATE:
        _LUA_STATE.append(_Lua())
    return _LUA_STATE[0]


def _scope(text: str) -> None:
    data = text.encode("latin-1")
    module = _lua()["scope"]
    found = module.bindings(text)
    try:
        lexical = lexical_form(data)
    except ScopeError as refused:
        assert isinstance(found, tuple), refused
        if refused.column is not None and data.isascii():
            assert found[1].startswith(f"column {refused.column}: ")
        return
    assert not isinstance(found, tuple), found
    assert module.lexical(found) == lexical
    _completed(text, data)


def _completed(text: str, data: bytes) -> None:
    bindings, completed = _lua()["scope"].complete(text, model.SITE)
    resolved = _lua()["resolve"].resolve(text)
    try:
        wanted = complete_scope(data, model.SITE).text
    except ScopeError:
        assert bindings is None
        assert isinstance(resolved, tuple)
        return
    assert completed == wanted
    assert resolved.suffix == f"~1~{wanted}"
    identity = complete_scope(data, model.SITE).expression_for("identity")
    for service in ("image", "identity", "block-storage"):
        expression = complete_scope(data, model.SITE).expression_for(service)
        target = _lua()["resolve"].target(resolved, service)
        assert target.name == f"{service}@{expression}"
        assert target.foreign == (expression != model.SITE)
        assert target.fanout == bool({"&", "^"}.intersection(expression))
        assert target.spread == (not target.fanout and bool({"|", "["}.intersection(expression)))
        is_name = not set(identity).difference("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert target.issuer == (identity if is_name and expression != identity else None)


def _json(text: str) -> None:
    module = _lua()["json"]
    found = module.decode(text)
    try:
        wanted = model.read_json(text)
    except model.NotJson as refused:
        assert isinstance(found, tuple), refused
        assert found[1] != "the parser failed"
        return
    assert not isinstance(found, tuple), found
    again = module.encode(found)
    assert model.read_json(again) == wanted
    assert module.encode(module.decode(again)) == again


def _path(text: str) -> None:
    module, path = _lua()["path"], f"/{text}"
    assert module.has_dot_segment(path) == model.has_dot_segment(path)
    assert module.split(path) == model.split_path(path)
    taken, wanted = module.take_scope(path), model.take_scope(path)
    if wanted == "refused":
        assert taken[:3] == (None, None, None)
    else:
        assert (taken or None) == wanted


def _links(text: str) -> None:
    lines = text.split("\n", 4)
    scheme, host, prefix, places, location = [""] * (5 - len(lines)) + lines
    scheme = "https" if scheme == "https" else "http"
    prefix = prefix and "/" + prefix.strip("/")
    led = _lua()["links"].led_back(location, scheme, host, prefix, places)
    assert led == model.led_back(location, scheme, host, prefix, places)
    if location.startswith("/") and not location.startswith("//"):
        assert not led.startswith("//") or prefix.startswith("//"), "it leads to another host"


def _digest(text: str) -> None:
    data = text.encode("latin-1")
    assert _lua()["sha256"].hex(text) == model.sha256(data).hexdigest()
    assert _lua()["namespace"].of(text) == model.namespace(text)
    for digits in ("", "f" * 16):
        once = _lua()["namespace"].mapped_id(text, digits)
        assert once == model.moved(text, digits)


def _ids_in_path(text: str) -> None:
    service, _, rest = text.partition("\n")
    token, _, path = rest.partition("\n")
    _, headers, _ = _lua().handle(x_auth_token=token)
    split = model.split_token(token)
    identity = None
    if split != "refused" and split[1] is not None:
        with suppress(ScopeError):
            scope = split[1].encode("latin-1")
            types = any_service_type()
            identity = complete_scope(scope, model.SITE, types).expression_for("identity")
    made = _lua()["project_ids"].in_path(f"/{path}", service, headers)
    try:
        wanted = id_models.path(f"/{path}", service, id_models.Users(identity))
    except model.Refused as refused:
        assert made[:2] == (None, refused.args[0])
    else:
        assert made == wanted


def _login(text: str) -> None:
    stripped = _lua()["token_body"].strip(text)
    sent, scope, *problem = stripped if isinstance(stripped, tuple) else (stripped, None)
    if problem:
        assert "not a scope of version 1" in problem[0]
    else:
        assert scope is None or f"~1~{scope}" in text
        assert len(sent) <= len(text)
    try:
        document = model.read_json(text)
        if "\\" in text:
            return  # its names may be written with escapes: those are left alone
        wanted, wanted_scope = model.stripped_login(document)
    except model.NotJson:
        return
    except model.Refused:
        assert problem
        return
    assert not problem
    assert model.read_json(sent) == wanted
    assert scope == (None if wanted_scope is None else wanted_scope.encode().decode("latin-1"))


def _token(text: str) -> None:
    split, wanted = _lua()["tokens"].split(text), model.split_token(text)
    if wanted == "refused":
        assert split[:2] == (None, None)
    else:
        assert split == (text if wanted[1] is None else wanted)


def _foreign(text: str) -> None:
    for honoured in (_HONOURED, ";member"):
        edited = _lua()["foreign_token"].edit(text, honoured)
        try:
            wanted = model.foreign_token(text, honoured)
        except model.Refused as refused:
            assert edited[:2] == (None, refused.args[0]), edited
            continue
        assert not isinstance(edited, tuple), edited
        assert model.read_json(edited) == wanted


def _refusal(text: str) -> None:
    handle, headers, table = _lua().handle(
        **{":status": "403", "body": text, "content_length": str(len(text))},
        x_scopeway_served_by="cloud-2",
    )
    state = _lua().state.table_from({"issuer": "cloud-3"})
    _lua()["error_hints"].add(handle, headers, state)
    try:
        document = model.read_json(text)
    except model.NotJson:
        return
    if "\\u" in text or "</body>" in text:
        return
    said = table["body"]
    start = said.find(" (of cloud-3")
    hint = said[start : said.find(")", start) + 1] if said != text else "?"
    wanted, _ = model.hinted(document, hint) if said != text else model.hinted(document, "")
    assert model.read_json(said) == wanted
    assert (said != text) == model.hinted(document, "?")[1]


CHECKS: dict[str, Callable[[str], None]] = {
    "s": _scope,
    "j": _json,
    "p": _path,
    "l": _links,
    "h": _digest,
    "i": _ids_in_path,
    "b": _login,
    "t": _token,
    "f": _foreign,
    "r": _refusal,
}
_BY_BYTE = tuple(CHECKS.values())


def check(data: bytes) -> None:
    text = data.decode("latin-1")
    if text:
        (CHECKS.get(text[0]) or _BY_BYTE[ord(text[0]) % len(_BY_BYTE)])(text[1:])


def mutated(data: bytes, seed: int) -> bytes | None:
    if data[:1] not in (b"b", b"f", b"j", b"r"):
        return None
    made = json_mutation.mutated(data[1:], seed, _WORDS)
    return None if made is None else data[:1] + made


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_lua().state.execute])


def seeds() -> Iterator[bytes]:
    for text in scopes.seeds():
        yield b"s" + text
    for name in ("dot_segments", "split", "scope"):
        for case in json.loads((_VECTORS / "paths" / f"{name}.json").read_text())["cases"]:
            yield b"p" + case["path"][1:].encode()
    for case in json.loads((_VECTORS / "links" / "location.json").read_text())["cases"]:
        said = (case.get("scheme", "http"), case.get("host", "front"), case["prefix"])
        yield b"l" + "\n".join((*said, case.get("places", ""), case["from"])).encode()
    for case in json.loads((_VECTORS / "tokens" / "body.json").read_text())["cases"]:
        yield b"b" + case["body"].encode()
    for case in json.loads((_VECTORS / "tokens" / "split.json").read_text())["cases"]:
        yield b"t" + case["token"].encode()
    trust = {"id": "t", "trustee_user": {"id": "a"}, "trustor_user": {"id": "b"}}
    for token in (_TOKEN, {"user": _TOKEN["user"], "OS-TRUST:trust": trust}, {"system": {}}):
        yield b"f" + json.dumps({"token": token}).encode()
    for text in (
        '[1,-0.5e+3,"\\u00e9\\ud83d\\ude00\\n",true,null,{"a":{}}]',
        '"\xe9\u20ac"',
        *("[[]]", '"\\udc00"', '"\\ud800\\u0041"', '{"a":1,"a":2}', '"\x1f"', "01", "1.", "[1,]"),
        # what are halves of a pair, and what are none
        *('"\\ud800\\udc00\\udbff\\udfff"', '"\\ud83d"', '"\\ud83d\\ue000"', '"\\ud83d\\udbff"'),
        *(
            '"\\udbff"',
            '"\\udfff"',
            '"\\ud7ff\\ue000"',
            '"\\ud83d\\nde00"',
            '"\\ud83d\\u"',
            '"\\ud83d ',
        ),
    ):
        yield b"j" + text.encode()
    # the first and the last of what UTF-8 can be, and what is beyond
    for good in ("\x80\u07ff", "\u0800\ud7ff\ue000\uffff", "\U00010000\U0010ffff"):
        yield b'j"%s"' % good.encode()
    for bad in (
        "c080",
        "c1bf",
        "e0809f",
        "e09fbf",
        "eda080",
        "edbfbf",
        "f08fbfbf",
        "f4908080",
        "f5",
    ):
        yield b'j"%s"' % bytes.fromhex(bad)
    for length in (0, 31, 32, 55, 56, 64, 120):
        yield b"h" + b"a" * length
    for service in ("compute", "object-store"):
        for token in ("t~1~identity:cloud-2", "t~1~*:cloud-5", "t"):
            yield f"i{service}\n{token}\nv2.1/{'1f' * 16}/servers".encode()
    yield f"icompute\nt~1~*:cloud-2\nv2/{'a' * 16}/{'b' * 15}/x".encode()
    for digits in ("a" * 31, "a" * 32, "a" * 33, "a" * 31 + "A", "a" * 31 + "g", "a" * 32 + "g"):
        for behind in ("", "/x", "?x"):
            yield f"icompute\nt~1~*:cloud-2\nv2/{digits}{behind}".encode()
    for service, path in (
        ("image", "v2/images/7/members/{}?owner={}"),
        ("network", "v2.0/quotas/{}.json?project%5fid={}&tenant_id=a"),
        ("compute", "v2.1/{}/os-quota-sets/{}?user_id={}&x={}"),
        ("block-storage", "v3/{}/default-types/{}"),
    ):
        for written in ("1f" * 16, "1f" * 16 + "@cloud-3", "1f" * 16 + "%40cloud-1", "1f" * 33):
            yield f"i{service}\nt~1~*:cloud-2\n{path.replace('{}', written)}".encode()
    yield f"iobject-store\nt~1~*:cloud-2\nv1/AUTH_{'1f' * 16}?a".encode()
    yield b'r{"error": {"message": "no \\" \\\\", "code": 403}}'
    yield b"r<html><body>no</body></html>"
