"""A refused request with the content type of gRPC keeps its HTTP status.

Envoy would answer it with a 200 and a `grpc-status`. Over HTTP/1.1, which cannot carry gRPC, the
answer is like all others. Over HTTP/2 it is an answer of gRPC with the HTTP status. The access log
has the HTTP status, too.
"""

import json
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

from harness.fleet import Fleet
from harness.http import Connection, Response, send
from harness.http2 import send2

pytestmark = pytest.mark.fleet(certificates=True)

GRPC = ("content-type", "application/grpc")
ANYONE = [{"clouds": ["cloud-1"]}]
SCOPES = [
    # title, scope, status, gRPC's status, a part of the sentence, who refuses
    ("the policy of a peer", "{image:closed}", 403, 7, "does not let cloud-1", "closed"),
    ("a cloud that is none", "{image:nobody}", 404, 12, "no cloud is named", "cloud-1"),
    ("no scope", "{nosuch:a}", 400, 13, "no such service", "cloud-1"),
    ("a dead service", "{image:dead}", 503, 14, "cannot be reached", "dead"),
    ("dead ones", "{image:dead|dead-too}", 503, 14, "cannot be reached", "dead"),
    ("an operator", "{image:a%b}", 501, 2, "divides one resource", "cloud-1"),
]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    image = fleet.service("glance")
    fleet.site("closed", services={"image": image}, accept=[{**ANYONE[0], "methods": ["GET"]}])
    fleet.site("dead", services={"image": fleet.nobody()}, accept=ANYONE)
    fleet.site("open", services={"image": image}, accept=ANYONE)
    cloud = fleet.site("cloud-1", services={"image": image})
    assert cloud.front
    return cloud.front.port


def as_http_1(port: int, scope: str) -> Response:
    return send(port, "/image/v2", [("X-Scope", scope), GRPC], method="POST", body=b"body")


def as_http_2(port: int, scope: str) -> Response:
    headers = [("x-scope", scope), GRPC]
    return send2(port, "/image/v2", headers, method="POST", body=b"body")


def as_grpc(port: int, scope: str) -> Response:
    headers = [("x-scope", scope), GRPC, ("te", "trailers")]
    return send2(port, "/image/v2", headers, method="POST", body=b"body")


@pytest.mark.parametrize("ask", [as_http_1, as_http_2, as_grpc])
@pytest.mark.parametrize("case", SCOPES, ids=[case[0] for case in SCOPES])
def test_a_grpc_request_gets_a_refusal_with_its_http_status(
    fleet: Fleet, front: int, ask: Any, case: Any
) -> None:
    _, scope, status, grpc_status, sentence, refuser = case
    assert fleet.eventually(lambda: ask(front, scope).headers["x-scopeway-served-by"] == refuser)
    answer = ask(front, scope)

    assert answer.status == status
    assert answer.headers["x-scopeway-rejected"] == "true"
    if ask is as_http_1:
        assert "grpc-status" not in answer.headers
        error = answer.error
    else:
        assert answer.headers["grpc-status"] == str(grpc_status)
        assert (answer.headers["content-type"], answer.body) == ("application/grpc", b"")
        error = json.loads(unquote(answer.headers["grpc-message"] or ""))["error"]
    assert error["code"] == status
    assert sentence in error["message"]
    (line,) = fleet.envoys["cloud-1"].access_log(answer.headers["x-request-id"] or "")[-1:]
    assert line["status"] == status


def test_a_denied_grpc_request_is_counted_as_4xx_at_the_peer(fleet: Fleet, front: int) -> None:
    peer = fleet.envoys["closed"]
    assert fleet.eventually(lambda: as_http_1(front, "{image:closed}").status == 403)
    before = peer.stats("http.peer.downstream_rq_4xx")
    answer = as_grpc(front, "{image:closed}")

    (line,) = peer.access_log(answer.headers["x-request-id"] or "")
    assert (line["status"], line["policy"]) == (403, "accept[0] allows GET")
    name = "http.peer.downstream_rq_4xx"
    assert peer.stats(name)[name] == before[name] + 1


def test_a_refused_grpc_head_request_has_its_http_status(front: int) -> None:
    answer = send(front, "/image/v2", [("X-Scope", "{image:nobody}"), GRPC], method="HEAD")

    assert (answer.status, answer.body) == (404, b"")


def test_a_grpc_login_above_the_limit_is_a_413(front: int) -> None:
    path = "/identity/v3/auth/tokens"
    answer = send(front, path, [GRPC], method="POST", body=b"x" * 70_000)

    assert (answer.status, answer.error["code"]) == (413, 413)


@pytest.mark.parametrize("scope", ["{image:open}", "{image:cloud-1}", "{image:open|dead}"])
def test_a_grpc_answer_of_a_service_is_unchanged(fleet: Fleet, front: int, scope: str) -> None:
    """Whatever it contains: only Scopeway's own answers get another status."""
    glance = fleet.echo("glance")
    said = b'{"error": {"code": 403, "message": "no"}}'
    glance.raw = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 7\r\n"
        b"x-scopeway-rejected: true\r\ncontent-length: 2\r\ngrpc-message: " + said + b"\r\n\r\nok"
    )
    try:
        answer = as_http_1(front, scope)
    finally:
        glance.raw = None

    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["content-type"] == "application/grpc"
    assert answer.headers["x-scopeway-rejected"] == "false"


def test_a_grpc_client_gets_permission_denied(fleet: Fleet, front: int) -> None:
    assert fleet.eventually(lambda: as_http_1(front, "{image:closed}").status == 403)
    options = [("grpc.enable_http_proxy", 0)]
    with (
        grpc.insecure_channel(f"127.0.0.1:{front}", options=options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/image/v2")(b"", metadata=[("x-scope", "{image:closed}")])

    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_grpc_request_with_two_hosts_or_in_a_loop_gets_its_http_status(front: int) -> None:
    with Connection(front) as connection:
        two = connection.send("/image/v2", [GRPC], host="a,b")
    loop = send(front, "/image/v2", [GRPC, ("Via", "1.1 cloud-1.scopeway")])

    assert (two.status, two.error["code"]) == (400, 400)
    assert (loop.status, loop.error["code"]) == (508, 508)
