"""How clouds are asked: how many at a time, for how long, and what ends that."""

import asyncio

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import (
    Behaviour,
    Received,
    fan_out_headers,
    images,
    json_answer,
    raw,
    silence,
)
from scopeway.control_plane.collector.sub_requests.fan_out import waiting_time

pytestmark = pytest.mark.asyncio

LATE = json_answer(
    {"error": {"message": "the control plane did not answer for image@b, try again"}},
    503,
    {"x-scopeway-rejected": "true"},
)


@pytest.mark.parametrize(("seconds", "waits"), [(300, 299.75), (30, 29.75), (5, 4.75), (1, 0.95)])
async def test_a_part_of_the_time_is_kept_for_writing_the_answer(
    seconds: float, waits: float
) -> None:
    assert waiting_time(seconds) == waits


def names(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


def once(first: Behaviour, then: Behaviour) -> Behaviour:
    """Return the behaviour that is another one from the second request on."""
    behaviours = iter([first])

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await next(behaviours, then)(received, writer)

    return behave


def gated(gate: asyncio.Event) -> Behaviour:
    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await images(received.cloud)(received, writer)

    return behave


@pytest.mark.parametrize("path", ["/v2/images", "/v2/images/1"])
async def test_a_read_that_the_control_plane_kept_waiting_is_sent_once_more(path: str) -> None:
    async with collector_site() as site:
        site.clouds.behaviours["b"] = once(LATE, images("1"))
        response = await site.client.ask(path, ["b"])
        site.clouds.behaviours["b"] = LATE
        site.clouds.received.clear()
        failed = await site.client.ask(path, ["b"])

    assert response.status == 200
    assert failed.status == 502
    assert site.clouds.asked() == ["b", "b"]


async def test_another_503_is_not_sent_again() -> None:
    async with collector_site() as site:
        site.clouds.behaviours["b"] = json_answer({"error": {"message": "overloaded"}}, 503)
        await site.client.ask("/v2/images", ["b"])

    assert site.clouds.asked() == ["b"]


async def test_sub_requests_of_one_request_are_limited() -> None:
    gate = asyncio.Event()
    async with collector_site(at_once=5) as site:
        site.clouds.behaviours = dict.fromkeys(names(20), gated(gate))
        asking = asyncio.create_task(site.client.ask("/v2/images", names(20)))
        await site.clouds.until(lambda: site.clouds.under_way == 5)
        gate.set()
        response = await asking

    assert site.clouds.most_under_way == 5
    assert response.report["answered"] == 20


async def test_sub_requests_of_all_requests_are_limited_and_shared_fairly() -> None:
    gate = asyncio.Event()
    async with collector_site(all_at_once=6) as site:
        site.clouds.behaviours = dict.fromkeys(names(40), gated(gate))
        unknown = {"x-forwarded-for": ""}  # those of one address have half of them
        large = asyncio.create_task(site.client.ask("/v2/images", names(40), headers=unknown))
        await site.clouds.until(lambda: site.clouds.under_way == 6)
        small = asyncio.create_task(
            site.client.ask("/v2/images?x=small", names(3), headers=unknown)
        )
        await site.clouds.until(lambda: site.collector.admission.under_way == 2)
        gate.set()
        await asyncio.gather(large, small)

    order = ["small" in each.location for each in site.clouds.received]
    assert site.clouds.most_under_way == 6
    assert sum(order) == 3
    # the small one takes each second turn, and does not wait for all of the large one
    assert max(at for at, is_small in enumerate(order) if is_small) <= 6 + 2 * 3


async def test_sub_requests_of_one_address_are_half_of_all() -> None:
    async with collector_site(all_at_once=8) as site:
        site.clouds.behaviours = {**dict.fromkeys(names(8), silence), "a": images("1")}
        hanging = asyncio.create_task(site.client.ask("/v2/images", names(8)))
        await site.clouds.until(lambda: site.clouds.under_way == 4)
        other = await site.client.ask("/v2/images", ["a"], headers={"x-forwarded-for": "192.0.2.8"})
        most = site.clouds.most_under_way
        hanging.cancel()

    assert other.report["answered"] == 1
    assert most == 5


async def test_a_cloud_that_is_slow_is_a_timeout_and_the_others_answer() -> None:
    async def drip(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with collector_site(cloud_seconds=1) as site:
        site.clouds.behaviours = {"a": images("1"), "b": drip, "c": silence}
        response = await site.client.ask("/v2/images", ["a", "b", "c"])

    assert response.report["answered"] == 1
    assert {(each["cloud"], each["cause"]) for each in response.report["failed"]} == {
        ("b", "timeout"),
        ("c", "timeout"),
    }


@pytest.mark.parametrize("options", [{"seconds": 1.0}, {}])
async def test_what_the_deadline_leaves_out_is_in_the_report(options: dict[str, float]) -> None:
    headers = {} if options else {"x-scope-deadline": "1"}
    async with collector_site(at_once=2, **options) as site:
        site.clouds.behaviours = {"a": images("1"), "b": silence, "c": silence, "d": images("2")}
        response = await site.client.ask("/v2/images", ["a", "b", "c", "d", "e"], headers=headers)

    causes = {each["cloud"]: each["cause"] for each in response.report["failed"]}
    assert response.status == 200
    assert causes == {"b": "timeout", "c": "timeout", "d": "not-asked", "e": "not-asked"}


@pytest.mark.parametrize("text", ["0", "-1", "301", "soon", "1e2", "nan", "9" * 400])
async def test_a_deadline_is_a_number_of_seconds_up_to_300(text: str) -> None:
    async with collector_site() as site:
        response = await site.client.ask("/v2/images", ["a"], headers={"x-scope-deadline": text})

    assert response.status == 400
    assert f"X-Scope-Deadline: '{text[:60]}" in response.json()["error"]["message"]
    assert site.clouds.received == []


async def test_a_wrong_requirement_is_named() -> None:
    async with collector_site() as site:
        response = await site.client.ask("/v2/images", ["a"], headers={"x-scope-require": "al"})

    assert response.status == 400
    assert (
        response.json()["error"]["message"] == "X-Scope-Require: 'al' is not 'all', its only value"
    )


@pytest.mark.parametrize("path", ["/v2/images", "/v2/images/1"])
async def test_a_client_that_leaves_resets_all_sub_requests(path: str) -> None:
    async with collector_site(at_once=10) as site:
        site.clouds.behaviours = dict.fromkeys(names(30), silence)
        _, writer = await site.client.send(path, fan_out_headers(names(30)))
        await site.clouds.until(lambda: site.clouds.under_way == 10)
        writer.transport.abort()
        await site.clouds.until(lambda: site.clouds.under_way == 0)
        await site.clouds.until(lambda: site.collector.admission.under_way == 0)

    assert len(site.clouds.received) == 10
    assert site.collector.gate.under_way == 0
    assert site.collector.client.cancelled == 10


async def test_a_client_that_reads_nothing_has_no_new_clouds_asked() -> None:
    page = json_answer({"servers": [{"id": f"{number:0300}"} for number in range(2_000)]})
    async with collector_site(at_once=4) as site:
        site.clouds.behaviours = dict.fromkeys(names(30), page)
        headers = fan_out_headers(names(30), service="compute")
        reader, writer = await site.client.send("/v2.1/servers", headers)
        before = -1
        while len(site.clouds.received) != before:  # until nobody else is asked
            before = len(site.clouds.received)
            await asyncio.sleep(0.1)
        asked = len(site.clouds.received)
        response = await site.client.receive(reader)
        writer.close()

    assert 4 <= asked < 20
    assert response.report["answered"] == 30


async def test_time_in_which_a_client_reads_nothing_is_not_that_of_the_clouds() -> None:
    page = json_answer({"servers": [{"id": f"{number:0300}"} for number in range(2_000)]})
    async with collector_site(at_once=2, seconds=1, cloud_seconds=1) as site:
        site.clouds.behaviours = dict.fromkeys(names(12), page)
        headers = fan_out_headers(names(12), service="compute")
        reader, writer = await site.client.send("/v2.1/servers", headers)
        await asyncio.sleep(1.5)
        response = await site.client.receive(reader)
        writer.close()

    assert response.report == {"asked": 12, "answered": 12, "failed": []}


async def test_a_client_that_takes_nothing_at_all_loses_its_answer() -> None:
    page = json_answer({"servers": [{"id": f"{number:0300}"} for number in range(2_000)]})
    async with collector_site(at_once=2, stalled_seconds=0.2) as site:
        site.clouds.behaviours = dict.fromkeys(names(12), page)
        headers = fan_out_headers(names(12), service="compute")
        reader, writer = await site.client.send("/v2.1/servers", headers)
        await site.clouds.until(lambda: site.collector.admission.under_way == 1)
        await site.clouds.until(lambda: site.collector.admission.under_way == 0)
        response = await site.client.receive(reader)
        writer.close()

    assert not response.whole


async def test_connections_are_used_again() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": images("2")}
        for _ in range(3):
            await site.client.ask("/v2/images", ["a", "b"])

    assert site.clouds.connections == 2


async def test_a_read_is_sent_again_where_envoy_had_closed_the_idle_connection() -> None:
    body = b'{"images": []}'
    closing = raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body), close=True
    )
    async with collector_site() as site:
        site.clouds.behaviours = {"a": closing}
        first = await site.client.ask("/v2/images", ["a"])
        second = await site.client.ask("/v2/images", ["a"])

    assert (first.status, second.status) == (200, 200)


async def test_a_collector_without_its_envoy_says_so() -> None:
    async with collector_site() as site:
        site.clouds.path.unlink()
        response = await site.client.ask("/v2/images", ["a"])

    (failed,) = response.report["failed"]
    assert response.status == 502
    assert failed["reason"] == ("the site's own Envoy cannot be reached: No such file or directory")


async def test_the_token_of_a_sub_request_names_its_cloud_alone() -> None:
    async with collector_site() as site:
        token = "T~1~*:home;image:a&b;network:x"
        await site.client.ask("/v2/images", ["a", "b"], headers={"x-auth-token": token})

    found = {each.cloud: each.headers for each in site.clouds.received}
    assert found["a"]["x-auth-token"] == "T~1~*:home;image:a;network:x"
    assert found["b"]["x-auth-token"] == "T~1~*:home;image:b;network:x"
    assert found["a"]["x-scopeway-target"] == "image@a"
    assert found["a"]["x-scopeway-fanout"] == "2"
    assert found["a"]["accept-encoding"] == "identity"
    assert {"x-scopeway-members", "x-scopeway-operator"}.isdisjoint(found["a"])


async def test_connections_that_are_kept_are_limited() -> None:
    async with collector_site(idle=1) as site:
        site.clouds.behaviours = dict.fromkeys("abc", images("1"))
        await site.client.ask("/v2/images", ["a", "b", "c"])
        kept = site.collector.client.idle

    assert kept == 1


async def test_a_slow_client_loses_its_answer_if_others_wait_for_the_room() -> None:
    page = json_answer({"servers": [{"id": f"{number:0300}"} for number in range(3_000)]})
    limits = {"bytes": 100_000, "crowded_seconds": 0.2, "at_once": 1}
    async with collector_site(**limits) as site:
        site.clouds.behaviours = dict.fromkeys(names(2), page)
        headers = fan_out_headers(names(2), service="compute")
        reader, writer = await site.client.send("/v2.1/servers", headers)
        await site.clouds.until(lambda: site.collector.counters.answered == 1)
        others = {"x-auth-token": "other~1~*:home;compute:c0&c1", "x-forwarded-for": "192.0.2.9"}
        response = await site.client.ask(
            "/v2.1/servers", names(2), service="compute", headers=others
        )
        slow = await site.client.receive(reader)
        writer.close()

    assert not slow.whole
    assert response.report["answered"] == 2


async def test_a_slow_client_keeps_its_answer_if_nobody_waits() -> None:
    page = json_answer({"servers": [{"id": f"{number:0300}"} for number in range(3_000)]})
    async with collector_site(bytes=100_000, crowded_seconds=0.1, at_once=1) as site:
        site.clouds.behaviours = dict.fromkeys(names(2), page)
        headers = fan_out_headers(names(2), service="compute")
        reader, writer = await site.client.send("/v2.1/servers", headers)
        await asyncio.sleep(0.5)
        response = await site.client.receive(reader)
        writer.close()

    assert response.report["answered"] == 2
