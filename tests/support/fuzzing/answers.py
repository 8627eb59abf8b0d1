"""An awaited answer, as the front's Envoy runs its Lua, beside the model; and what may never be.

Inputs are those of `messages`, with a status in place of the method. The first letter says what the
request has left for its answer (_AWAITED); a "p" behind it makes the body as long as one may be.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from fuzzing import answers_model as model
from fuzzing import lua, lua_coverage, lua_models, messages
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters

_AWAITED = {
    "v": {"answer": "validation"},
    "h": {"answer": "head"},
    "l": {"answer": "login", "suffix": model.SUFFIX},
    "f": {"answer": "foreign login", "suffix": model.SUFFIX},
    "c": {"answer": "catalog"},
    "o": {"answer": "own token"},
    "u": {"answer": "foreign user", "issuer": model.ISSUER},
    "n": None,
}
_POWER = frozenset({"x-subject-token", "x-scopeway-honoured", "location"})
_OURS = frozenset({":status", "content-type", "x-scopeway-served-by"})
_OVERWRITES = 9
"""Calls of Envoy's methods in which an answer is withheld, beside one for each other header that it
has: there is no other way to do it."""
_HONOURED = ("x-scopeway-honoured", f"{'ab' * 8};member,reader")
_SUBJECT = ("x-subject-token", "t")
_SERVED = ("x-scopeway-served-by", "cloud-2")
_NAMES = (
    *("x-subject-token", "x-scopeway-honoured", "location", "content-encoding", "content-length"),
    *("content-type", "etag", "x-scopeway-served-by", "x-scopeway-rejected", "x-scopeway-origin"),
)
_WORDS = (
    *(*_NAMES, "200", "201", "204", "302", "401", "403", "404", "500", "524288", "524289", "65537"),
    *(
        model.ISSUER,
        "cloud-2",
        "true",
        "gzip",
        "t~1~a",
        ";member",
        "~",
        '"message"',
        "</body>",
        " ",
    ),
    *("token", "catalog", "user", "roles", "system", "project", "name", "id", "member", "admin"),
)
DICTIONARY = (*_WORDS, *lua.DICTIONARY, "\n", "\n\n", "\n </body>", '"message": "', '\\"')


@cache
def _filter() -> Filter:
    constants = {
        "site": lua_models.SITE,
        "services": lua_models.SERVICES,
        "front": lua_models.FRONT,
    }
    return Filter(lua_filters.bundle("answers", constants))


def check(data: bytes) -> None:
    response = messages.read(data.decode("latin-1"))
    response = replace(response, headers=_by_the_route(response.headers))
    left = _AWAITED.get(response.where[:1])
    if "p" in response.where[1:]:
        long = model.MAX_REFUSAL if response.where[:1] == "u" else model.MAX_ANSWER
        response = messages.padded(response, long)
    sent = _send(left, response, 0)
    what = "" if left is None else left["answer"]
    withheld = _as_the_model_says(what, response, sent)
    assert not sent.log
    if not withheld:
        _never(what, sent)
    others = response.by_name().keys() - _POWER - (_OURS - {"content-type"})
    last = sent.calls - _OVERWRITES - len(others) if withheld else sent.calls
    if 0 < response.fails_at <= last:
        failed = _send(left, response, response.fails_at)
        assert failed.log
        _withheld(failed, 502)


def _by_the_route(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is honoured the route itself says, once and in this form."""
    name = _HONOURED[0]
    said = [v for n, v in headers if n == name and re.fullmatch("(?:[0-9a-f]{16})?;.*", v)]
    rest = [(n, v) for n, v in headers if n != name]
    return [*rest, *((name, value) for value in said[:1])]


def _send(left: dict[str, str] | None, response: Message, fails_at: int) -> Sent:
    headers = [(":status", response.method), *response.headers]
    return _filter().answer(headers, body=response.body, metadata=left, fails_at=fails_at)


def _as_the_model_says(what: str, response: Message, sent: Sent) -> bool:
    """Whether the answer is withheld."""
    try:
        headers, body, is_json = model.answer(what, response)
    except lua_models.Refused as refused:
        _withheld(sent, refused.args[0])
        return True
    assert sent.headers == headers
    if not is_json:
        assert sent.body == body
    elif what == "foreign user":
        error = json.loads(sent.body or "")["error"]
        assert error["code"] == body["code"]
        assert error["message"].startswith(f"{body['cloud']} does not accept this token of ")
    else:
        assert lua_models.read_json(sent.body or "") == body
    return False


def _withheld(sent: Sent, status: int) -> None:
    """Nothing is left of the answer but whose it was."""
    assert sent.headers[":status"] == str(status)
    assert sent.headers.keys() <= _OURS
    assert sent.headers["content-type"] == "application/json"
    body = sent.body or ""
    assert body.isascii()
    assert json.loads(body)["error"]["code"] == status


def _never(what: str, sent: Sent) -> None:
    """A token of another cloud is never more than it may be, whatever the model says."""
    status = sent.headers[":status"]
    if what == "validation":
        assert "x-scopeway-honoured" not in sent.headers
        assert not re.fullmatch("[123]..", status) or status == "200"
    if what not in {"validation", "catalog", "foreign login"} or re.fullmatch("[45]..", status):
        return
    document = json.loads((sent.body or "").encode("latin-1"))
    token = document.get("token") if isinstance(document, dict) else None
    if what == "validation":
        assert isinstance(token, dict)
        assert token["is_admin_project"] is False
        assert "system" not in token
    for node in (document, token):
        for entry in node.get("catalog", ()) if isinstance(node, dict) else ():
            for endpoint in entry["endpoints"]:
                assert endpoint["url"].startswith(lua_models.FRONT["url"])


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter().execute])


def seeds() -> Iterator[bytes]:
    bodies = [data[1:].decode("latin-1") for data in lua.seeds() if data[:1] in (b"f", b"j", b"r")]
    for body in [*bodies[:3], *bodies[3::8]]:
        yield text_of("v 200", [_HONOURED], body)
        yield text_of("c 200", (), body)
        yield text_of("f 201", [_SUBJECT], body)
    token = bodies[0]
    beside = json.dumps({"token": {}, "catalog": json.loads(token)["token"]["catalog"]})
    for letter in "vhlfcuon":
        for status in ("200", "201", "204", "302", "401", "403", "503", "101"):
            yield text_of(f"{letter} {status}", [_HONOURED, _SUBJECT, _SERVED], token)
        yield text_of(
            f"{letter} 200", [_HONOURED, ("content-encoding", "gzip"), ("etag", "a")], "x"
        )
    for letter, status in (("v", "200"), ("f", "201"), ("c", "200"), ("o", "200")):
        for body in (None, "", "null", "[]", '{"token": null}', '{"token": {"catalog": false}}'):
            yield text_of(f"{letter} {status}", [_HONOURED, _SUBJECT, ("location", "/x")], body)
        for body in (
            '{"catalog": [], "token": false}',
            '{"catalog": []}',
            '{"catalog": {}}',
            beside,
            token,
        ):
            yield text_of(f"{letter} {status}", [_SUBJECT, ("content-encoding", "gzip")], body)
            yield text_of(f"{letter} {status}", [_SUBJECT], body)
        for length in (99, 100, 101):
            yield text_of(f"{letter}p {status}", [_HONOURED, _SUBJECT], "{}".ljust(length))
            announced = ("content-length", str(524188 + length))
            yield text_of(f"{letter} {status}", [_HONOURED, _SUBJECT, announced], "{}")
    odd = [{"url": url} for url in ("http://a/v2;b", "http://a/v2/..", "//a/v2", 1)]
    more = {"is_admin": True, "catalog": [{"type": "image", "endpoints": odd}]}
    for body in (token, '{"token": {}}'):
        made = json.dumps({"token": {**json.loads(body)["token"], **more}})
        yield text_of("v 200", [_HONOURED], made)
        yield text_of("c 200", (), made)
    yield text_of("v 200", [_HONOURED], token.replace('"id": "' + "1" * 32, '"id": "' + "1" * 65))
    for honoured in (";member", ";", ";,reader", ";admin", "admin"):
        yield text_of("v 200", [("x-scopeway-honoured", honoured)], token)
    for subject in ("t~1~image:a", "~", ""):
        yield text_of("l 201", [("x-subject-token", subject)], "{}")
    length = ("content-length", "9")
    for body in (
        '{"message": "a\\"b\\\\"}',
        '{"message"\t:\n"',
        "a \t\r\n</body></body>",
        '"message":1',
    ):
        yield text_of("u 403", [_SERVED, length], body)
        yield text_of("u 403", [_SERVED], body)
        yield text_of("u 401", [_SERVED, length, ("etag", "a"), ("content-encoding", "br")], body)
        yield text_of("up 403", [_SERVED, ("content-length", "65536")], body)
    for more in (("x-scopeway-rejected", "true"), ("content-encoding", "br"), _SERVED):
        yield text_of("u 403", [length, more], '{"message": "a"}')
        yield text_of("u 403", [length, more, _SERVED], '{"message": "a"}')
    for announced in ("0", "65536", "65537"):
        yield text_of("u 403", [_SERVED, ("content-length", announced)], '{"message": "a"}')
    yield text_of("u 403", [("x-scopeway-served-by", model.ISSUER), length], '{"message": "a"}')
    yield text_of("u 403", [("x-scopeway-served-by", '"\\%1'), length], "</body>")
    for fails_at in range(1, 16):
        yield text_of(f"v{fails_at} 200", [_HONOURED], token)
        yield text_of(f"f{fails_at} 201", [_SUBJECT], token)
        yield text_of(f"u{fails_at} 403", [_SERVED, length], '{"message": "a"}')
        yield text_of(f"u{fails_at} 401", [_SERVED, _SUBJECT], "")
