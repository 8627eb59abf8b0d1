"""One resource: the first cloud that has it."""

import asyncio

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import (
    Received,
    answer,
    fan_out_headers,
    json_answer,
    raw,
    silence,
)

pytestmark = pytest.mark.asyncio

ID = "b5f5a0c4-7c2e-4d0e-9a5e-3f0f4a4d9a11"
HAS_IT = json_answer({"id": ID}, headers={"etag": '"1"'})
NOT_THERE = answer(b"<h1>404</h1> not here<br />", 404, {"content-type": "text/html"})
NO_WAY = json_answer(
    {"error": {"message": "connection refused"}}, 503, {"x-scopeway-rejected": "true"}
)


async def test_the_first_cloud_that_has_it_answers_and_all_others_are_reset() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": silence, "b": HAS_IT, "c": silence}
        response = await site.client.ask(f"/v2/images/{ID}", ["a", "b", "c"])
        await site.clouds.until(lambda: site.clouds.under_way == 0)

    assert response.status == 200
    assert response.json() == {"id": ID}
    assert response.headers["x-scopeway-served-by"] == "b"
    assert response.headers["etag"] == '"1"'
    assert "x-scopeway-report" not in response.headers


async def test_it_is_not_found_where_each_cloud_has_said_so() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = dict.fromkeys("abc", NOT_THERE)
        response = await site.client.ask(
            f"/v2/images/{ID}", ["a", "b", "c"], missing="d=404/unknown"
        )

    assert response.status == 404
    assert b"not here" in response.body
    assert response.headers["x-scopeway-report"] == "asked=4, answered=3, failed=1"


@pytest.mark.parametrize("other", [NO_WAY, silence, json_answer({}, 500)])
async def test_it_is_not_known_where_one_cloud_could_not_say(other: object) -> None:
    async with collector_site(cloud_seconds=1) as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": other}  # type: ignore[dict-item]
        response = await site.client.ask(f"/v2/images/{ID}", ["a", "b"])

    assert response.status == 502
    assert response.json()["error"]["message"].startswith("not found, but 1 of 2 clouds failed: b")
    assert [each["cloud"] for each in response.report["failed"]] == ["b"]


@pytest.mark.parametrize("missing", ["b=403/policy", "b=503/cordoned"])
async def test_it_is_not_known_where_a_cloud_may_not_be_asked(missing: str) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE}
        response = await site.client.ask(f"/v2/images/{ID}", ["a"], missing=missing)

    assert response.status == 502


async def test_another_error_of_the_client_is_passed_on_with_the_report() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": json_answer({"x": "y"}, 401)}
        response = await site.client.ask(f"/v2/images/{ID}", ["a", "b"])

    assert response.status == 401
    assert response.json() == {"x": "y"}
    assert response.headers["x-scopeway-report"] == "asked=2, answered=1, failed=1"


async def test_the_cloud_that_had_it_is_asked_first_the_next_time() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": HAS_IT, "c": NOT_THERE}
        await site.client.ask(f"/v2/images/{ID}", ["a", "b", "c"])
        site.clouds.received.clear()
        await site.client.ask(f"/v2/images/{ID}/members", ["a", "b", "c"])

        assert site.clouds.asked() == ["b"]

        site.clouds.received.clear()
        site.clouds.behaviours["b"] = NOT_THERE
        moved = await site.client.ask(f"/v2/images/{ID}", ["a", "b", "c"])

    assert site.clouds.asked()[0] == "b"
    assert sorted(site.clouds.asked()) == ["a", "b", "c"]
    assert moved.status == 404


async def test_a_place_is_known_to_the_token_that_found_it_only() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": HAS_IT}
        await site.client.ask(f"/v2/images/{ID}", ["a", "b"])
        site.clouds.received.clear()
        other = {"x-auth-token": "another~1~*:home;image:a&b"}
        await site.client.ask(f"/v2/images/{ID}", ["a", "b"], headers=other)

    assert set(site.clouds.asked()) == {"a", "b"}


async def test_a_place_that_is_no_member_any_more_is_not_asked() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"b": HAS_IT}
        await site.client.ask(f"/v2/images/{ID}", ["a", "b"])
        site.clouds.received.clear()
        response = await site.client.ask(f"/v2/images/{ID}", ["a", "c"])

    assert response.status == 404
    assert sorted(site.clouds.asked()) == ["a", "c"]


async def test_a_download_comes_from_one_cloud_after_a_look_where_it_is() -> None:
    body = b"x" * 3_000_000

    async def serve(received: Received, writer: asyncio.StreamWriter) -> None:
        made = answer(body) if received.path.endswith("/file") else HAS_IT
        await made(received, writer)

    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": serve, "c": NOT_THERE}
        response = await site.client.ask(f"/v2/images/{ID}/file", ["a", "b", "c"])

    files = [each.cloud for each in site.clouds.received if each.path.endswith("/file")]
    assert files == ["b"]
    assert response.body == body
    assert response.whole


async def test_a_download_is_not_read_faster_than_the_client_reads() -> None:
    size, piece = 20_000_000, 100_000
    sent = 0

    async def serve(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // piece):
            writer.write(b"x" * piece)
            await writer.drain()
            sent += piece

    async with collector_site() as site:
        site.clouds.behaviours = {"a": serve}
        headers = fan_out_headers(["a"], service="sensor")
        reader, writer = await site.client.send("/files/1", headers)
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while sent != before:  # until nobody takes more
            before = sent
            await asyncio.sleep(0.1)
        stopped = sent
        body = await reader.readexactly(size)
        writer.close()

    assert stopped < 5_000_000
    assert body == b"x" * size


async def test_a_download_that_breaks_off_breaks_off_at_the_client() -> None:
    half = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", close=True)
    async with collector_site() as site:
        site.clouds.behaviours = {"a": half}
        response = await site.client.ask("/files/1", ["a"], service="sensor")

    assert (response.status, response.body, response.whole) == (200, b"abc", False)


async def test_conditions_and_ranges_go_to_the_clouds_and_their_answers_come_back() -> None:
    part = {"content-range": "bytes 0-1/5"}
    async with collector_site() as site:
        site.clouds.behaviours = {"a": NOT_THERE, "b": answer(b"xy", 206, part)}
        ranged = await site.client.ask(
            f"/v2/images/{ID}", ["a", "b"], headers={"range": "bytes=0-1"}
        )
        site.clouds.behaviours["b"] = raw(b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n')
        cached = await site.client.ask(
            f"/v2/images/{ID}", ["a", "b"], headers={"if-none-match": '"1"'}
        )

    assert (ranged.status, ranged.body, ranged.headers["content-range"]) == (
        206,
        b"xy",
        "bytes 0-1/5",
    )
    assert (cached.status, cached.headers["etag"]) == (304, '"1"')
    assert {each.headers.get("range") for each in site.clouds.received[:2]} == {"bytes=0-1"}


async def test_a_head_has_the_length_and_no_body() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": answer(b"", 404), "b": answer(b"12345", 200)}
        response = await site.client.ask(f"/v2/images/{ID}", ["a", "b"], method="HEAD")
        again = await site.client.ask(f"/v2/images/{ID}", ["a", "b"], method="HEAD")

    assert (response.status, response.headers["content-length"], response.body) == (200, "5", b"")
    assert again.status == 200
    assert {each.method for each in site.clouds.received} == {"HEAD"}


async def test_what_only_scopeway_says_is_not_taken_from_a_cloud() -> None:
    forged = {"x-scopeway-served-by": "z", "x-scopeway-report": "asked=0", "x-scopeway-target": "t"}
    async with collector_site() as site:
        site.clouds.behaviours = {"a": json_answer({}, headers=forged)}
        response = await site.client.ask(f"/v2/images/{ID}", ["a"])

    assert response.headers["x-scopeway-served-by"] == "a"
    assert {"x-scopeway-report", "x-scopeway-target"}.isdisjoint(response.headers)


@pytest.mark.parametrize(
    ("data", "method", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345", "GET", 200, b"12345"),
        (b"HTTP/1.1 300 Multiple Choices\r\ncontent-length: 2\r\n\r\n{}", "GET", 300, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "GET", 304, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "GET", 200, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "HEAD", 200, b""),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "GET",
            200,
            b"abc",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000,
            "GET",
            200,
            b"x" * 200_000,
        ),
    ],
)
async def test_an_answer_that_comes_at_once_is_passed_on_whole(
    data: bytes, method: str, status: int, body: bytes
) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": raw(data)}
        response = await site.client.ask("/", ["a", "b"], method=method)

    assert (response.status, response.body, response.whole) == (status, body, True)
