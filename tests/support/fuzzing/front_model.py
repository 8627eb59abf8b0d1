"""What a front makes of a request, in Python, after docs/lua.md ("The front", "Identity")."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fuzzing import id_models
from fuzzing import lua_models as model
from fuzzing.lua_models import Refused
from fuzzing.messages import Message
from scopeway.control_plane.scope import (
    SERVICE_TYPES,
    ScopeError,
    any_service_type,
    complete_scope,
)

MAX_LOGIN = 65536
_PAGE = Path(__file__).parents[3] / "docs" / "http-services.md"
_CROSSING = _PAGE.read_text().partition("## What goes to another cloud\n")[2].partition("\n## ")[0]
NEEDED = frozenset(re.findall(r"`([^`]*)`", "".join(re.findall(r"(?m)^\|.*$", _CROSSING))))
"""The headers of a service with the protocol `http` that go to other clouds by themselves."""
_TOKENS = re.compile(r"/v3/auth/tokens(?:\?.*)?", re.DOTALL)
_CATALOG = re.compile(r"/v3/auth/catalog/?(?:\?.*)?", re.DOTALL)
_SCOPED_TOKENS = ("x-auth-token", "x-subject-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What goes on: `headers` with the path, `awaited` what is left for the answer."""

    headers: dict[str, str]
    body: str | None
    awaited: dict[str, str] = field(default_factory=dict)
    ids: id_models.Body | None = None
    """Where ids in the body may be moved: in place of `body`."""


class Unknown(Exception):
    """The body of a login is no JSON in which a token has one place."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a text that was taken means at this site."""

    text: bytes
    completed: str

    def at(self, service: str) -> str:
        types = any_service_type()  # those that it may not have were refused
        return complete_scope(self.text, model.SITE, types).expression_for(service)


def front(request: Message, listener: str | None, moved: Any) -> Sent:
    """What is sent.

    Args:
        listener: The service of the listener; None: the path's first segment says it.
        moved: The clouds whose ids are moved in paths; None: all that aren't kept.

    Raises:
        Refused: With the status.
        Unknown: The model doesn't say.
    """
    headers = request.by_name()
    service, path, prefix, path_scope = _address(request.path, listener)
    if service in model.HTTP:
        sent, scope, target = _plain(request, headers, service, path_scope)
    elif service == "identity":
        sent, scope, target = _identity(request, headers, path, path_scope)
    else:
        sent, scope, target = _other(request, headers, service, path_scope)
        if sent.awaited:
            sent.awaited.update(id_models.mentioned(path, service))
    headers = sent.headers
    is_plain = service in model.HTTP
    expression = target.partition("@")[2]
    if _is_fanout(expression):
        headers["x-scopeway-route"] = "fanout"
    elif expression != model.SITE:
        headers.pop("x-service-token", None)
        if is_plain:
            crossing = NEEDED | model.HTTP[service].keys()
            headers = {
                name: value
                for name, value in headers.items()
                if name in crossing or name.startswith("x-scopeway-")
            }
            headers["x-scopeway-route"] = "http"
        if re.search(r"[|\[]", expression) and request.method in {"GET", "HEAD"}:
            headers["x-envoy-retry-on"] = "gateway-error,retriable-status-codes,reset"
            headers["x-envoy-retriable-status-codes"] = "404"
    elif scope and not is_plain:
        token = model.split_token(headers.get("x-auth-token", ""))[1]
        users = id_models.Users(None if token is None else scope.at("identity"), moved)
        path = id_models.path(path, service, users)
        if service != "identity":
            sent = replace(sent, ids=id_models.body(request, service, path, users))
    headers |= {"x-scopeway-target": target, "x-scopeway-service": service, ":path": path}
    if prefix is not None:
        headers["x-forwarded-prefix"] = prefix
    if sent.awaited:
        headers["x-scopeway-answer"] = "awaited"
    return replace(sent, headers=headers)


def _address(path: str | None, listener: str | None) -> tuple[str, str, str | None, _Scope | None]:
    """The service, the path that it gets, and the prefix and the scope where the path has one."""
    if path is None or model.has_dot_segment(path):
        raise Refused(400)
    taken = model.take_scope(path)
    if taken == "refused":
        raise Refused(400)
    text, rest, prefix = taken or (None, path, None)
    service = listener
    if service is None:
        service, rest = model.split_path(rest)
        if service not in SERVICE_TYPES:
            raise Refused(404)
        prefix = None if prefix is None else f"{prefix}/{service}"
    return service, rest, prefix, None if text is None else _scope(text)


def _scope(text: str, *, carried: bool = False) -> _Scope:
    """What a text means; `carried`: it was in a token."""
    data = text.encode("latin-1")
    types = any_service_type() if carried else None
    try:
        return _Scope(data, complete_scope(data, model.SITE, types).text)
    except ScopeError:
        raise Refused(400) from None


def _one(request: Message, wanted: str) -> str | None:
    values = [value for name, value in request.headers if name == wanted]
    if len(values) > 1:
        raise Refused(400)
    return values[0] if values else None


def _split(request: Message, name: str) -> tuple[str | None, str | None]:
    """The bare token of a header and the text of its scope."""
    token = _one(request, name)
    if token is None:
        return None, None
    split = model.split_token(token)
    if split == "refused":
        raise Refused(400)
    bare, text = split
    return bare, text


def _first(header: str | None, *texts: str | None) -> _Scope | None:
    """The scope of the first text; all but that of X-Scope were in tokens."""
    scopes = (_scope(text, carried=text != header) for text in texts if text is not None)
    return next(scopes, None)


def _other(
    request: Message, headers: dict[str, str], service: str, path_scope: _Scope | None
) -> tuple[Sent, _Scope | None, str]:
    header = _one(request, "x-scope")
    bare, text = _split(request, "x-auth-token")
    scope = _first(header, header, text) or path_scope
    sent = Sent(headers=headers, body=request.body)
    if scope is None:
        return sent, None, f"{service}@{model.SITE}"
    expression, identity = scope.at(service), scope.at("identity")
    if bare is not None:
        headers["x-auth-token"] = f"{bare}~1~{scope.completed}"
        issued = expression != identity and re.fullmatch("[a-z0-9-]+", identity)
        if issued and not _is_fanout(expression):
            sent.awaited.update(answer="foreign user", issuer=identity)
    return sent, scope, f"{service}@{expression}"


def _plain(
    request: Message, headers: dict[str, str], service: str, path_scope: _Scope | None
) -> tuple[Sent, _Scope | None, str]:
    header = _one(request, "x-scope")
    scope = _first(header, header) or path_scope
    sent = Sent(headers=headers, body=request.body)
    return sent, scope, f"{service}@{scope.at(service) if scope else model.SITE}"


def _is_fanout(expression: str) -> bool:
    return bool({"&", "^"}.intersection(expression))


def _identity(
    request: Message, headers: dict[str, str], path: str, path_scope: _Scope | None
) -> tuple[Sent, _Scope | None, str]:
    headers.pop("accept-encoding", None)
    header = _one(request, "x-scope")
    (bare, of_token), (subject, of_subject) = (_split(request, name) for name in _SCOPED_TOKENS)
    for name in _SCOPED_TOKENS:
        if name in headers:
            headers[name] = str(_split(request, name)[0])
    sent = Sent(headers=headers, body=request.body)
    about_tokens = _TOKENS.fullmatch(path) is not None
    texts = [header, of_token, of_subject]
    login = about_tokens and request.method == "POST"
    if about_tokens and request.method in {"GET", "HEAD", "POST"}:
        headers["x-scopeway-limit"] = "login" if login else "validation"
    if login:
        body, of_body = _login(request)
        sent = replace(sent, body=body)
        texts.append(of_body)
    validates = about_tokens and request.method in {"GET", "HEAD"}
    if validates:
        texts.insert(0, of_subject)
    scope = _first(header, *texts) or path_scope
    if scope is None:
        return sent, None, f"identity@{model.SITE}"
    expression = scope.at("identity")
    foreign = expression != model.SITE
    target = f"identity@{expression}"
    if foreign and validates:
        headers.pop("x-auth-token", None)
        headers |= {} if subject is None else {"x-auth-token": subject}
        own = (header is not None or path_scope) and subject == bare is not None
        answer = "own token" if own else "validation"
        sent.awaited.update(answer="head" if request.method == "HEAD" else answer)
        target = f"identity.validate@{expression}"
    elif foreign and subject is not None and not about_tokens:
        raise Refused(400)
    elif login:
        answer = "foreign login" if foreign else "login"
        sent.awaited.update(answer=answer, suffix=f"~1~{scope.completed}")
    elif foreign and _CATALOG.fullmatch(path) and request.method == "GET":
        sent.awaited.update(answer="catalog")
        headers["x-scopeway-limit"] = "validation"
    return sent, scope, target


def _login(request: Message) -> tuple[str | None, str | None]:
    """The body without a scope in its token, and the text of that scope."""
    body = request.body
    announced = int(request.by_name().get("content-length", "0"))
    if max(announced, len(body or "")) > MAX_LOGIN:
        raise Refused(413)
    if body is None or "~" not in body:
        return body, None
    if "\\" in body:
        raise Unknown
    try:
        document = model.read_json(body)
    except model.NotJson:
        raise Unknown from None
    text = model.stripped_login(document)[1]
    if text is None:
        return body, None
    text = text.encode().decode("latin-1")
    whole = re.findall(f'"[^"~]*{re.escape(f"~1~{text}")}"', body)
    if len(whole) != 1:
        raise Unknown  # there is another such text elsewhere
    bare = whole[0].replace(f"~1~{text}", "", 1)
    return body.replace(whole[0], bare), text
