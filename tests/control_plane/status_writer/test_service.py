"""Replicas of one API server: who leads, whose clouds count, what is left behind."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fake_api_server import FakeApi
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.status_writer.conditions import Verdict
from scopeway.control_plane.status_writer.connected_clouds import (
    DIGEST,
    LABELS,
    PREFIX,
    clouds_of,
)
from scopeway.control_plane.status_writer.leader import ElectionTimes
from scopeway.control_plane.status_writer.service import MAX_LEASES, StatusService
from scopeway.control_plane.status_writer.times import StatusTimes
from scopeway.control_plane.status_writer.writer import Judge

GUARD = 30.0
"""Seconds until a test that waits for something that never comes is given up."""
QUICK = StatusTimes(
    election=ElectionTimes(lease_duration=5, renew_deadline=4, retry_period=0.01),
    renew=0.01,
    dead_after=1000,
    keep=0,
    rest=0,
    look=0.01,
    retry=0.01,
)
TAKES_THE_LEAD = "this replica writes the status of objects now"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/here/leases"
CONFIG_MAPS = "/api/v1/namespaces/here/configmaps"


@dataclass(frozen=True)
class Seen:
    uid: str = "u"
    generation: int = 1
    conditions: tuple[dict[str, object], ...] = ()


@asynccontextmanager
async def _settled() -> AsyncIterator[None]:
    yield


def service(
    api: FakeApi,
    name: str,
    *,
    clouds: Iterable[str] = (),
    times: StatusTimes = QUICK,
) -> StatusService:
    own = clouds_of(clouds, [])
    objects = {f"edgeclouds/{each}": Seen() for each in ("a", "b", "c")}
    judge = Judge(observed=lambda: objects, verdict=lambda _: Verdict(), settled=_settled)
    return StatusService(
        api,
        judge,
        namespace="here",
        replica=name,
        clouds=lambda: own,
        disconnected_after=1000,
        times=times,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():  # noqa: ASYNC110 - the stand-in has no events
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(*services: StatusService) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in services]
    try:
        yield
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def run(scenario: Awaitable[None]) -> None:
    async def whole() -> None:
        await scenario

    asyncio.run(whole())


def connected(api: FakeApi) -> set[str]:
    """Return the clouds whose last written status says that they are connected."""
    found: dict[str, bool] = {}
    for path, document in api.applied:
        for each in document["status"]["conditions"]:
            if each["type"] == "EnvoyConnected":
                found[path.rpartition("/")[2]] = each["status"] == "True"
    return {name for name, is_connected in found.items() if is_connected}


def test_one_of_two_replicas_writes_the_clouds_of_both() -> None:
    async def scenario() -> None:
        api = FakeApi()
        one, two = service(api, "one", clouds=["a"]), service(api, "two", clouds=["b"])
        async with running(one, two):
            await until(lambda: connected(api) == {"a", "b"})
            assert one.is_leader != two.is_leader

    run(scenario())


def test_two_processes_of_one_name_are_two_replicas() -> None:
    async def scenario() -> None:
        api = FakeApi()
        one, two = service(api, "same", clouds=["a"]), service(api, "same", clouds=["b"])
        async with running(one, two):
            await until(lambda: connected(api) == {"a", "b"})

    run(scenario())


def test_a_replica_that_ends_gives_up_the_lead_and_takes_its_objects_along() -> None:
    async def scenario() -> None:
        api = FakeApi()
        async with running(service(api, "one", clouds=["a"])):
            await until(lambda: connected(api) == {"a"})
        assert set(api.objects) == {f"{LEASES}/scopeway-status"}
        assert api.objects[f"{LEASES}/scopeway-status"]["spec"]["holderIdentity"] == ""

    run(scenario())


def published(name: str) -> dict[str, object]:
    metadata = {"name": f"{PREFIX}{name}", "labels": dict(LABELS), "annotations": {DIGEST: "x"}}
    return {"metadata": metadata, "binaryData": {}}


def test_the_leader_deletes_the_objects_of_a_dead_replica_and_no_others() -> None:
    async def scenario() -> None:
        api = FakeApi()
        for path in (LEASES, CONFIG_MAPS):
            await api.create(path, published("dead"))
        await api.create(LEASES, {"metadata": {"name": "of-somebody-else", "labels": LABELS}})
        times = StatusTimes(
            election=QUICK.election, renew=0.01, dead_after=0.5, look=0.01, retry=0.01
        )
        async with running(service(api, "one", times=times)):
            await until(lambda: f"{LEASES}/{PREFIX}dead" not in api.objects)
            await until(lambda: f"{CONFIG_MAPS}/{PREFIX}dead" not in api.objects)
            assert f"{LEASES}/of-somebody-else" in api.objects

    run(scenario())


def test_an_object_that_is_none_of_a_replica_counts_as_no_clouds() -> None:
    async def scenario() -> None:
        api = FakeApi()
        await api.create(LEASES, published("strange"))  # and no ConfigMap
        await api.create(LEASES, published("broken"))
        await api.create(CONFIG_MAPS, published("broken"))
        async with running(service(api, "one", clouds=["a"])):
            await until(lambda: connected(api) == {"a"})

    run(scenario())


@pytest.mark.parametrize(("others", "read"), [(MAX_LEASES - 1, {"a"}), (MAX_LEASES, set())])
def test_leases_that_are_listed_are_limited(others: int, read: set[str]) -> None:
    async def scenario() -> None:
        api = FakeApi()
        for number in range(others):  # listed first, by name
            await api.create(LEASES, {"metadata": {"name": f"a-{number}", "labels": LABELS}})
        async with running(service(api, "one", clouds=["a"])):
            await until(lambda: len(api.applied) >= 3)
            if read:
                await until(lambda: connected(api) == read)
            else:
                await asyncio.sleep(0.2)
            assert connected(api) == read

    run(scenario())


def test_without_the_right_to_publish_conditions_are_written_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        api = FakeApi()
        api.failures[f"create {CONFIG_MAPS}"] = ApiError("denies access", code=403)
        async with running(service(api, "one", clouds=["a"])):
            await until(lambda: len(api.applied) >= 3)

    run(scenario())
    assert len(caplog.records) == 1
    assert "here" in caplog.text


def test_the_log_says_which_replica_writes_status(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(service(FakeApi(), "one")):
            await until(lambda: caplog.messages == [TAKES_THE_LEAD])

    with caplog.at_level(logging.INFO):
        run(scenario())


def test_the_first_write_of_a_new_leader_has_all_conditions() -> None:
    async def scenario() -> None:
        api = FakeApi()
        async with running(service(api, "one")):
            await until(lambda: len(api.applied) >= 3)
            await asyncio.sleep(0.1)
            types = [
                {each["type"] for each in document["status"]["conditions"]}
                for _, document in api.applied
            ]
            assert types == [{"Accepted", "ResolvedRefs", "EnvoyConnected"}] * 3

    run(scenario())


def test_clouds_that_cannot_be_read_hold_up_no_other_condition() -> None:
    async def scenario() -> None:
        api = FakeApi()
        api.failures["list"] = ApiError("denies access", code=403)
        async with running(service(api, "one", clouds=["a"])):
            await until(lambda: len(api.applied) >= 3)
            assert connected(api) == set()
            api.failures.clear()
            await until(lambda: connected(api) == {"a"})
            await until(lambda: len(api.applied) >= 6)

    run(scenario())
