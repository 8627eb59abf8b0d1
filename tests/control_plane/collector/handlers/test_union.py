"""A page of each cloud, joined."""

import asyncio
import json
import uuid

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import (
    Received,
    answer,
    fan_out_headers,
    images,
    json_answer,
    raw,
    silence,
)
from scopeway.control_plane.collector.handlers import union

pytestmark = pytest.mark.asyncio

ARRAY = '[{"path": "/readings", "key": "", "id": "id"}]'


def ids(document: object) -> list[tuple[str, str]]:
    assert isinstance(document, dict)
    return sorted((each["id"], each["scopeway:cloud"]) for each in document["images"])


async def test_a_union_names_the_cloud_of_each_item_and_reports_last() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1", "2"), "b": images("3")}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert response.status == 200
    document = response.json()
    assert list(document) == ["images", "scopeway:report"]
    assert ids(document) == [("1", "a"), ("2", "a"), ("3", "b")]
    assert document["scopeway:report"] == {"asked": 2, "answered": 2, "failed": []}
    assert response.headers["x-scopeway-report"] == "asked=2"
    assert next(iter(document["images"][0])) == "scopeway:cloud"
    assert sorted(site.clouds.asked()) == ["a", "b"]


async def test_a_union_of_empty_lists_is_an_empty_list() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images(), "b": images()}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert response.json()["images"] == []
    assert response.headers["x-scopeway-report"] == "asked=2, answered=2, failed=0"


async def test_items_of_the_first_cloud_come_before_the_last_cloud_has_answered() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": silence}
        reader, writer = await site.client.send("/v2/images", fan_out_headers(["a", "b"]))
        data = b""
        while b'"id"' not in data:
            data += await reader.read(1000)
        writer.close()

    assert b'"scopeway:cloud": "a"' in data


async def test_what_does_not_answer_is_in_the_report_with_its_cause() -> None:
    rejected = {"x-scopeway-rejected": "true"}
    error = {"error": {"message": "no connection"}}
    html = b"<html><h1>403</h1>\n  You are\x07not allowed.<br /><br />"
    async with collector_site(cloud_seconds=1) as site:
        site.clouds.behaviours = {
            "a": images("1"),
            "b": json_answer(error, 503, rejected),
            "c": answer(html, 403),
            "d": silence,
            "e": json_answer({"itemNotFound": {"message": "no such path"}}, 404),
        }
        response = await site.client.ask(
            "/v2/images", ["a", "b", "c", "d", "e"], missing="f=404/unknown,g=403/policy"
        )

    report = response.report
    assert response.status == 200
    assert (report["asked"], report["answered"]) == (7, 1)
    assert {
        each["cloud"]: (each["status"], each["cause"], each["reason"]) for each in report["failed"]
    } == {
        "b": (503, "unreachable", "no connection"),
        "c": (403, "refused", "You are not allowed."),
        "d": (504, "timeout", "no answer in time"),
        "e": (404, "error", "no such path"),
        "f": (404, "unknown", "no such cloud"),
        "g": (403, "policy", "the policy of this cloud does not allow the request"),
    }


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answer(b"<html>"), "no JSON"),
        (answer(b""), "no JSON"),
        (answer(b'{"images": [{"id": "1"}'), "no JSON"),
        (json_answer({"servers": []}), "no field 'images'"),
        (json_answer({"images": {"id": "1"}}), "no JSON of a list"),
        (json_answer({"images": [1, 2]}), "no object"),
        (json_answer([{"id": "1"}]), "no JSON of a list"),
        (answer(b"", 302, {"location": "http://elsewhere/"}), "a redirect (302)"),
    ],
)
async def test_an_answer_that_is_no_list_is_malformed(behaviour: object, reason: str) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": behaviour}  # type: ignore[dict-item]
        response = await site.client.ask("/v2/images", ["a", "b"])

    (failed,) = response.report["failed"]
    assert ids(response.json()) == [("1", "a")]
    assert (failed["cloud"], failed["cause"]) == ("b", "malformed")
    assert reason in failed["reason"]


async def test_a_status_that_all_clouds_share_is_that_of_the_union() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = dict.fromkeys("ab", json_answer({"e": {"message": "bad"}}, 400))
        same = await site.client.ask("/v2/images", ["a", "b"])
        site.clouds.behaviours["b"] = json_answer({}, 503)
        different = await site.client.ask("/v2/images", ["a", "b"])

    assert same.status == 400
    assert same.json()["error"]["message"] == "2 of 2 clouds failed: a (400 bad), b (400 bad)"
    assert same.headers["x-scopeway-rejected"] == "true"
    assert same.headers["x-scopeway-report"] == "asked=2, answered=0, failed=2"
    assert different.status == 502


async def test_replicas_are_given_once_and_counted() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1", "2"), "b": images("2", "3")}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert [each["id"] for each in sorted(response.json()["images"], key=lambda x: x["id"])] == [
        "1",
        "2",
        "3",
    ]
    assert response.report["replicas"] == 1


async def test_servers_with_the_same_id_are_not_replicas() -> None:
    """A hostile cloud could otherwise hide the servers of others."""
    async with collector_site() as site:
        site.clouds.behaviours = dict.fromkeys("ab", json_answer({"servers": [{"id": "1"}]}))
        response = await site.client.ask("/v2.1/servers/detail", ["a", "b"], service="compute")

    assert len(response.json()["servers"]) == 2


async def test_items_beyond_the_memory_for_ids_are_passed_on_unchecked() -> None:
    many = [str(number) for number in range(200)]
    async with collector_site(kept_of_request=100) as site:
        site.clouds.behaviours = dict.fromkeys("ab", images(*many))
        response = await site.client.ask("/v2/images", ["a", "b"])

    report = response.report
    assert len(response.json()["images"]) == 400
    assert report["unchecked"] == 400 - 128


async def test_require_all_is_a_502_at_the_first_failure_and_resets_the_rest() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": json_answer({}, 500), "c": silence}
        response = await site.client.ask(
            "/v2/images", ["a", "b", "c"], headers={"x-scope-require": "all"}
        )
        await site.clouds.until(lambda: site.clouds.under_way == 0)

    assert response.status == 502
    assert response.report["failed"][0]["cloud"] == "b"


async def test_require_all_asks_nobody_where_a_cloud_is_missing() -> None:
    async with collector_site() as site:
        response = await site.client.ask(
            "/v2/images",
            ["a"],
            missing="b=404/unknown",
            headers={"x-scope-require": "all"},
        )

    assert response.status == 502
    assert site.clouds.received == []


async def test_require_all_gives_everything_where_all_answer() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": images("2")}
        response = await site.client.ask(
            "/v2/images", ["a", "b"], headers={"x-scope-require": "all"}
        )

    assert ids(response.json()) == [("1", "a"), ("2", "b")]
    assert response.headers["x-scopeway-report"] == "asked=2, answered=2, failed=0"


async def test_an_answer_too_large_to_be_held_back_breaks_off_at_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(union, "HELD_BACK", 10)
    begun = asyncio.Event()

    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        await begun.wait()
        await json_answer({}, 500)(received, writer)

    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": late}
        asking = asyncio.create_task(
            site.client.ask("/v2/images", ["a", "b"], headers={"x-scope-require": "all"})
        )
        await site.clouds.until(lambda: site.collector.counters.answered == 1)
        begun.set()
        response = await asking

    assert response.status == 200
    assert not response.whole


async def test_a_list_that_is_an_array_has_its_report_in_the_header() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {
            "a": json_answer([{"id": 1, "value": 5}]),
            "b": json_answer([{"id": 1, "value": 5}, {"id": 2, "value": 6}]),
        }
        response = await site.client.ask(
            "/v1/readings", ["a", "b", "c"], service="sensor", headers={"x-scopeway-lists": ARRAY}
        )

    assert sorted(each["id"] for each in response.json()) == [1, 2]
    assert response.headers["x-scopeway-report"] == (
        "asked=3, answered=2, failed=1, clouds=(c;status=404;cause=error)"
    )


async def test_the_next_link_goes_on_at_each_cloud_that_has_more() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {
            "a": images("1", next="/v2/images?marker=1&limit=1"),
            "b": images("2"),
            "c": images("3", next="/v2/images?marker=3"),
        }
        first = await site.client.ask("/v2/images?visibility=public", ["a", "b", "c", "d"])
        link = first.json()["next"]
        site.clouds.received.clear()
        site.clouds.behaviours = {"a": images("4"), "c": images("5"), "d": images("6")}
        second = await site.client.ask(link, ["a", "b", "c", "d"])

    assert link.startswith("/v2/images?visibility=public&marker=scopeway1.")
    asked = {each.cloud: each.query for each in site.clouds.received}
    assert asked == {
        "a": {"visibility": "public", "marker": "1"},
        "c": {"visibility": "public", "marker": "3"},
        "d": {"visibility": "public"},
    }
    assert ids(second.json()) == [("4", "a"), ("5", "c"), ("6", "d")]
    assert "next" not in second.json()


async def test_links_of_other_services_are_urls_of_the_front() -> None:
    page = {
        "servers": [{"id": "1"}],
        "servers_links": [{"rel": "next", "href": "http://a/v2.1/servers?marker=1"}],
    }
    forwarded = {"x-forwarded-host": "front:5000", "x-forwarded-proto": "https"}
    async with collector_site() as site:
        site.clouds.behaviours = {"a": json_answer(page)}
        response = await site.client.ask(
            "/v2.1/servers",
            ["a"],
            service="compute",
            headers={**forwarded, "x-forwarded-prefix": "/compute"},
        )

    (link,) = response.json()["servers_links"]
    assert link["rel"] == "next"
    assert link["href"].startswith("https://front:5000/compute/v2.1/servers?marker=scopeway1.")


@pytest.mark.parametrize("marker", ["4b2e7e4c", "scopeway1.", "scopeway1.AAAA"])
async def test_a_marker_of_no_union_is_a_400(marker: str) -> None:
    async with collector_site() as site:
        response = await site.client.ask(f"/v2/images?marker={marker}", ["a", "b"])

    assert response.status == 400
    assert site.clouds.received == []


async def test_conditions_and_ranges_go_to_no_cloud_of_a_union() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1")}
        await site.client.ask(
            "/v2/images", ["a"], headers={"if-none-match": '"x"', "range": "bytes=0-1", "x-y": "z"}
        )

    (received,) = site.clouds.received
    assert {"if-none-match", "range"}.isdisjoint(received.headers)
    assert received.headers["x-y"] == "z"


async def test_headers_that_speak_of_one_cloud_are_not_those_of_a_union() -> None:
    own = {"etag": '"1"', "last-modified": "x", "x-scopeway-served-by": "a", "set-cookie": "c"}
    async with collector_site() as site:
        site.clouds.behaviours = {"a": json_answer({"images": []}, headers=own)}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert set(own).isdisjoint(response.headers)


async def test_a_chunked_answer_is_read_like_any_other() -> None:
    body = json.dumps({"images": [{"id": "1"}]}).encode()
    async with collector_site() as site:
        site.clouds.behaviours = {"a": answer(body, chunked=True)}
        response = await site.client.ask("/v2/images", ["a"])

    assert ids(response.json()) == [("1", "a")]


async def test_an_answer_that_breaks_off_is_a_failure() -> None:
    half = b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"images": [{"id": "1"}]'
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("2"), "b": raw(half, close=True)}
        response = await site.client.ask("/v2/images", ["a", "b"])

    (failed,) = response.report["failed"]
    assert (failed["cloud"], failed["status"], failed["cause"]) == ("b", 502, "error")
    assert ids(response.json()) == [("2", "a")]


async def test_clouds_without_room_in_the_next_link_come_on_later_pages_and_none_is_lost() -> None:
    clouds = [f"c{number}" for number in range(2_500)]

    async def two_pages(received: Received, writer: asyncio.StreamWriter) -> None:
        first = str(uuid.uuid5(uuid.NAMESPACE_DNS, received.cloud))
        if "marker" in received.query:
            assert received.query["marker"] == first
            await images(f"{received.cloud}-2")(received, writer)
        else:
            await images(first, next=f"/v2/images?marker={first}")(received, writer)

    found = []
    failed = []
    async with collector_site() as site:
        site.clouds.behaviours = dict.fromkeys(clouds, two_pages)
        link = "/v2/images"
        while link:
            document = (await site.client.ask(link, clouds)).json()
            found += [each["scopeway:cloud"] for each in document["images"]]
            failed.append({each["cause"] for each in document["scopeway:report"]["failed"]})
            link = document.get("next", "")

    assert sorted(found) == sorted(2 * clouds)
    assert failed[0] == {"too-large"}
    assert failed[-1] == set()
