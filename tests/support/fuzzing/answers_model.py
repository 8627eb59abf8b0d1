"""What a front makes of an awaited answer, in Python, after docs/lua.md ("Answers")."""

import re
from typing import Any

from fuzzing import lua_models as model
from fuzzing.lua_models import Refused
from fuzzing.messages import Message

ISSUER = "cloud-3"
SUFFIX = "~1~*:cloud-3;image:cloud-2"
MAX_ANSWER = 524288
MAX_REFUSAL = 65536
_HINT = (
    " (of %s, only the roles count at %s that its accept[].identity lists, "
    "by default member and reader)"
)
_MESSAGE = re.compile(r'"message"[ \t-\r]*:[ \t-\r]*"')
_REST_OF_TEXT = re.compile(r'(?:[^"\\]|\\.)*(?=")', re.DOTALL)

Json = Any
Edited = tuple[dict[str, str], str | Json | None, bool]
"""The headers, the body, and whether that is a value of JSON, however it is written."""


def answer(what: str, response: Message) -> Edited:
    """What the client gets.

    Raises:
        Refused: The answer is withheld, with that status instead.
    """
    headers, body = {":status": response.method, **response.by_name()}, response.body
    match what:
        case "validation" | "head":
            return _validation(what, headers, body)
        case "catalog":
            return _with_catalog(headers, body)
        case "own token":
            headers.pop("x-scopeway-honoured", None)
            return _with_catalog(headers, body)
        case "login" | "foreign login":
            if "~" in headers.get("x-subject-token", ""):
                raise Refused(502)
            if "x-subject-token" in headers:
                headers["x-subject-token"] += SUFFIX
            if what == "foreign login":
                return _with_catalog(headers, body)
        case "foreign user" if headers[":status"] in {"401", "403"}:
            return _to_foreign_user(headers, body)
    return headers, body, False


def _with_catalog(headers: dict[str, str], body: str | None) -> Edited:
    if re.fullmatch("[45][0-9]{2}", headers[":status"]):
        return headers, body, False
    if not re.fullmatch("2[0-9]{2}", headers[":status"]):
        raise Refused(502)
    return _edited(headers, body, _own_catalog)


def _edited(headers: dict[str, str], body: str | None, edit: Any) -> Edited:
    announced = int(headers.get("content-length", "0"))
    if "content-encoding" in headers or announced > MAX_ANSWER:
        raise Refused(502)
    if not body or len(body) > MAX_ANSWER:
        raise Refused(502)
    made, is_json = edit(body)
    return headers | {"content-type": "application/json"}, made, is_json


def _validation(what: str, headers: dict[str, str], body: str | None) -> Edited:
    honoured = headers.pop("x-scopeway-honoured", None)
    status = headers[":status"]
    if status in {"401", "403"}:
        raise Refused(404)
    passes = re.fullmatch("[45][0-9]{2}", status)
    if passes or (what == "head" and status in {"200", "204"}):
        return headers, body, False
    if status != "200" or honoured is None:
        raise Refused(502)
    return _edited(headers, body, lambda text: (model.foreign_token(text, honoured), True))


def _own_catalog(body: str) -> tuple[str | Json, bool]:
    try:
        document = model.read_json(body)
    except model.NotJson:
        raise Refused(502) from None
    if not isinstance(document, dict):
        return body, False
    made, token = dict(document), document.get("token")
    for node in (made, token):
        if isinstance(node, dict) and "catalog" in node:
            node["catalog"] = model.catalog(node["catalog"])
    edited = "catalog" in made or (isinstance(token, dict) and "catalog" in token)
    return (made, True) if edited else (body, False)


def _to_foreign_user(headers: dict[str, str], body: str | None) -> Edited:
    cloud = headers.get("x-scopeway-served-by")
    if cloud in {None, ISSUER} or headers.get("x-scopeway-rejected") == "true":
        return headers, body, False
    if headers[":status"] == "401":
        length = headers.get("content-length", "")
        if not re.fullmatch("[0-9]+", length) or int(length) > MAX_REFUSAL:
            return headers, body, False
        left = {n: v for n, v in headers.items() if n not in {"content-encoding", "etag"}}
        left |= {"content-type": "application/json", "x-scopeway-rejected": "true"}
        return left, {"code": 401, "cloud": cloud}, True
    length = int(headers.get("content-length", "0"))
    if not 0 < length <= MAX_REFUSAL or "content-encoding" in headers or not body:
        return headers, body, False
    return headers, _with_hint(body, _HINT % (ISSUER, cloud)), False


def _with_hint(body: str, hint: str) -> str:
    if message := _MESSAGE.search(body):
        rest = _REST_OF_TEXT.match(body, message.end())
        return body if rest is None else body[: rest.end()] + hint + body[rest.end() :]
    page, end, rest = body.partition("</body>")
    return page.rstrip(" \t\n\v\f\r") + hint + "\n " + end + rest if end else body
