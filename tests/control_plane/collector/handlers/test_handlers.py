"""Sorted pages, writes and `^` in a whole collector, between sockets."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import (
    Behaviour,
    Received,
    answer,
    fan_out_headers,
    json_answer,
    raw,
    silence,
)
from scopeway.control_plane.collector.handlers.writes import MAX_ANSWER
from scopeway.control_plane.collector.stats import LEFT

pytestmark = pytest.mark.asyncio

SORTED = "/v2/images?sort=name:asc&limit=3"
NEWS = b'{"name": "cirros"}'


def glance(names: Sequence[str], pad: int = 0) -> Behaviour:
    """Return the behaviour of an image service that has these images."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        left = sorted(names)
        if marker := received.query.get("marker"):
            left = left[left.index(marker) + 1 :]
        size = int(received.query["limit"])
        rows = [{"id": each, "name": each, "pad": "x" * pad} for each in left[:size]]
        document: dict[str, Any] = {"images": rows}
        if len(left) > size:
            document["next"] = f"/v2/images?marker={left[size - 1]}"
        await json_answer(document)(received, writer)

    return behave


def after(event: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """Return a behaviour that begins when an event has come."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await behaviour(received, writer)

    return behave


# ---- sorted pages


async def test_pages_of_sorted_images_lead_to_the_end() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": glance("aceg"), "b": glance("bdfh")}
        names, location = "", SORTED
        while location:
            response = await site.client.ask(location, ["a", "b"])
            names += "".join(each["name"] for each in response.json()["images"])
            location = response.json().get("next", "")
    assert names == "abcdefgh"
    assert {each.headers["x-scopeway-target"] for each in site.clouds.received} == {
        "image@a",
        "image@b",
    }


async def test_a_cloud_that_hangs_keeps_its_place() -> None:
    async with collector_site(cloud_seconds=1.0) as site:
        site.clouds.behaviours = {"a": glance("aceg"), "b": silence}
        first = await site.client.ask(SORTED, ["a", "b"])
        site.clouds.behaviours["b"] = glance("bdfh")
        second = await site.client.ask(first.json()["next"], ["a", "b"])
    assert [each["name"] for each in first.json()["images"]] == ["a", "c", "e"]
    (failed,) = first.report["failed"]
    assert (failed["cloud"], failed["cause"], failed["status"]) == ("b", "timeout", 504)
    assert [each["name"] for each in second.json()["images"]] == ["b", "d", "f"]


async def test_the_deadline_ends_all_rounds_of_a_page() -> None:
    async with collector_site(at_once=1) as site:
        site.clouds.behaviours = {"a": glance("a"), "b": silence, "c": glance("c")}
        headers = {"x-scope-deadline": "1"}
        response = await site.client.ask(SORTED, ["a", "b", "c"], headers=headers)
    causes = {each["cloud"]: each["cause"] for each in response.report["failed"]}
    assert (response.status, causes) == (200, {"b": "timeout", "c": "not-asked"})


async def test_require_all_resets_the_others_at_the_first_failure() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": silence, "b": answer(b"", 500)}
        headers = {"x-scope-require": "all"}
        response = await site.client.ask(SORTED, ["a", "b"], headers=headers)
        await site.clouds.until(lambda: site.clouds.under_way == 0)
    assert response.status == 502
    assert response.report["failed"][0]["cloud"] == "b"


async def test_a_client_that_leaves_a_sorted_page_resets_its_clouds() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": silence, "b": silence}
        _, writer = await site.client.send(SORTED, fan_out_headers(["a", "b"]))
        await site.clouds.until(lambda: site.clouds.under_way == 2)
        writer.close()
        await site.clouds.until(lambda: site.clouds.under_way == 0)
        assert site.collector.admission.under_way == 0


async def test_a_large_page_reaches_a_client_that_reads_late() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {
            cloud: glance([f"{cloud}{at:03}" for at in range(500)], pad=4000) for cloud in "ab"
        }
        location = "/v2/images?sort=name:asc&limit=1000"
        reader, writer = await site.client.send(location, fan_out_headers(["a", "b"]))
        await site.clouds.until(lambda: site.collector.admission.under_way == 1)
        await asyncio.sleep(0.1)
        response = await site.client.receive(reader)
        writer.close()
    rows = response.json()["images"]
    assert response.whole
    assert [each["name"] for each in rows] == sorted(each["name"] for each in rows)
    assert 300 < len(rows) < 1000, "a page ends early where it needs too much memory"
    assert response.json()["next"]


async def test_what_a_page_kept_is_given_back() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": glance("abc"), "b": glance("def")}
        await site.client.ask(SORTED, ["a", "b"])
        assert (site.collector.budget.held, site.collector.budget.kept) == (0, 0)


async def test_a_marker_of_a_client_is_refused_as_a_bad_request() -> None:
    async with collector_site() as site:
        response = await site.client.ask(f"{SORTED}&marker=scopeway1.x", ["a", "b"])
    assert response.status == 400
    assert response.json()["error"]["message"] == (
        "the marker is not whole: follow the next links as they are"
    )


# ---- writes


def created(received: Received) -> Behaviour:
    made = json.loads(received.body)
    return json_answer(made, 201, {"location": f"/v2/images/{made['id']}"})


async def create(received: Received, writer: asyncio.StreamWriter) -> None:
    await created(received)(received, writer)


async def test_an_image_is_created_with_one_id_in_two_clouds() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": create, "b": create}
        response = await site.client.ask("/v2/images", ["a", "b"], method="POST", body=NEWS)
    ids = {json.loads(each.body)["id"] for each in site.clouds.received}
    assert (response.status, {response.json()["id"]}) == (201, ids)
    assert response.headers["x-scopeway-report"].count("status=201") == 2
    lengths = [int(each.headers["content-length"]) for each in site.clouds.received]
    assert lengths == [len(each.body) for each in site.clouds.received]


async def test_a_write_goes_on_when_its_client_has_left() -> None:
    event = asyncio.Event()
    async with collector_site() as site:
        finished: list[str] = []

        async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
            await event.wait()
            await create(received, writer)
            finished.append(received.cloud)

        site.clouds.behaviours = {"a": slow, "b": slow}
        headers = {**fan_out_headers(["a", "b"]), "content-length": str(len(NEWS))}
        reader, writer = await site.client.send("/v2/images", headers, method="POST")
        writer.write(NEWS)
        await site.clouds.until(lambda: site.clouds.under_way == 2)
        writer.close()
        await site.clouds.until(lambda: site.collector.requests.ended["write", LEFT] == 1)
        assert site.clouds.under_way == 2
        event.set()
        await site.clouds.until(lambda: site.clouds.under_way == 0)
        del reader
    assert sorted(finished) == ["a", "b"]


async def test_a_write_waits_longer_than_any_read_may() -> None:
    event = asyncio.Event()
    async with collector_site(cloud_seconds=0.02, seconds=0.02) as site:
        site.clouds.behaviours = {"a": after(event, create), "b": create}
        headers = {"x-scope-deadline": "0.02"}
        asked = asyncio.create_task(
            site.client.ask("/v2/images", ["a", "b"], method="POST", body=NEWS, headers=headers)
        )
        await asyncio.sleep(0.1)
        event.set()
        response = await asked
    assert response.status == 201


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_that_breaks_off_is_not_repeated(method: str) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": raw(b"", close=True), "b": answer(b"", 204)}
        location = "/v2/images/1"
        # idle connections that Envoy may close: a read would be sent again
        await site.client.ask(location, ["b"])
        response = await site.client.ask(location, ["a", "b"], method=method, body=b"{}")
    assert [each.method for each in site.clouds.by_cloud()["a"]] == [method]
    results = {each["cloud"]: each["done"] for each in response.report["results"]}
    assert (response.status, results) == (500, {"a": "perhaps", "b": "yes"})
    assert "retry-after" not in response.headers


async def test_an_answer_to_a_write_that_is_too_large_may_be_a_success() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": create, "b": answer(b"x" * (MAX_ANSWER + 1), 201)}
        response = await site.client.ask("/v2/images", ["a", "b"], method="POST", body=NEWS)
    assert [each["done"] for each in response.report["results"]] == ["yes", "perhaps"]
    assert f"more than {MAX_ANSWER} bytes" in response.json()["error"]["message"]


async def test_a_write_to_too_many_clouds_is_sent_nowhere() -> None:
    clouds = [f"c{at}" for at in range(9)]
    async with collector_site() as site:
        response = await site.client.ask("/v2/images", clouds, method="POST", body=NEWS)
    assert (response.status, site.clouds.received) == (400, [])
    assert "a write takes at most 8" in response.json()["error"]["message"]


async def test_a_write_whose_clouds_are_all_missing_is_sent_nowhere() -> None:
    async with collector_site() as site:
        response = await site.client.ask(
            "/v2/images/1", [], method="DELETE", missing="a=404/unknown"
        )
    assert response.status == 400
    assert "nothing was sent to any cloud" in response.json()["error"]["message"]


# ---- exactly one


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_the_body_of_the_only_holder_is_passed_on_when_the_others_have_said_no(
    size: int,
) -> None:
    event = asyncio.Event()
    body = b"x" * size
    async with collector_site() as site:
        site.clouds.behaviours = {
            "a": answer(body, headers={"content-type": "application/octet-stream"}),
            "b": after(event, answer(b"", 404)),
        }
        asked = asyncio.create_task(site.client.ask("/v2/images/1/file", ["a", "b"], operator="^"))
        await site.clouds.until(lambda: len(site.clouds.received) == 2)
        await asyncio.sleep(0.05)
        assert not asked.done()
        event.set()
        response = await asked
        assert (site.collector.budget.held, site.collector.budget.kept) == (0, 0)
    assert (response.status, response.body == body) == (200, True)
    assert response.headers["x-scopeway-served-by"] == "a"


async def test_two_holders_are_a_conflict_and_the_rest_is_reset() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {
            "a": json_answer({"id": "1"}),
            "b": json_answer({"id": "1"}),
            "c": silence,
        }
        response = await site.client.ask("/v2/images/1", ["a", "b", "c"], operator="^")
        await site.clouds.until(lambda: site.clouds.under_way == 0)
        assert site.collector.budget.held == 0
    assert response.status == 409
    assert response.json()["error"]["message"] == "a and b both have it"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_lists_and_writes_of_an_exclusive_choice_are_not_implemented(method: str) -> None:
    async with collector_site() as site:
        response = await site.client.ask(
            "/v2/images", ["a", "b"], operator="^", method=method, body=b"{}"
        )
    assert (response.status, site.clouds.received) == (501, [])
    assert "'^' is for" in response.json()["error"]["message"]


@pytest.mark.parametrize(("size", "status"), [(1 << 20, 204), ((1 << 20) + 1, 413)])
async def test_a_file_of_one_mebibyte_goes_to_all_clouds_and_a_larger_one_to_none(
    size: int, status: int
) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = dict.fromkeys("ab", answer(b"", 204))
        path, body = "/v2/images/1/file", b"x" * size
        response = await site.client.ask(path, ["a", "b"], method="PUT", body=body)

    assert response.status == status
    assert [each.body == body for each in site.clouds.received] == [True] * (status == 204) * 2


NO_SERVICE = json_answer(
    {"error": {"message": "no service 'image'"}}, 404, {"x-scopeway-rejected": "true"}
)
"""Of a peer whose cloud has just lost the service."""


@pytest.mark.parametrize(
    ("other", "title"), [(answer(b"", 204), "Done in part"), (NO_SERVICE, "Not done")]
)
async def test_a_deletion_that_an_envoy_refuses_is_not_done(other: Behaviour, title: str) -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": other, "b": NO_SERVICE}
        response = await site.client.ask("/v2/images/1", ["a", "b"], method="DELETE")

    assert response.status == 500
    assert response.json()["error"]["title"] == title
    assert response.report["results"][1]["done"] == "no"


async def test_an_envoy_that_refuses_does_not_say_that_its_cloud_lacks_a_resource() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": answer(b"x"), "b": NO_SERVICE}
        response = await site.client.ask("/v2/images/1", ["a", "b"], operator="^")

    assert response.status == 502


async def test_writes_whose_clients_left_count_for_them_until_they_end() -> None:
    """Else one client, and one cloud that answers nothing, would use up all sub-requests."""
    go = asyncio.Event()

    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer(b"", 204)(received, writer)

    url = "/v2/images/1"
    async with collector_site(requests_of_token=3) as site:
        site.clouds.behaviours = {"a": late, "b": late}
        writers = [
            (
                await site.client.send(
                    url, fan_out_headers(["a", "b"]), method="PUT", body=b"x" * 1000
                )
            )[1]
            for _ in range(3)
        ]
        await site.clouds.until(lambda: site.clouds.under_way == 6)
        for writer in writers:
            writer.close()
        await site.clouds.until(lambda: site.collector.requests.ended["write", LEFT] == 3)
        refused = await site.client.ask(url, ["a"], method="DELETE")
        held = site.collector.budget.kept
        go.set()
        await site.clouds.until(lambda: site.collector.admission.under_way == 0)
        after = await site.client.ask(url, ["a"], method="DELETE")

    assert refused.status == 429
    assert held == 3000
    assert after.status == 204
    assert site.collector.budget.kept == 0


async def test_large_answers_to_a_write_whose_client_left_are_not_held() -> None:
    go = asyncio.Event()

    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer(b"x" * 900_000)(received, writer)

    async with collector_site(bytes=1 << 20) as site:
        site.clouds.behaviours = dict.fromkeys("abcd", late)
        headers = fan_out_headers("abcd")
        _, writer = await site.client.send("/v2/images/1", headers, method="DELETE")
        await site.clouds.until(lambda: site.clouds.under_way == 4)
        writer.close()
        await site.clouds.until(lambda: site.collector.requests.ended["write", LEFT] == 1)
        go.set()
        await site.clouds.until(lambda: site.collector.admission.under_way == 0)
        held = site.collector.budget.held

    assert held == 0
