"""A Keystone that does not answer, or never ends its answer: requests end in time, with a reason.

The times are shortened here, and their order is kept. The Envoy that answered shows that the one
nearest to the Keystone ended the request first.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from http.client import IncompleteRead
from pathlib import Path
from socket import socket

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import Response, send
from harness.limits import shortened
from harness.raw_service import Handler, RawService, answer
from scopeway.control_plane.translator import names, route_templates

TOKENS = "/identity/v3/auth/tokens"
HOURS = 1000.0
DEFAULTS = route_templates.WITHIN


def within(validation: float, login: float) -> dict[str, timedelta]:
    return {
        names.VALIDATION: timedelta(seconds=validation),
        names.LOGIN: timedelta(seconds=login),
    }


# apart far enough for a busy machine to keep their order
WITHIN = {
    names.FRONT: within(1.8, 1.9),
    names.DISPATCH: within(1.3, 1.4),
    names.PEER: within(0.8, 0.9),
}


def silent(_: socket, __: bytes) -> bool:
    time.sleep(HOURS)
    return False


def trickling(connection: socket, _: bytes) -> bool:
    connection.sendall(b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"1\r\n{\r\n")
            time.sleep(0.05)
    return False


def interim(connection: socket, _: bytes) -> bool:
    with suppress(OSError):
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
            time.sleep(0.05)
    return False


def endless(connection: socket, _: bytes) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    return False


@pytest.fixture(scope="module")
def keystone() -> Iterator[RawService]:
    with RawService(silent) as service:
        yield service


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, keystone: RawService) -> Iterator[Fleet]:
    """All have one Keystone; cloud-2 has a peer, cloud-3 no Envoy, and cloud-1 honours both."""
    folder: Path = tmp_path_factory.mktemp("fleet")
    services = {"identity": {"endpoints": [at(keystone.port)]}}
    accept = [{"clouds": ["cloud-1"], "services": ["identity"]}]
    identity = {"clouds": ["cloud-2", "cloud-3"]}
    honours = [{**identity, "services": ["identity.validate"], "identity": identity}]
    with shortened(WITHIN=WITHIN):
        fleet = Fleet(folder)
        try:
            fleet.site("cloud-2", services=services, accept=accept)
            fleet.control_plane.put(manifest("cloud-3", services=services, accept=accept))
            fleet.site("cloud-1", services=services, accept=honours)
            yield fleet
        finally:
            fleet.close()


def ask(fleet: Fleet, method: str, scope: str) -> Response:
    """A login (POST), or a validation, in a scope."""
    cloud = fleet.control_plane.inventory.get("cloud-1")
    assert cloud
    assert cloud.front
    headers = [("X-Auth-Token", "of a service")]
    if method == "POST":
        headers += [("X-Scope", scope)] if scope else []
    else:
        headers.append(("X-Subject-Token", f"abc~1~{scope}" if scope else "abc"))
    body = b"{}" if method == "POST" else b""
    return send(cloud.front.port, TOKENS, headers, method=method, body=body)


CASES = [
    ("GET", "", "identity@cloud-1", "cloud-1"),
    ("HEAD", "", "", "cloud-1"),
    ("GET", "*:cloud-2", "identity@cloud-2", "cloud-2"),
    ("GET", "*:cloud-3", "identity.validate@cloud-3", "cloud-1"),
    ("POST", "", "identity@cloud-1", "cloud-1"),
    ("POST", "image:cloud-2", "identity@cloud-1", "cloud-1"),
    ("POST", "identity:cloud-2", "identity@cloud-2", "cloud-2"),
    ("POST", "identity:cloud-3", "identity@cloud-3", "cloud-1"),
    ("POST", "identity:cloud-2|cloud-3", "identity@cloud-2", "cloud-2"),
    ("POST", "identity:cloud-3|cloud-2", "identity@cloud-3", "cloud-1"),
]


@pytest.mark.parametrize("handle", [silent, interim])
def test_a_silent_keystone_is_named_in_a_504(
    fleet: Fleet, keystone: RawService, handle: Handler
) -> None:
    keystone.handle = handle
    cases = CASES if handle is silent else CASES[2:3]
    with ThreadPoolExecutor(len(cases)) as threads:
        responses = list(threads.map(lambda case: ask(fleet, *case[:2]), cases))

    for (method, scope, target, by), response in zip(cases, responses, strict=True):
        assert (response.status, response.headers["x-scopeway-served-by"]) == (504, by), scope
        assert response.headers.get_all("x-scopeway-rejected") == ["true"]
        if method != "HEAD":
            message = response.error["message"]
            assert f"the Keystone of {target} did not answer in time (1.8 seconds" in message
            assert "try again, or tell the operator" in message


def test_a_trickling_answer_of_a_keystone_ends_in_time(fleet: Fleet, keystone: RawService) -> None:
    keystone.handle = trickling
    wanted = {
        ("GET", "*:cloud-3"): "504 the Keystone of identity.validate@cloud-3 did not answer",
        ("GET", "*:cloud-2"): "503 the Keystone of identity.validate@cloud-2 broke its answer off",
        ("POST", "identity:cloud-3"): "504 the Keystone of identity@cloud-3 did not answer",
        # nobody reads it on the way, so it has begun at the client
        ("POST", ""): "broken off",
    }

    def told(case: tuple[str, str]) -> str:
        try:
            response = ask(fleet, *case)
        except IncompleteRead:
            return "broken off"
        return f"{response.status} {response.error['message']}"

    with ThreadPoolExecutor(len(wanted)) as threads:
        answers = list(threads.map(told, wanted))

    for answered, beginning in zip(answers, wanted.values(), strict=True):
        assert answered.startswith(beginning)


@pytest.mark.parametrize("scope", ["*:cloud-2", "*:cloud-3"])
def test_an_endless_answer_of_a_keystone_uses_bounded_memory(
    fleet: Fleet, keystone: RawService, scope: str
) -> None:
    keystone.handle = endless
    envoy = fleet.envoys["cloud-1"]
    before = envoy.memory()
    response = ask(fleet, "GET", scope)

    assert response.status == 500
    assert "the answer is too long" in response.error["message"]
    assert envoy.peak_memory() - before < 32 << 20


def test_other_requests_to_a_keystone_have_no_such_time_limit(
    fleet: Fleet, keystone: RawService
) -> None:
    def slow(connection: socket, _: bytes) -> bool:
        time.sleep(max(WITHIN[names.FRONT].values()).total_seconds() + 0.3)
        connection.sendall(answer(200))
        return True

    keystone.handle = slow
    cloud = fleet.control_plane.inventory.get("cloud-1")
    assert cloud
    assert cloud.front

    assert send(cloud.front.port, "/identity/v3/users").status == 200


def test_time_limits_of_the_front_exceed_those_of_dispatch_and_peer() -> None:
    front, dispatch, peer = (DEFAULTS[each] for each in (names.FRONT, names.DISPATCH, names.PEER))

    assert front[names.VALIDATION] > peer[names.VALIDATION]
    assert front[names.LOGIN] > dispatch[names.LOGIN] > peer[names.LOGIN]
    assert front[names.LOGIN] > route_templates.LOGIN_BODY_WITHIN
