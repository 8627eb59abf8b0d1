"""An answer with a `Location`, as Envoy runs the hook of `links`, beside the model.

Inputs are those of `messages`, with a status in place of the method. Their `x-forwarded-…` and
`places` are what the route finds of the request and the cluster, from which it makes what the hook
reads. The first letter is an "l", or an "r" for a `Location` that no route has touched.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote

from fuzzing import lua_coverage, lua_models, messages
from fuzzing.messages import Message, text_of
from lua_envoy import Filter, Sent
from scopeway import lua_filters
from scopeway.control_plane.translator.route_parts import LOCATION

_FORWARDED = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix")
_PLACES = "scopeway:places"
_OF_REQUEST = {"places": _PLACES, **{name: name for name in _FORWARDED}}
_GRPC = "application/grpc"
_WORDS = (
    *("content-type", _GRPC, "grpc-status", "grpc-message", "x-scopeway-rejected", "true", "7"),
    *("location", "places", *_FORWARDED, "http", "https", "HTTP", "front", "front:80", "front:443"),
    *("10.0.0.1:9292", "10.0.0.1:9292/img", "glance/v2", "http://", "https://", "//", "ftp://"),
    *("/image", "/image/v2", "/compute", "/glance", "/~{image:a}", "/~%7Bimage:a%7D/image", "/~"),
    *(":80", ":443", "?", "#", "/", "\t", " ", "%2F", "\xe9", "\xff", "201", "A", "~"),
)
DICTIONARY = (*_WORDS, "\n")


@cache
def _filter() -> Filter:
    return Filter(lua_filters.bundle("links", {"services": lua_models.SERVICES}))


def check(data: bytes) -> None:
    answer = messages.read(data.decode("latin-1"))
    given = {_OF_REQUEST[n]: v for n, v in answer.by_name().items() if n in _OF_REQUEST}
    headers = [pair for pair in answer.headers if pair[0] not in _OF_REQUEST]
    if answer.by_name().get("content-type") == _GRPC:
        _restored(answer)
        return
    location = next((value for name, value in headers if name == "location"), None)
    if location is None:
        return  # then Envoy doesn't ask it
    if not answer.where.startswith("r"):
        whole = _by_the_route(given | {"location": location})
        headers = [*(pair for pair in headers if pair[0] != "location"), ("location", whole)]
    answer = replace(answer, headers=headers)
    before = {":status": answer.method, **answer.by_name()}
    rest = {name: value for name, value in before.items() if name != "location"}
    sent = _send(answer, 0)
    assert not sent.body_was_read
    assert sent.body == answer.body
    said = before["location"].split("\t", 4)
    if len(said) < len(LOCATION.split("\t")):
        _withheld(sent, rest)
        return
    assert not sent.log
    *here, asked = said
    assert sent.headers == rest | {"location": lua_models.led_back(asked, *here)}
    scheme, authority, prefix, _ = here
    # as fronts make them, which another site need not
    if scheme in {"http", "https"} and re.fullmatch("(/(?!/).*)?", prefix, re.DOTALL):
        _never(asked, f"{scheme}://{authority}", sent.headers["location"])
    if 0 < answer.fails_at <= sent.calls:
        _withheld(_send(answer, answer.fails_at), rest)


def _restored(answer: Message) -> None:
    """A reply of gRPC that an Envoy of ours made gets its status; any other stays."""
    answer = replace(answer, headers=[pair for pair in answer.headers if pair[0] != "location"])
    before = {":status": answer.method, **answer.by_name()}
    for protocol in ("HTTP/1.1", "HTTP/2"):
        sent = _send(answer, 0, protocol=protocol)
        message = unquote(before.get("grpc-message", ""), "latin-1")
        code = re.match(r'\{"error": ?\{"code": ?([45][0-9][0-9]),', message)
        if before.get("x-scopeway-rejected") != "true" or (message and not code):
            assert (sent.headers, sent.body) == (before, answer.body)
            continue
        status = sent.headers[":status"]
        if before[":status"] != "200":
            assert status == before[":status"]
        elif code:
            assert status == code[1]
        else:
            assert status in {"400", "401", "403", "404", "500", "503"}
        rest = before.keys() - {":status"}
        if protocol == "HTTP/2":
            assert {name: sent.headers[name] for name in rest} == {n: before[n] for n in rest}
            assert sent.body == answer.body
            continue
        assert sent.headers["content-type"] == "application/json"
        assert not {"grpc-status", "grpc-message"} & sent.headers.keys()
        assert sent.body == (message if code else answer.body)
    if 0 < answer.fails_at <= sent.calls:
        assert _send(answer, answer.fails_at, protocol="HTTP/2").log


def _by_the_route(given: dict[str, str]) -> str:
    """What the route puts into the header, as Envoy fills its format."""
    return re.sub(r"%[A-Z_]+\(([^)]*)\)%", lambda found: given.get(found[1], ""), LOCATION)


def _send(answer: Message, fails_at: int, **stream: str) -> Sent:
    headers = [(":status", answer.method), *answer.headers]
    return _filter().answer(headers, body=answer.body, fails_at=fails_at, **stream)


def _withheld(sent: Sent, rest: dict[str, str]) -> None:
    """After an error the answer is as it was, but leads nowhere."""
    assert sent.headers == rest
    assert sent.log


def _never(asked: str, front: str, led: str) -> None:
    """No link to a host that neither the service named nor the client, whatever the model says."""
    if led == asked:
        return
    if re.match("/(?!/)", led):
        assert re.match("/(?!/)", asked), "it named a host"
        return
    assert led.startswith(front), "it leads to another host"
    assert re.match("[/?#]|$", led.removeprefix(front)), "it leads to another port or host"


def mutated(data: bytes, seed: int) -> bytes | None:
    return messages.mutated(data, seed, _WORDS)


def led(atheris: Any) -> Callable[[bytes], None]:
    return lua_coverage.led(atheris, check, [_filter().execute])


def seeds() -> Iterator[bytes]:
    here = [*zip(_FORWARDED, ("http", "front", "/image"), strict=True), ("places", "10.0.0.1:9292")]
    own = ("location", "http://10.0.0.1:9292/v2/1")
    yield text_of("l 200", here)
    yield text_of("r 201", [own])
    for count in range(3, 6):
        yield text_of("r 201", [("location", "a\t" * count + "/v2/1")])
    for location in (
        *("/v2/1", "//front/v2", "/image/v2", "v2", "", "http://front/v2", "https://front:443/a"),
        *("http://10.0.0.1:9292", "HTTP://FRONT:80/compute/v2", "ftp://front/a", "http://h/x"),
        *("http://front", "/~{image:a}/image", "http://10.0.0.1:9292?a", "a\tb", "/\xe9"),
    ):
        yield text_of("l 201", [*here, ("location", location)], "{}")
        yield text_of("l 302", [("x-forwarded-proto", "https"), *here[1:], ("location", location)])
        yield text_of("l 302", [*here[:1], *here[2:], ("location", location)])
        yield text_of("l 302", [*here[1:], ("location", location)])
        yield text_of("l 302", [*here[:2], here[3], ("location", location)])
        scoped = ("x-forwarded-prefix", "/~{image:[a=b c]}\xe9/image")
        yield text_of("l 302", [*here[:2], scoped, here[3], ("location", location)])
        places = ("places", "10.0.0.1:9292/v2 10.0.0.1:9292 front/img h")
        yield text_of("l 302", [*here[:3], places, ("location", location)])
        yield text_of("l 302", [*here[:3], ("location", location), ("location", "/other")])
    yield text_of("l 302", [*here[:2], ("x-forwarded-prefix", ""), ("location", "/"), here[3]])
    yield text_of("l 302", [*here[:2], ("places", "h/a"), ("location", "/a//evil")])
    ours = '{"error":{"code":403,"message":"a %25 b"}}'
    for message in (ours, "", "%7B", ours.replace("403", "200"), "{}"):
        for rejected in ("true", "false"):
            reply = [("content-type", _GRPC), ("x-scopeway-rejected", rejected)]
            reply += [("grpc-status", "7"), ("grpc-message", message)]
            for fails_at in range(14):
                yield text_of(f"l{fails_at} 200", reply)
            yield text_of("l 200", reply[:3])
            yield text_of("l 503", reply)
    for fails_at in range(1, 6):
        yield text_of(f"l{fails_at} 201", [*here, own])
        yield text_of(f"r{fails_at} 201", [own])
