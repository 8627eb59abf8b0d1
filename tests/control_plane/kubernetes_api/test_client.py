"""The client before an API server that answers late, too much, or something else."""

import asyncio
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scopeway.control_plane.kubernetes_api import client as kubernetes
from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from stub_api_server import Handler, Request, StubApiServer, answering

pytestmark = pytest.mark.asyncio

GUARD = 30.0
"""Seconds until a test that waits for something that never comes is given up."""


def client_of(stub: StubApiServer, folder: Path, **options: Any) -> ApiClient:
    file = stub.kubeconfig(folder / "kubeconfig", {"token": "t0p-secret"})
    return ApiClient(KubernetesUrl(kubeconfig=file), **options)


async def failing(handler: Handler, folder: Path, **options: Any) -> ApiError:
    """Return the error of a request for an object."""
    async with answering(handler) as stub, client_of(stub, folder, **options) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(f"{paths.EDGE_CLOUDS}/a")
        place = f"kubernetes:{folder / 'kubeconfig'}?context=x ({stub.url}): "
    assert str(caught.value).startswith(place)
    assert "t0p-secret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("code", "body", "sentence"),
    [
        (200, b"no json", "answered something else than JSON to GET"),
        (200, b"[1]", "answered something else than JSON to GET"),
        (500, b"<h1>oh</h1>\nno", "answered 500: <h1>oh</h1> no"),
        (503, b"", "answered 503: Service Unavailable"),
        (429, {"message": "storage is (re)initializing"}, "answered 429: storage is (re)initial"),
        (302, b"", "answered something else than JSON"),
    ],
)
async def test_another_answer_is_one_sentence(
    tmp_path: Path, code: int, body: Any, sentence: str
) -> None:
    async def serve(request: Request) -> None:
        request.answer(body, code)

    error = await failing(serve, tmp_path)

    assert sentence in str(error)
    assert error.code == (code if code >= 400 else 0)
    assert not error.is_refused


async def test_a_request_that_is_cancelled_in_its_tls_handshake_closes_the_connection(
    tmp_path: Path,
) -> None:
    greeted, closed = asyncio.Event(), asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        greeted.set()
        while await reader.read(65536):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    stub = StubApiServer(server.sockets[0].getsockname()[1], "https")
    file = stub.kubeconfig(tmp_path / "kubeconfig", {}, **{"insecure-skip-tls-verify": True})
    gc.disable()  # it would close the connection, too
    try:
        async with server, ApiClient(KubernetesUrl(kubeconfig=file)) as client:
            request = asyncio.create_task(client.get(f"{paths.EDGE_CLOUDS}/a"))
            await greeted.wait()
            request.cancel()
            await asyncio.wait((request,))

            async with asyncio.timeout(GUARD):
                await closed.wait()
    finally:
        gc.enable()


async def test_an_answer_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.begin()
        while True:
            request.chunk(b"x" * 1000)
            await request.writer.drain()

    error = await failing(serve, tmp_path, max_answer=10_000)

    assert "sent an answer longer than 10000 bytes" in str(error)


async def test_an_error_that_is_too_long_is_cut(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer(b"x" * 100_000, 500)

    error = await failing(serve, tmp_path, max_answer=10_000)

    assert "answered 500: xxx" in str(error)


async def test_an_answer_that_does_not_come_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(request: Request) -> None:
        await asyncio.sleep(1000)

    monkeypatch.setattr(kubernetes, "CALL_TIMEOUT", 0.1)

    assert "no answer in time" in str(await failing(serve, tmp_path))


async def test_an_answer_that_trickles_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(request: Request) -> None:
        request.begin()
        while True:
            request.chunk(b" ")
            await asyncio.sleep(0.01)

    monkeypatch.setattr(kubernetes, "CALL_TIMEOUT", 0.1)

    assert "no answer in time" in str(await failing(serve, tmp_path))


async def test_a_connection_that_ends_early_is_told(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        request.writer.close()

    assert "it closed the connection" in str(await failing(serve, tmp_path))


async def test_nobody_at_the_address_is_told(tmp_path: Path) -> None:
    async def serve(request: Request) -> None: ...

    async with answering(serve) as stub:
        pass
    async with client_of(stub, tmp_path) as client:
        with pytest.raises(ApiError, match="connection refused"):
            await client.get("/version")


async def test_no_answer_is_asked_for_in_compressed_form(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer({"encoding": request.headers["accept-encoding"]})

    async with answering(serve) as stub, client_of(stub, tmp_path) as client:
        assert await client.get("/version") == {"encoding": "identity"}


class Lists:
    """Serves a list in pages; each object has so many bytes."""

    def __init__(self, count: int, size: int = 1) -> None:
        self.count, self.size = count, size
        self.limits: list[int] = []
        self.expire_once = False

    async def __call__(self, request: Request) -> None:
        query = parse_qs(urlsplit(request.target).query)
        start, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
        self.limits.append(limit)
        if start and self.expire_once:
            self.expire_once = False
            request.answer({"reason": "Expired", "code": 410, "message": "too old"}, 410)
            return
        end = min(start + limit, self.count)
        items = [{"metadata": {"name": str(at)}, "x": "x" * self.size} for at in range(start, end)]
        more = {"continue": str(end)} if end < self.count else {}
        request.answer({"metadata": {"resourceVersion": "7"} | more, "items": items})


async def test_a_list_is_read_in_pages(tmp_path: Path) -> None:
    lists = Lists(1001)
    async with answering(lists) as stub, client_of(stub, tmp_path) as client:
        pages = [(version, len(items)) async for version, items in client.list_pages("/x")]

    assert pages == [("7", 500), ("7", 500), ("7", 1)]


async def test_a_page_that_is_too_long_is_asked_for_in_smaller_ones(tmp_path: Path) -> None:
    lists = Lists(60, size=1000)
    async with (
        answering(lists) as stub,
        client_of(stub, tmp_path, max_answer=20_000) as client,
    ):
        _, found = await client.list_all("/x")

    assert [each["metadata"]["name"] for each in found] == [str(each) for each in range(60)]
    assert lists.limits[:3] == [500, 50, 5]


async def test_an_object_that_is_too_long_alone_ends_the_list(tmp_path: Path) -> None:
    lists = Lists(2, size=30_000)
    async with (
        answering(lists) as stub,
        client_of(stub, tmp_path, max_answer=20_000) as client,
    ):
        with pytest.raises(ApiError, match="sent an answer longer than 20000 bytes"):
            await client.list_all("/x")

    assert lists.limits == [500, 50, 5, 1]


async def test_a_list_that_expires_begins_anew(tmp_path: Path) -> None:
    lists = Lists(700)
    lists.expire_once = True
    async with answering(lists) as stub, client_of(stub, tmp_path) as client:
        version, found = await client.list_all("/x")

    assert (version, len(found)) == ("7", 700)
    assert len(lists.limits) == 4


async def test_a_list_that_expires_again_and_again_ends(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer({"reason": "Expired", "code": 410, "message": "too old"}, 410)

    async with answering(serve) as stub, client_of(stub, tmp_path) as client:
        with pytest.raises(ApiError, match="answered 410: too old"):
            await client.list_all("/x")

        assert len(stub.requests) == kubernetes.LIST_ATTEMPTS


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Status", "metadata": {}, "status": "Success", "code": 200},
        {"metadata": {"name": "a"}},
        {"metadata": {"resourceVersion": ""}, "items": []},
    ],
)
async def test_a_good_answer_that_is_no_list_is_not_taken_for_an_empty_one(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    async def serve(request: Request) -> None:
        request.answer(document)

    async with answering(serve) as stub, client_of(stub, tmp_path) as client:
        with pytest.raises(ApiError, match="answered something else than a list"):
            await client.list_all("/x")


@pytest.mark.parametrize(
    ("tokens", "seconds", "sentence"),
    [
        (lambda _: "same", 300.0, "lists the same page again and again"),
        (str, 0.0, "did not end its list within 0 s"),
    ],
)
async def test_a_list_without_end_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokens: Callable[[int], str],
    seconds: float,
    sentence: str,
) -> None:
    monkeypatch.setattr(kubernetes, "WHOLE_LIST_TIMEOUT", seconds)
    pages = 0

    async def serve(request: Request) -> None:
        nonlocal pages
        pages += 1
        metadata = {"resourceVersion": "7", "continue": tokens(pages)}
        request.answer({"metadata": metadata, "items": []})

    async with answering(serve) as stub, client_of(stub, tmp_path) as client:
        with pytest.raises(ApiError, match=sentence):
            await client.list_all("/x")

    assert pages <= 2


def event(kind: str, document: Any) -> bytes:
    return json.dumps({"type": kind, "object": document}).encode() + b"\n"


async def watched(handler: Handler, folder: Path, **options: Any) -> list[list[Any]]:
    async with answering(handler) as stub, client_of(stub, folder) as client:
        watch = client.watch(paths.EDGE_CLOUDS, "7", **options)
        return [[(each.type, each.document()) for each in events] async for events in watch]


async def test_a_watch_yields_an_empty_list_once_it_is_open(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        query = parse_qs(urlsplit(request.target).query)
        request.begin()
        request.chunk(event("ADDED", {"query": query})[:10])
        await asyncio.sleep(0.01)
        request.chunk(event("ADDED", {"query": query})[10:])
        request.chunk(b"")

    first, second = await watched(serve, tmp_path, seconds=9)

    assert first == []
    assert second[0][1]["query"] == {
        "watch": ["1"],
        "allowWatchBookmarks": ["true"],
        "resourceVersion": ["7"],
        "timeoutSeconds": ["9"],
    }


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (event("ERROR", {"code": 410, "reason": "Expired", "message": "old"}), "answered 410: old"),
        (event("ERROR", {}), "answered 500"),
        (event("ERROR", "text"), "answered 500"),
        (b"no json\n", "sent something else than an event"),
        (b"[" * 100_000 + b"\n", "sent something else than an event"),
        (b"x" * (8 * 1024 * 1024 + 1), "an event is longer than 8388608 bytes"),
    ],
)
async def test_a_watch_that_goes_wrong_ends_with_a_sentence(
    tmp_path: Path, chunk: bytes, problem: str
) -> None:
    async def serve(request: Request) -> None:
        request.begin()
        request.chunk(chunk)
        await request.writer.drain()
        await asyncio.sleep(1000)

    with pytest.raises(ApiError, match=problem) as caught:
        await watched(serve, tmp_path)

    assert caught.value.is_gone == ("410" in problem)


async def test_a_watch_without_a_byte_for_too_long_ends(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.begin()
        await asyncio.sleep(1000)

    with pytest.raises(ApiError, match="no answer in time"):
        await watched(serve, tmp_path, silence=0.1)


async def test_a_watch_that_is_refused_yields_nothing(tmp_path: Path) -> None:
    async def serve(request: Request) -> None:
        request.answer({"message": "storage is (re)initializing", "code": 429}, 429)

    with pytest.raises(ApiError, match="answered 429") as caught:
        await watched(serve, tmp_path)

    assert caught.value.code == 429


async def test_the_status_of_a_refused_write_is_kept(tmp_path: Path) -> None:
    status = {"code": 409, "reason": "Conflict", "message": "m", "details": {"causes": [1]}}

    async def serve(request: Request) -> None:
        request.answer(status, 409)

    async with answering(serve) as stub, client_of(stub, tmp_path) as client:
        with pytest.raises(ApiError) as caught:
            await client.apply(f"{paths.EDGE_CLOUDS}/a", {}, manager="m", force=False, dry_run=True)

        assert caught.value.status == status
        assert caught.value.is_conflict
        assert "fieldManager=m&force=false&dryRun=All" in stub.requests[0].target
        assert stub.requests[0].headers["content-type"] == "application/apply-patch+yaml"
