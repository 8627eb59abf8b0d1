"""What the leader writes, and how it copes with an API server that does not take it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fake_api_server import FakeApi
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.status_writer import writer as module
from scopeway.control_plane.status_writer.conditions import Verdict
from scopeway.control_plane.status_writer.connected_clouds import ReplicaClouds, clouds_of
from scopeway.control_plane.status_writer.writer import (
    EVENT_BURST,
    LONGEST_PAUSE,
    REFUSED_PAUSE,
    Judge,
    StatusWriter,
)

GRACE = 60.0


@dataclass(frozen=True)
class Seen:
    uid: str = "u"
    generation: int = 1
    conditions: tuple[dict[str, Any], ...] = ()


class World:
    """A writer, its objects and verdicts, and a clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.observed: dict[str, Seen] = {}
        self.verdicts: dict[str, Verdict | None] = {}
        self.now = 0.0
        self.leads = True
        self.counts: dict[str, int] = {}
        self.lock = asyncio.Lock()
        judge = Judge(
            observed=lambda: self.observed,
            verdict=lambda place: self.verdicts.get(place, Verdict()),
            settled=self.settled,
        )
        self.writer = StatusWriter(
            self.api,
            judge,
            is_leader=lambda: self.leads,
            replica="replica-1",
            disconnected_after=GRACE,
            count=self.count,
            clock=lambda: self.now,
            wall=lambda: self.now,
        )

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        async with self.lock:
            yield

    def count(self, what: str, result: str) -> None:
        key = f"{what} {result}"
        self.counts[key] = self.counts.get(key, 0) + 1

    async def quiet(self, after: float = 0) -> list[str]:
        """Let the workers do what there is to do; return which objects they have written."""
        self.now += after
        self.api.applied.clear()
        for _ in range(200):
            await asyncio.sleep(0)
        return sorted(path.rpartition("v1alpha1/")[2] for path, _ in self.api.applied)

    def show(self) -> None:
        """Let the watch show what was written."""
        for path, document in self.api.applied:
            place = path.rpartition("v1alpha1/")[2]
            conditions = tuple(document["status"]["conditions"])
            self.observed[place] = replace(self.observed[place], conditions=conditions)
            self.writer.touch([place])

    def connect(self, *names: str, too_large: tuple[str, ...] = ()) -> None:
        self.writer.set_clouds(clouds_of(names, too_large))

    def conditions(self) -> dict[str, str]:
        """Return those of the last write, as texts."""
        found = self.api.applied[-1][1]["status"]["conditions"]
        return {each["type"]: f"{each['status']} {each['reason']}" for each in found}

    def events(self) -> list[str]:
        return [call for call in self.api.calls if "events" in call]


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World()
        work = asyncio.create_task(world.writer.run())
        try:
            await scenario(world)
            assert not work.done()
        finally:
            work.cancel()
            await asyncio.wait([work])

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that rest look again in the next turn: the clock stands still meanwhile."""
    monkeypatch.setattr(module, "IDLE", 0)
    real = asyncio.sleep

    async def turn(_: float) -> None:
        await real(0)

    monkeypatch.setattr("scopeway.control_plane.status_writer.writer.asyncio.sleep", turn)


def test_all_objects_are_looked_at_when_the_lead_begins_and_then_none() -> None:
    async def scenario(world: World) -> None:
        world.observed |= {"edgeclouds/a": Seen(), "cordons/b": Seen(), "servicetypes/c": Seen()}
        world.writer.lead()
        assert await world.quiet() == ["cordons/b", "edgeclouds/a", "servicetypes/c"]
        world.show()
        assert await world.quiet() == []
        world.writer.touch_all()
        assert await world.quiet(1000) == []

    run(scenario)


def test_a_replica_that_does_not_lead_writes_nothing() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet() == []
        world.writer.lead()
        world.leads = False  # the lease has run out, and nobody has noticed yet
        assert await world.quiet() == []
        world.writer.follow()
        world.leads = True
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet() == []

    run(scenario)


def test_a_lease_that_is_renewed_late_loses_no_write() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        world.leads = False
        assert await world.quiet() == []
        world.leads = True  # before anybody has noticed
        assert await world.quiet(module.FIRST_PAUSE) == ["edgeclouds/a"]

    run(scenario)


def test_a_new_leader_writes_nothing_that_is_right() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        world.connect("a")
        await world.quiet()
        world.show()
        await world.quiet()
        world.writer.follow()
        world.writer.lead()
        assert await world.quiet() == []
        world.connect()  # the Envoy reconnects, to another replica
        assert await world.quiet(5) == []
        world.connect("a")
        assert await world.quiet(GRACE) == []

    run(scenario)


def test_what_was_written_is_not_written_again_before_the_watch_shows_it() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        assert await world.quiet() == ["edgeclouds/a"]
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet(1) == []

    run(scenario)


def test_a_connection_is_written_at_once_and_its_end_after_the_grace() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        world.connect()
        await world.quiet()
        assert world.conditions()["EnvoyConnected"] == "False NotConnected"
        world.show()
        world.connect("a")
        await world.quiet()
        assert world.conditions()["EnvoyConnected"] == "True Connected"
        world.show()
        await world.quiet(GRACE)
        world.connect()
        assert await world.quiet(GRACE - 1) == []
        world.connect()
        assert await world.quiet(1) == []
        world.connect()
        assert await world.quiet() == ["edgeclouds/a"]
        assert world.conditions()["EnvoyConnected"] == "False NotConnected"

    run(scenario)


def test_a_policy_that_is_too_large_is_told_and_taken_back_after_the_grace() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        world.connect("a", too_large=("a",))
        await world.quiet()
        assert world.conditions()["Accepted"] == "False PolicyTooLarge"
        world.show()
        world.connect("a")
        assert await world.quiet() == []
        world.now += GRACE
        world.connect("a")
        await world.quiet()
        assert world.conditions()["Accepted"] == "True Accepted"

    run(scenario)


def test_nothing_is_said_of_connections_before_the_replicas_were_read() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        await world.quiet()
        assert "EnvoyConnected" not in world.conditions()

    run(scenario)


def test_a_write_names_the_object_that_was_judged() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen(uid="u-1", generation=7)
        world.writer.lead()
        await world.quiet()
        ((path, document),) = world.api.applied
        assert path == "/apis/scopeway.io/v1alpha1/edgeclouds/a"
        assert document["metadata"] == {"name": "a", "uid": "u-1"}
        assert {each["observedGeneration"] for each in document["status"]["conditions"]} == {7}

    run(scenario)


def test_a_refusal_has_one_event_for_each_generation() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.verdicts["edgeclouds/a"] = Verdict(problem="bad")
        world.writer.lead()
        await world.quiet()
        assert len(world.events()) == 1
        world.show()
        world.connect("a")
        await world.quiet()
        world.show()
        world.observed["edgeclouds/a"] = replace(world.observed["edgeclouds/a"], generation=2)
        world.writer.touch(["edgeclouds/a"])
        await world.quiet()
        assert len(set(world.events())) == len(world.events()) == 2

    run(scenario)


def test_a_restart_repeats_no_event() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.verdicts["edgeclouds/a"] = Verdict(problem="bad")
        world.writer.lead()
        await world.quiet()
        world.show()
        world.api.calls.clear()
        world.writer.follow()
        world.writer.lead()
        world.connect("a")  # the status is written, for another reason
        assert await world.quiet() == ["edgeclouds/a"]
        assert world.events() == []

    run(scenario)


def test_events_are_limited_and_statuses_are_written_all_the_same() -> None:
    async def scenario(world: World) -> None:
        places = [f"edgeclouds/cloud-{each}" for each in range(EVENT_BURST + 15)]
        world.observed |= dict.fromkeys(places, Seen())
        world.verdicts |= dict.fromkeys(places, Verdict(problem="bad"))
        world.writer.lead()
        assert len(await world.quiet()) == len(places)
        assert len(world.events()) == EVENT_BURST
        assert world.counts["event dropped"] == 15

    run(scenario)


def test_an_event_that_fails_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.api.failures["create"] = ApiError("denies access", code=403)
        world.observed |= {"cordons/a": Seen(), "cordons/b": Seen()}
        world.verdicts |= dict.fromkeys(world.observed, Verdict(problem="bad"))
        world.writer.lead()
        assert await world.quiet() == ["cordons/a", "cordons/b"]
        world.show()
        assert await world.quiet(1000) == []

    run(scenario)
    assert len(caplog.records) == 1


def test_an_object_that_is_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        missing = ApiError("not found", code=404, reason="NotFound", missing_object=True)
        world.api.failures["apply"] = missing
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        await world.quiet()
        del world.observed["edgeclouds/a"]
        world.api.failures.clear()
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet(1000) == []

    run(scenario)
    assert caplog.records == []


def test_an_object_of_the_same_name_that_came_meanwhile_is_written_later() -> None:
    async def scenario(world: World) -> None:
        world.api.failures["apply"] = ApiError("uid mismatch", code=409, reason="Conflict")
        world.observed["edgeclouds/a"] = Seen(uid="old")
        world.writer.lead()
        await world.quiet()
        assert world.counts == {"write conflict": 1}
        world.api.failures.clear()
        world.observed["edgeclouds/a"] = Seen(uid="new")
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet() == ["edgeclouds/a"]

    run(scenario)


@pytest.mark.parametrize("code", [0, 429, 500, 503])
def test_an_api_server_in_trouble_is_left_alone_for_a_while(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        world.api.failures["apply"] = ApiError("busy", code=code)
        world.observed |= {f"edgeclouds/{each}": Seen() for each in range(100)}
        world.writer.lead()
        tried = []
        for _ in range(8):
            world.api.calls.clear()
            await world.quiet(LONGEST_PAUSE)
            tried.append(len(world.api.calls))
        assert max(tried) <= module.WORKERS  # not one for each object
        world.api.failures.clear()
        assert len(await world.quiet(1000)) > 50

    run(scenario)
    assert [each.levelname for each in caplog.records].count("WARNING") == 1


def test_a_right_that_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.api.failures["apply"] = ApiError("denies access", code=403)
        world.observed |= {f"edgeclouds/{each}": Seen() for each in range(20)}
        world.writer.lead()
        for _ in range(5):
            await world.quiet(REFUSED_PAUSE)
        world.api.failures.clear()
        await world.quiet(1000)

    with caplog.at_level(logging.INFO):
        run(scenario)
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]


def test_an_object_whose_status_is_not_valid_holds_up_no_other() -> None:
    async def scenario(world: World) -> None:
        invalid = ApiError("is invalid", code=422, reason="Invalid")
        world.api.failures["apply /apis/scopeway.io/v1alpha1/edgeclouds/a"] = invalid
        world.observed |= {"edgeclouds/a": Seen(), "edgeclouds/b": Seen()}
        world.writer.lead()
        assert await world.quiet() == ["edgeclouds/b"]

    run(scenario)


def test_writes_are_paced() -> None:
    async def scenario(world: World) -> None:
        waits: list[float] = []
        reserve = world.writer._writes.reserve

        def noted(now: float) -> float:
            waits.append(reserve(now))
            return waits[-1]

        world.writer._writes.reserve = noted  # type: ignore[method-assign]
        world.observed |= {f"edgeclouds/{each}": Seen() for each in range(200)}
        world.writer.lead()
        while len(world.api.calls) < 200:
            await world.quiet()
        assert waits[: module.WRITE_BURST] == [0] * module.WRITE_BURST
        assert waits[-1] == (200 - module.WRITE_BURST) / module.WRITES_PER_SECOND

    run(scenario)


def test_nothing_is_judged_while_a_batch_is_taken_over() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        async with world.lock:
            world.writer.lead()
            assert await world.quiet() == []
            world.verdicts["edgeclouds/a"] = Verdict(problem="bad")
        await world.quiet()
        assert world.conditions()["Accepted"] == "False Invalid"

    run(scenario)


def test_a_place_that_the_catalog_does_not_know_yet_is_left_alone() -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.verdicts["edgeclouds/a"] = None
        world.writer.lead()
        assert await world.quiet() == []

    run(scenario)


def test_a_verdict_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.observed |= {"edgeclouds/a": Seen(), "edgeclouds/b": Seen()}
        world.verdicts["edgeclouds/a"] = "no verdict"  # type: ignore[assignment]
        world.writer.lead()
        assert await world.quiet() == ["edgeclouds/b"]

    run(scenario)
    assert "edgeclouds/a" in caplog.text


def test_clouds_that_are_not_registered_are_nobody() -> None:
    async def scenario(world: World) -> None:
        world.writer.lead()
        world.writer.set_clouds(ReplicaClouds(frozenset({1, 2, 3}), frozenset({3})))
        assert await world.quiet() == []

    run(scenario)


def test_a_status_that_somebody_else_writes_too_is_written_less_and_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        world.observed["edgeclouds/a"] = Seen()
        world.writer.lead()
        writes = 0
        for _ in range(300):  # five minutes
            writes += len(await world.quiet(1))
            other = {"type": "Accepted", "status": "False", "reason": "Other", "message": ""}
            world.observed["edgeclouds/a"] = Seen(conditions=(other,))
            world.writer.touch(["edgeclouds/a"])
        assert writes <= 13
        world.observed["edgeclouds/a"] = Seen(generation=2)
        world.writer.touch(["edgeclouds/a"])
        assert await world.quiet(0) == ["edgeclouds/a"]

    run(scenario)
    assert caplog.text.count("is changed again and again") == 1
