"""What comes in at `collector.sock`: who may speak there, in what form, and how much."""

import asyncio
import logging
import os
import socket
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.collector_site import CollectorSite, collector_site
from harness.fake_clouds import (
    TOKEN,
    CollectorClient,
    Received,
    Response,
    fake_clouds,
    fan_out_headers,
    images,
    json_answer,
    silence,
)
from scopeway.control_plane.collector.collector import serving
from scopeway.control_plane.collector.http import client, server
from scopeway.control_plane.collector.http.sockets import Listening
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.errors import ControlPlaneError


async def raw(site: CollectorSite, data: bytes) -> Response:
    reader, writer = await asyncio.open_unix_connection(site.client.path)
    writer.write(data)
    try:
        return await site.client.receive(reader)
    finally:
        writer.close()


@pytest.mark.asyncio
async def test_requests_follow_each_other_on_a_connection() -> None:
    async with collector_site() as site:
        site.clouds.behaviours["a"] = images("1")
        reader, writer = await site.client.send("/v2/images", fan_out_headers(["a"]))
        first = await site.client.receive(reader)
        lines = [f"{name}: {value}" for name, value in fan_out_headers(["a"]).items()]
        writer.write("\r\n".join(["GET /v2/images/1 HTTP/1.1", *lines, "", ""]).encode())
        second = await site.client.receive(reader)
        writer.close()

    assert (first.status, second.status) == (200, 200)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 501),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        (b"TRACE / HTTP/1.1\r\n%b\r\n", 501),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 400 + b"\r\n", 431),
        (b"GET /%b" % (b"x" * 300_000), 431),
        (b"GET / HTTP/1.1\r\nx-a: %b" % (b"x" * 300_000), 431),
        (b"POST / HTTP/1.1\r\ncontent-length: 1048577\r\n\r\n", 413),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
            b"100001\r\n" + b"x" * 0x100001 + b"\r\n",
            413,
        ),
    ],
)
async def test_what_cannot_be_answered_for_several_clouds_is_refused(
    head: bytes, status: int
) -> None:
    headers = "".join(f"{name}: {value}\r\n" for name, value in fan_out_headers(["a"]).items())
    async with collector_site() as site:
        data = head.replace(b"%b", headers.encode())
        response = await raw(site, data)
        site.clouds.behaviours["a"] = images("1")
        after = await site.client.ask("/v2/images", ["a"])

    assert response.status == status
    assert response.headers["x-scopeway-rejected"] == "true"
    assert response.json()["error"]["code"] == status
    assert after.status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changed",
    [
        {"x-scopeway-members": "a,b c"},
        {"x-scopeway-members": "a,a"},
        {"x-scopeway-members": "a,local"},
        {"x-scopeway-members": ",".join(f"c{number}" for number in range(4097))},
        {"x-scopeway-missing": "b=404"},
        {"x-scopeway-missing": "b=999/unknown"},
        {"x-scopeway-missing": 'b=404/<"x">'},
        {"x-scopeway-operator": "|"},
        {"x-scopeway-service": "image/../x"},
        {"x-scopeway-target": "compute@a"},
        {"x-scope-require": "some"},
        {"x-scopeway-lists": "{"},
    ],
)
async def test_headers_of_another_form_are_a_400_and_nobody_is_asked(
    changed: dict[str, str],
) -> None:
    async with collector_site() as site:
        response = await site.client.ask("/v2/images", ["a"], headers=changed)

    assert response.status == 400
    assert site.clouds.received == []


@pytest.mark.asyncio
async def test_identity_takes_one_cloud() -> None:
    async with collector_site() as site:
        response = await site.client.ask("/v3/users", ["a", "b"], service="identity")

    assert response.status == 400
    assert response.json()["error"]["message"] == "identity takes one cloud"


@pytest.mark.asyncio
async def test_a_body_that_never_ends_is_a_408() -> None:
    async with collector_site(body_seconds=0.1) as site:
        response = await raw(site, b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")

    assert response.status == 408


@pytest.mark.asyncio
async def test_bodies_of_all_requests_are_limited() -> None:
    async with collector_site(bodies=1000) as site:
        head = b"POST / HTTP/1.1\r\ncontent-length: 600\r\n\r\n"
        _, writer = await asyncio.open_unix_connection(site.client.path)
        writer.write(head)
        await site.clouds.until(lambda: site.collector.budget.kept == 600)
        refused = await raw(site, head)
        writer.transport.abort()
        await site.clouds.until(lambda: site.collector.budget.kept == 0)

    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [b"content-length: 1000000", b"transfer-encoding: chunked"])
async def test_slow_bodies_of_a_client_leave_room_for_others(length: bytes) -> None:
    """They use up neither the bytes of all bodies nor the connections."""
    head = b"POST / HTTP/1.1\r\nx-forwarded-for: 192.0.2.1\r\n%b\r\n\r\n" % length
    statuses: list[int] = []
    async with collector_site(connections=20, requests_of_address=10) as site:
        site.clouds.behaviours["a"] = json_answer({}, 201)

        async def slow() -> None:
            statuses.append((await raw(site, head)).status)

        clients = [asyncio.create_task(slow()) for _ in range(15)]
        await site.clouds.until(lambda: len(statuses) >= 5)
        response = await site.client.ask("/v2/images", ["a"], method="POST", body=b"{}")
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await site.clouds.until(lambda: site.collector.budget.kept == 0)

    assert set(statuses) == {429}
    assert response.status == 201


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({"requests": 2}, {"x-auth-token": "other", "x-forwarded-for": "192.0.2.9"}),
        ({"requests_of_token": 2}, {"x-forwarded-for": "192.0.2.9"}),
        ({"requests_of_address": 2}, {"x-auth-token": "other"}),
    ],
)
async def test_requests_under_way_are_limited(
    limits: dict[str, int], changed: dict[str, str]
) -> None:
    async with collector_site(**limits) as site:
        site.clouds.behaviours["a"] = silence
        writers = [(await site.client.send("/v2/images", fan_out_headers(["a"])))[1] for _ in "12"]
        await site.clouds.until(lambda: site.collector.admission.under_way == 2)
        refused = await site.client.ask("/v2/images", ["a"], headers=changed)
        for writer in writers:
            writer.transport.abort()
        await site.clouds.until(lambda: site.collector.admission.under_way == 0)
        site.clouds.behaviours["a"] = images("1")
        after = await site.client.ask("/v2/images", ["a"], headers=changed)

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert after.status == 200


@pytest.mark.asyncio
async def test_another_token_and_address_are_served_beside_a_client_at_its_limit() -> None:
    async with collector_site(requests_of_token=1, requests_of_address=1) as site:
        site.clouds.behaviours = {"a": silence, "b": images("1")}
        _, writer = await site.client.send("/v2/images", fan_out_headers(["a"]))
        await site.clouds.until(lambda: site.collector.admission.under_way == 1)
        other = {"x-auth-token": "other", "x-forwarded-for": "192.0.2.9"}
        response = await site.client.ask("/v2/images", ["b"], headers=other)
        writer.close()

    assert response.status == 200


@pytest.mark.asyncio
async def test_a_second_request_before_the_first_answer_closes_the_connection() -> None:
    async with collector_site() as site:
        site.clouds.behaviours["a"] = silence
        reader, writer = await site.client.send("/v2/images", fan_out_headers(["a"]))
        await site.clouds.until(lambda: site.clouds.under_way == 1)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        response = await site.client.receive(reader)
        await site.clouds.until(lambda: site.clouds.under_way == 0)
        writer.close()

    assert not response.whole


@pytest.mark.asyncio
async def test_a_process_of_another_user_is_not_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with collector_site() as site:
        monkeypatch.setattr(server, "peer_user", lambda connected: os.getuid() + 1)
        response = await site.client.ask("/v2/images", ["a"])

    assert response == Response()
    uid = os.getuid() + 1
    assert f"refused a connection of user {uid}" in caplog.text
    assert f"--envoy-user {uid}" in caplog.text


@pytest.mark.asyncio
async def test_no_token_goes_to_a_socket_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collector_site() as site:
        monkeypatch.setattr(client, "peer_user", lambda connected: os.getuid() + 1)
        response = await site.client.ask("/v2/images", ["a"])

    assert site.clouds.received == []
    assert response.status == 502
    assert "it runs as another user than the collector (--envoy-user)" in response.body.decode()


@pytest.mark.asyncio
async def test_a_failure_in_the_collector_is_a_500_and_logs_no_token(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    async with collector_site() as site:
        site.clouds.behaviours["a"] = json_answer({}, 500)
        await site.client.ask("/v2/images", ["a"])
        await site.client.ask("/v2/images/1", ["a"], method="DELETE")
        monkeypatch.setattr(site.collector.places, "find", fail)
        response = await site.client.ask("/v2/images/1", ["a"])

    assert response.status == 500
    assert "broken" in caplog.text
    assert "broken" not in response.body.decode()
    assert TOKEN not in caplog.text


@pytest.mark.asyncio
async def test_the_socket_is_for_its_user_and_group() -> None:
    async with collector_site() as site:
        mode = stat.S_IMODE(site.client.path.stat().st_mode)

    assert mode == 0o660
    assert not site.client.path.exists()


def test_a_living_collector_is_not_replaced_and_a_dead_one_is(tmp_path: Path) -> None:
    folder = tmp_path
    first = Listening(folder)
    with pytest.raises(ControlPlaneError, match="another collector listens there"):
        Listening(folder)
    first.close()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "collector.sock"))
    dead.close()

    second = Listening(folder)

    assert stat.S_ISSOCK((folder / "collector.sock").stat().st_mode)
    second.close()


@pytest.mark.parametrize("make", ["writable", "file", "long", "relative", "orphan"])
def test_a_folder_that_is_not_safe_is_refused(tmp_path: Path, make: str) -> None:
    folder = tmp_path / make
    folder.mkdir()
    match make:
        case "writable":
            folder.chmod(0o777)
        case "file":
            (folder / "collector.sock").write_text("")
        case "long":
            folder /= "x" * 100
        case "relative":
            folder = Path(make)
        case "orphan":
            folder /= "missing/folder"

    with pytest.raises(ControlPlaneError) as error:
        Listening(folder)

    assert make in str(error.value)
    with suppress(FileNotFoundError):
        assert (folder / "collector.sock").read_text() == ""


@pytest.mark.asyncio
async def test_connections_to_a_collector_are_limited() -> None:
    async with collector_site(connections=1) as site:
        site.clouds.behaviours["a"] = images("1")
        reader, writer = await site.client.send("/v2/images", fan_out_headers(["a"]))
        first = await site.client.receive(reader)
        second = await site.client.ask("/v2/images", ["a"])
        writer.close()

    assert first.status == 200
    assert second == Response()


@pytest.mark.asyncio
async def test_requests_under_way_end_when_the_collector_stops() -> None:
    gate = asyncio.Event()

    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await images("1")(received, writer)

    with TemporaryDirectory(prefix="scopeway") as name:
        folder = Path(name)
        users = frozenset([os.getuid()])
        async with fake_clouds(folder) as clouds:
            clouds.behaviours["a"] = late
            asker = CollectorClient(folder / "collector.sock")
            stack = AsyncExitStack()
            await stack.enter_async_context(serving(folder, limits=Limits(), users=users))
            idle_reader, idle = await asyncio.open_unix_connection(asker.path)
            asking = asyncio.create_task(asker.ask("/v2/images", ["a"]))
            await clouds.until(lambda: clouds.under_way == 1)
            stopping = asyncio.create_task(stack.aclose())
            closed = await idle_reader.read()
            idle.close()
            gate.set()
            response = await asking
            await stopping

    assert closed == b""
    assert (response.status, response.whole) == (200, True)
