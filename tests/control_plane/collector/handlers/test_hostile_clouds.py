"""What one hostile cloud sends never harms the answer of an honest one beside it."""

import asyncio
import json

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import Behaviour, Received, answer, images, json_answer, raw

pytestmark = pytest.mark.asyncio

OK = b"HTTP/1.1 200 OK\r\n"


def page(items: bytes) -> Behaviour:
    return answer(b'{"images": [%b]}' % items)


async def endless_body(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def endless_header(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"x-a: ")
    while True:
        writer.write(b"x" * 10_000)
        await writer.drain()


async def endless_headers(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    while True:
        writer.write(b"x-a: b\r\n" * 100)
        await writer.drain()


async def endless_interim_answers(received: Received, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)
        await writer.drain()


async def endless_trailers(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n")
    while True:
        writer.write(b"x-a: b\r\n" * 100)
        await writer.drain()


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (endless_body, "too-large"),
        (endless_header, "too-large"),
        (endless_headers, "too-large"),
        (endless_interim_answers, "too-large"),
        (endless_trailers, "too-large"),
        (answer(b" " * (8 << 20) + b" "), "too-large"),
        (raw(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), "malformed"),
        (raw(OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\n12345"), "malformed"),
        (raw(b"SSH-2.0-x\r\n"), "malformed"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "malformed"),
        (page(b"[" * 100_000), "malformed"),
        (page(b'{"a":' * 900 + b"1" + b"}" * 900), "malformed"),
        (page(b'{"a": %b}' % (b"9" * 5000)), "malformed"),
        (page(b'{"a": 1e999}'), "malformed"),
        (page(b'{"a": -1E+0999 }'), "malformed"),
        (page(b'{"a": NaN}'), "malformed"),
        (page(b'{"a": "\xff"}'), "malformed"),
        (page(b'{"a": "\x01"}'), "malformed"),
        (page(b'{"id": "2"}, 5'), "malformed"),
    ],
)
async def test_a_hostile_answer_is_a_failure_of_its_cloud_alone(
    behaviour: Behaviour, cause: str
) -> None:
    async with collector_site(cloud_seconds=5) as site:
        site.clouds.behaviours = {"honest": images("1"), "hostile": behaviour}
        response = await site.client.ask("/v2/images", ["honest", "hostile"])

    document = response.json()
    assert [each["scopeway:cloud"] for each in document["images"]] == ["honest"]
    assert [(each["cloud"], each["cause"]) for each in response.report["failed"]] == [
        ("hostile", cause)
    ]


@pytest.mark.parametrize(
    "key",
    [
        b'"scopeway:cloud"',
        b'"scopeway\\u003acloud"',
        b'"\\u0073copeway:cloud"',
        b'"scopeway:report"',
        b'"scopeway:c\\u006Coud"',
    ],
)
async def test_an_item_cannot_say_that_it_is_of_another_cloud(key: bytes) -> None:
    item = b'{"id": "2", %b: "honest", "name": "caf\\u00e9", "n": [1.50]}' % key
    async with collector_site() as site:
        site.clouds.behaviours = {"honest": images("1"), "hostile": page(item)}
        response = await site.client.ask("/v2/images", ["honest", "hostile"])

    (found,) = [each for each in response.json()["images"] if each["id"] == "2"]
    assert found == {"scopeway:cloud": "hostile", "id": "2", "name": "café", "n": [1.5]}
    assert response.body.count(b'"scopeway:cloud"') == 2


async def test_a_report_of_a_cloud_is_not_that_of_the_answer() -> None:
    forged = {"images": [], "scopeway:report": {"asked": 9, "answered": 9, "failed": []}}
    async with collector_site() as site:
        site.clouds.behaviours = {
            "honest": images("1"),
            "hostile": json_answer(forged, headers={"x-scopeway-report": "asked=9"}),
        }
        response = await site.client.ask("/v2/images", ["honest", "hostile"])

    assert response.report == {"asked": 2, "answered": 2, "failed": []}
    assert response.headers["x-scopeway-report"] == "asked=2"
    assert response.body.count(b"scopeway:report") == 1


async def test_bytes_behind_an_answer_are_not_the_answer_of_another_cloud() -> None:
    forged = b'{"images": [{"id": "forged"}]}'
    answers = b"".join(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        for body in (b'{"images": []}', forged)
    )
    async with collector_site(at_once=1) as site:
        site.clouds.behaviours = {"hostile": raw(answers), "honest": images("1")}
        response = await site.client.ask("/v2/images", ["hostile", "honest"])

    assert [each["id"] for each in response.json()["images"]] == ["1"]
    assert site.clouds.connections == 2  # the first one is not used again


@pytest.mark.parametrize(("number", "failed"), [(16, 0), (17, 1)])
async def test_interim_answers_are_passed_over_up_to_their_limit(number: int, failed: int) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n" * number
    final = b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"images": []}'
    async with collector_site() as site:
        site.clouds.behaviours = {"a": raw(interim + final), "b": images("1")}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert len(response.report["failed"]) == failed


async def test_texts_of_a_cloud_are_cut_and_keep_to_one_line_of_a_report() -> None:
    text = "no\r\nX-Forged: 1\x1b[2J " + "x" * 50_000
    async with collector_site() as site:
        error = json_answer({"error": {"message": text}}, 500)
        site.clouds.behaviours = {"honest": images("1"), "hostile": error}
        response = await site.client.ask("/v2/images", ["honest", "hostile"])

    reason = response.report["failed"][0]["reason"]
    assert reason.startswith("no X-Forged: 1 [2J xxx")
    assert len(reason) == 300


async def test_numbers_and_escapes_of_honest_clouds_pass() -> None:
    item = {
        "id": "0e000e0000",
        "size": 10**18,
        "ratio": 1.5e-7,
        "large": 1e200,
        "name": 'a "1e999" \\ 0e999, b',
        "deep": json.loads("[" * 40 + "]" * 40),
    }
    async with collector_site() as site:
        site.clouds.behaviours = {"a": json_answer({"images": [item]})}
        response = await site.client.ask("/v2/images", ["a"])

    assert response.json()["images"] == [{"scopeway:cloud": "a", **item}]


async def test_a_marker_too_long_for_the_next_page_is_a_failure_of_its_cloud_alone() -> None:
    async with collector_site() as site:
        link = "/v2/images?marker=" + "x" * 1025
        site.clouds.behaviours = {"honest": images("1"), "hostile": images("2", next=link)}
        response = await site.client.ask("/v2/images", ["honest", "hostile"])

    assert [each["id"] for each in response.json()["images"]] == ["1"]
    assert [each["cause"] for each in response.report["failed"]] == ["malformed"]


async def test_an_id_too_long_for_the_next_page_is_a_failure_of_its_cloud_alone() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"honest": images("1"), "hostile": images("2" * 1025)}
        response = await site.client.ask("/v2/images?limit=1&sort=id:desc", ["honest", "hostile"])

    assert [each["id"] for each in response.json()["images"]] == ["1"]
    assert [each["cause"] for each in response.report["failed"]] == ["malformed"]
